"""P8: one value, a thousand calls that depend on it, one sum of their results."""

import pytest


@pytest.mark.benchmark(group="P8")
def test_fan_out_to_a_thousand_and_back(measure, engine, turn):
    measure(engine)
