"""A kernel that takes long lets go of the GIL: another thread runs while it computes."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from functools import partial
from typing import Any

import numpy as np
import pytest
from tailrace.kernels.registry import all_ops

OPS = all_ops()
TRIES = 100


@pytest.fixture
def no_switches() -> Iterator[None]:
    """A thread keeps the GIL until it gives it away itself."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1000.0)
    yield
    sys.setswitchinterval(before)


def lets_go(call: Any) -> bool:
    """Whether another thread, ready to run, got the GIL while `call` was under way, in one of many tries."""
    go, ran = threading.Event(), []

    def other() -> None:
        go.wait()
        ran.append(True)

    for _ in range(TRIES):
        go.clear()
        ran.clear()
        thread = threading.Thread(target=other)
        thread.start()
        go.set()
        before = len(ran)
        call()
        during = len(ran) > before
        thread.join()
        if during:
            return True
    return False


@pytest.mark.parametrize("name", OPS)
def test_a_long_call_lets_go_of_the_gil(name: str, no_switches: None) -> None:
    op = OPS[name]
    cases = (op.cases(np.random.default_rng(1), size, op.dtypes[0]) for size in (439, 1239))
    assert any(lets_go(partial(op.call, **case, backend="cpu")) for case in cases)


def test_a_call_that_keeps_the_gil_is_found(no_switches: None) -> None:
    values = np.zeros(1_000_000, dtype=object)
    assert not lets_go(lambda: sorted(values[:1000]))
