"""P15: 64 requests, each with three blocking sleeps of 20 ms side by side; ideal: 20 ms for all."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from functools import partial

import tailrace as tr
from tailrace._bench.timing import Op, Work

_REQUESTS = 64
_PARALLEL = 3
_SLEEP_S = 0.02


def works() -> list[Work]:
    """Return P15."""
    engines: dict[str, Callable[[], AbstractContextManager[Op]]] = {
        "tailrace": _tailrace,
        "TPE default threads": partial(_pool, None),
        "TPE 192 threads": partial(_pool, _REQUESTS * _PARALLEL),
    }
    expected = [(x, x + 1, x + 2) for x in range(_REQUESTS)]
    title = "64 requests of 3 parallel 20 ms sleeps; ideal 20"
    return [Work("P15", title, "ms", expected, engines)]


def _look_up(x: int) -> int:
    time.sleep(_SLEEP_S)
    return x


_step = tr.step(blocking=True)(_look_up)


@tr.step
def _together(a: int, b: int, c: int) -> tuple[int, int, int]:
    return a, b, c


@tr.workflow
def _three(x: int, y: int, z: int) -> tuple[int, int, int]:
    return _together(_step(x), _step(y), _step(z))


@contextmanager
def _tailrace() -> Iterator[Op]:
    with tr.Runtime() as rt:
        ask = _three.options(runtime=rt).start

        def call() -> list[tuple[int, int, int]]:
            runs = [ask(x, x + 1, x + 2) for x in range(_REQUESTS)]
            return [run.result() for run in runs]

        yield Op(call)


@contextmanager
def _pool(threads: int | None) -> Iterator[Op]:
    with ThreadPoolExecutor(threads) as pool:

        def call() -> list[tuple[int, int, int]]:
            started = [[pool.submit(_look_up, x + i) for i in range(_PARALLEL)] for x in range(_REQUESTS)]
            return [_together(*[future.result() for future in futures]) for futures in started]

        yield Op(call)
