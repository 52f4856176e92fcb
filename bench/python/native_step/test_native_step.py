"""P12: a chain of 256 calls of one C function."""

import pytest


@pytest.mark.benchmark(group="P12")
def test_a_c_function_as_a_step(measure, engine, turn):
    measure(engine)
