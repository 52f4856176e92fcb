"""P9: a thousand requests of ten steps awaited at once; its lag and P11 are rows of `tailrace bench`."""

import pytest


@pytest.mark.benchmark(group="P9")
def test_a_thousand_requests_awaited_at_once(measure, engine, turn):
    measure(engine)
