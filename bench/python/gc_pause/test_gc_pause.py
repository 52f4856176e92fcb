"""GC: the worst pause of CPython's collector inside requests, beside a million live containers."""

import pytest


@pytest.mark.benchmark(group="GC")
def test_requests_that_churn_beside_a_million_live_containers(measure, engine, turn):
    measure(engine)
