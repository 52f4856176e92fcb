"""P1 and P3: a function is submitted and its result taken, one by one and 100,000 at a time."""

import pytest


@pytest.mark.benchmark(group="P1")
def test_submit_and_result_while_warm(measure, engine, turn):
    measure(engine)


@pytest.mark.benchmark(group="P1.cold")
def test_submit_and_result_after_ten_milliseconds_of_idling(measure, engine, turn):
    measure(engine)


@pytest.mark.benchmark(group="P3")
def test_a_hundred_thousand_submits_and_results(measure, engine, turn):
    measure(engine)
