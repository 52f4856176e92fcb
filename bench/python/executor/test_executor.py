"""P2 and P4: the executor of the standard library's shape, a task at a time and a map of 100,000."""

import pytest


@pytest.mark.benchmark(group="P2")
def test_executor_submit_and_result_on_a_worker(measure, engine, turn):
    measure(engine)


@pytest.mark.benchmark(group="P4")
def test_executor_map_of_a_hundred_thousand_items(measure, engine, turn):
    measure(engine)
