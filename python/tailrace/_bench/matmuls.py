"""P7: the diamond with a 256 x 256 float32 product in every step, one request alone and eight at once.

On two cores one request of ten steps takes six rounds at best, 1.67 times as fast as one thread; eight
requests 2.0 times. BLAS runs on one thread, or the rows would measure its threads instead of ours.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from functools import cache, partial
from importlib import import_module, util
from typing import Any

import tailrace as tr
from tailrace._bench.rows import PLAIN
from tailrace._bench.stepwise import Diamond, Steps
from tailrace._bench.timing import Op, Work
from tailrace.runtime import default_workers

_SIZE = 256
REQUESTS = 8

_Engines = dict[str, Callable[[], AbstractContextManager[Op]]]


def works() -> list[Work]:
    """Return P7 (one request) and P7.across (eight at once)."""
    one: _Engines = {
        "tailrace": partial(_tailrace, 1),
        "TPE by steps": partial(_by_steps, 1),
        PLAIN: partial(_plain, 1),
    }
    eight: _Engines = {
        "tailrace": partial(_tailrace, REQUESTS),
        "TPE by steps": partial(_by_steps, REQUESTS),
        "TPE whole request": _whole_requests,
        PLAIN: partial(_plain, REQUESTS),
    }
    title = "10-step diamond, a 256 x 256 float32 product a step"
    return [
        Work("P7", f"{title}, one request", "ms", 1.0, one),
        Work("P7.across", f"{title}, 8 requests at once", "ms", 1.0, eight),
    ]


@cache
def _matrices() -> tuple[Any, Any]:
    # On use: NumPy is slow to import, and must find BLAS told to be one thread.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    import numpy as np

    if util.find_spec("threadpoolctl") is not None:  # NumPy may have been imported before
        import_module("threadpoolctl").threadpool_limits(limits=1, user_api="blas")
    # A permutation: every product is exact, so that the answers of all engines are the same.
    turned = np.roll(np.eye(_SIZE, dtype=np.float32), 1, axis=0)
    return np.ones((_SIZE, _SIZE), dtype=np.float32), turned


def _first(x: Any) -> Any:
    return x @ _matrices()[1]


def _middle(a: Any) -> Any:
    return a @ _matrices()[1]


def _last(*parts: Any) -> Any:
    return parts[0] @ _matrices()[1]


_STEPS = Steps(_first, _middle, _last)
_diamond = _STEPS.workflow()
_whole = _STEPS.whole


def _op(count: int, ask: Callable[[Any], Any], start: Callable[[Any], Any]) -> Op:
    x = _matrices()[0]

    def one() -> float:
        return float(ask(x)[0, 0])

    def several() -> float:
        begun = [start(x) for _ in range(count)]
        return sum(float(each.result()[0, 0]) for each in begun) / count

    return Op(one if count == 1 else several, count)


@contextmanager
def _tailrace(count: int) -> Iterator[Op]:
    _matrices()
    with tr.Runtime() as rt:
        here = _diamond.options(runtime=rt)
        yield _op(count, here, here.start)


@contextmanager
def _by_steps(count: int) -> Iterator[Op]:
    with ThreadPoolExecutor(default_workers()) as pool:
        diamond = Diamond(pool, _STEPS)
        yield _op(count, lambda x: diamond.start(x).result(), diamond.start)


@contextmanager
def _whole_requests() -> Iterator[Op]:
    with ThreadPoolExecutor(default_workers()) as pool:
        yield _op(REQUESTS, _whole, lambda x: pool.submit(_whole, x))


@contextmanager
def _plain(count: int) -> Iterator[Op]:
    def start(x: Any) -> Future[Any]:
        done: Future[Any] = Future()
        done.set_result(_whole(x))
        return done

    yield _op(count, _whole, start)


@contextmanager
def dask_threaded(count: int) -> Iterator[Op]:
    """Open Dask's threads, which must be installed, for `count` requests at once: one graph of all."""
    get = import_module("dask.threaded").get
    x = _matrices()[0]
    graph: dict[str, Any] = {}
    for i in range(count):
        graph[f"first{i}"] = (_first, x)
        middles = [f"middle{i}.{k}" for k in range(8)]
        graph.update(dict.fromkeys(middles, (_middle, f"first{i}")))
        graph[f"last{i}"] = (_last, *middles)
    keys = [f"last{i}" for i in range(count)]

    def call() -> float:
        answers = get(graph, keys, num_workers=default_workers())
        return sum(float(answer[0, 0]) for answer in answers) / count

    yield Op(call, count)
