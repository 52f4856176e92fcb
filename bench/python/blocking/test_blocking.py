"""P15: 64 requests that each sleep three times 20 ms side by side."""

import pytest


@pytest.mark.benchmark(group="P15")
def test_64_requests_of_three_parallel_sleeps(measure, engine, turn):
    measure(engine)
