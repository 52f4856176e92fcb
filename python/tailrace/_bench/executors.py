"""P2, P4 and P10: `tr.Executor` beside the pool of the standard library."""

from __future__ import annotations

import threading
import tracemalloc
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from itertools import chain, repeat

import tailrace as tr
from tailrace._bench.rows import PLAIN
from tailrace._bench.timing import Op, Work
from tailrace.runtime import default_workers

_Engines = dict[str, Callable[[], AbstractContextManager[Op]]]

_ONES = 10
_MANY = 100_000
_CHUNK = 1_000  # where the user cuts the items into chunks
_PENDING = 20_000


def works() -> list[Work]:
    """Return P2, P4 and P10."""
    ours, theirs = partial(tr.Executor, default_workers()), partial(ThreadPoolExecutor, default_workers())
    ones: _Engines = {
        "tailrace": partial(_opened, ours, _one_by_one, _ONES),
        "TPE": partial(_opened, theirs, _one_by_one, _ONES),
    }
    maps: _Engines = {
        "tailrace": partial(_opened, ours, _map, _MANY),
        "TPE": partial(_opened, theirs, _map, _MANY),
        "TPE chunks by hand": partial(_opened, theirs, _map_chunks, _MANY),
        PLAIN: _plain,
    }
    pending: _Engines = {
        "tailrace": partial(_pending, partial(tr.Executor, 1)),
        "TPE": partial(_pending, partial(ThreadPoolExecutor, 1)),
    }
    return [
        Work("P2", "Executor submit + result, on a worker", "us", 2, ones),
        Work("P4", "Executor map of 100k items to a list", "/s", _MANY, maps),
        Work("P10", "memory of a pending task without arguments", "B", _PENDING, pending),
    ]


def _increment(x: int) -> int:
    return x + 1


def _same(x: int) -> int:
    return x


def _one_by_one(pool: tr.Executor | ThreadPoolExecutor) -> int:
    for _ in repeat(None, _ONES):
        answer: int = pool.submit(_increment, 1).result()
    return answer


def _map(pool: tr.Executor | ThreadPoolExecutor) -> int:
    return len(list(pool.map(_same, range(_MANY))))


def _same_all(items: range) -> list[int]:
    return [_same(x) for x in items]


def _map_chunks(pool: tr.Executor | ThreadPoolExecutor) -> int:
    chunks = [range(first, first + _CHUNK) for first in range(0, _MANY, _CHUNK)]
    return len(list(chain.from_iterable(pool.map(_same_all, chunks))))


@contextmanager
def _opened(
    pool: Callable[[], tr.Executor | ThreadPoolExecutor],
    do: Callable[[tr.Executor | ThreadPoolExecutor], int],
    operations: int,
) -> Iterator[Op]:
    with pool() as opened:
        yield Op(partial(do, opened), operations)


@contextmanager
def _plain() -> Iterator[Op]:
    yield Op(lambda: len([_same(x) for x in range(_MANY)]), _MANY)


@contextmanager
def _pending(pool: Callable[[], tr.Executor | ThreadPoolExecutor]) -> Iterator[Op]:
    bytes_each = 0.0

    def call() -> int:
        nonlocal bytes_each
        go = threading.Event()
        with pool() as opened:
            opened.submit(go.wait)
            futures: list[object] = [None] * _PENDING
            tracemalloc.start()
            for i in range(_PENDING):
                futures[i] = opened.submit(_nothing)
            bytes_each = tracemalloc.get_traced_memory()[0] / _PENDING
            tracemalloc.stop()
            go.set()
        return len(futures)

    yield Op(call, figure=lambda: bytes_each)


def _nothing() -> None:
    pass
