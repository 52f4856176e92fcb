"""P13: steps that are nothing but Python, on two workers and on one; only where CPython has no GIL."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from functools import partial

import tailrace as tr
from tailrace._bench.timing import Op, Work

_REQUESTS = 96
_LAPS = 5000  # of a loop: about a quarter of a millisecond


def has_gil() -> bool:
    """Tell whether one thread at a time runs Python here."""
    return sys._is_gil_enabled() if hasattr(sys, "_is_gil_enabled") else True


def works() -> list[Work]:
    """Return P13; nothing where there is a GIL."""
    if has_gil():
        return []
    engines: dict[str, Callable[[], AbstractContextManager[Op]]] = {
        "tailrace": partial(_tailrace, 2),
        "tailrace, one worker": partial(_tailrace, 1),
        "TPE, two threads": partial(_pool, 2),
    }
    title = f"{_REQUESTS} requests of 4 pure-Python steps, drained by 2 workers"
    return [Work("P13", title, "ms", sum(_four_plain(x) for x in range(_REQUESTS)), engines)]


def _spin(x: int) -> int:
    for lap in range(_LAPS):
        x = (x * 5 + lap) & 0xFF
    return x


_step = tr.step(_spin)


@tr.workflow
def _four(x: int) -> int:
    return _step(_step(_step(_step(x))))


def _four_plain(x: int) -> int:
    return _spin(_spin(_spin(_spin(x))))


@contextmanager
def _tailrace(workers: int) -> Iterator[Op]:
    with tr.Runtime(workers=workers) as rt:
        ask = _four.options(runtime=rt).start

        def call() -> int:
            runs = [ask(x) for x in range(_REQUESTS)]
            rt.drain()  # a caller that asked for a result would be one worker more
            return sum(run.result() for run in runs)

        yield Op(call)


@contextmanager
def _pool(threads: int) -> Iterator[Op]:
    with ThreadPoolExecutor(threads) as pool:
        yield Op(lambda: sum([f.result() for f in [pool.submit(_four_plain, x) for x in range(_REQUESTS)]]))
