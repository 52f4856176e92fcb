"""P16: the diamond of 50 us pure-Python steps beside a busy Python thread.

pytest-benchmark reports medians; the 99th percentile of the goal is what `tailrace bench --only P16` prints.
"""

import pytest


@pytest.mark.benchmark(group="P16")
def test_the_diamond_beside_a_busy_thread(measure, engine, turn):
    measure(engine)
