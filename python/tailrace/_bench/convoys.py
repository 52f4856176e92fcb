"""P16: the diamond with steps of 50 us of pure Python, beside a thread that is busy in Python all the time.

The busy thread gives the GIL up at CPython's switch interval only, 5 ms by default, so that whoever lets go
of the GIL waits that long to come back. The row is a 99th percentile: what a request takes when it had to.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager

import tailrace as tr
from tailrace._bench.rows import PLAIN
from tailrace._bench.stepwise import Diamond, Steps
from tailrace._bench.timing import Op, Work
from tailrace.runtime import default_workers

_STEP_S = 50e-6


def works() -> list[Work]:
    """Return P16."""
    engines: dict[str, Callable[[], AbstractContextManager[Op]]] = {
        "tailrace": _tailrace,
        "TPE by steps": _by_steps,
        "TPE whole request": _whole_requests,
        PLAIN: _plain,
    }
    title = "10-step diamond of 50 us steps beside a busy Python thread, called; 99th percentile"
    return [Work("P16", title, "ms", 8, engines, quantile=0.99, least_calls=50)]


def _busy(x: int) -> int:
    # By work, not by the clock: what the body waits for the GIL must not count as its work.
    for _ in range(_rounds()):
        x ^= 1
    return x


def _first(x: int) -> int:
    return _busy(x)


def _last(*parts: int) -> int:
    return _busy(sum(parts))


_calibrated: list[int] = []


def _rounds() -> int:
    if not _calibrated:
        best = float("inf")
        for _ in range(20):
            began, x = time.perf_counter(), 0
            for _ in range(1000):
                x ^= 1
            best = min(best, time.perf_counter() - began)
        _calibrated.append(max(int(1000 * _STEP_S / best) & ~1, 2))
    return _calibrated[0]


_STEPS = Steps(_first, _busy, _last)
_diamond = _STEPS.workflow()
_whole = _STEPS.whole


class _BusyThread:
    """One for all engines that are open: they are asked in turn."""

    def __init__(self) -> None:
        self._users = 0
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    @contextmanager
    def running(self) -> Iterator[None]:
        self._users += 1
        if self._users == 1:
            self._stop.clear()
            self._thread = threading.Thread(target=self._spin, daemon=True)
            self._thread.start()
        try:
            yield
        finally:
            self._users -= 1
            if self._users == 0 and self._thread is not None:
                self._stop.set()
                self._thread.join()

    def _spin(self) -> None:
        while not self._stop.is_set():
            for _ in range(1000):
                pass


_beside = _BusyThread()


def _op(ask: Callable[[int], int]) -> Op:
    return Op(lambda: ask(1))


@contextmanager
def _tailrace() -> Iterator[Op]:
    with _beside.running(), tr.Runtime() as rt:
        yield _op(_diamond.options(runtime=rt))


@contextmanager
def _by_steps() -> Iterator[Op]:
    with _beside.running(), ThreadPoolExecutor(default_workers()) as pool:
        diamond = Diamond(pool, _STEPS)
        yield _op(lambda x: diamond.start(x).result())


@contextmanager
def _whole_requests() -> Iterator[Op]:
    with _beside.running(), ThreadPoolExecutor(default_workers()) as pool:
        yield _op(lambda x: pool.submit(_whole, x).result())


@contextmanager
def _plain() -> Iterator[Op]:
    with _beside.running():
        yield _op(_whole)
