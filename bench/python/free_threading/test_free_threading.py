"""P13: steps of pure Python on two workers beside one; only where CPython has no GIL."""

import pytest
from tailrace._bench import parallel_python

if parallel_python.has_gil():
    pytest.skip("needs a CPython without a GIL", allow_module_level=True)


@pytest.mark.benchmark(group="P13")
def test_pure_python_steps_on_two_workers(measure, engine, turn):
    measure(engine)
