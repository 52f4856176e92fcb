"""M5 and M6: NumPy arrays made and filled while eight others live, and what it costs to make one."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from itertools import repeat
from typing import Any

import tailrace as tr
from tailrace._bench.rows import PLAIN
from tailrace._bench.timing import Op, Work

_KIB = 1024
_SIZES = {"16k": 16, "64k": 64, "256k": 256, "1m": 1024, "4m": 4096, "16m": 16384}  # KiB
_HITS = {"64k": 64, "1m": 1024}
_LIVE = 8
_FILLS = 64  # in one timed call
_MADE = 1000
_LIMIT = "2GiB"

_Engines = dict[str, Callable[[], AbstractContextManager[Op]]]


def works() -> list[Work]:
    """Return M5 and M6, one work a size."""
    found = []
    for name, kib in _SIZES.items():
        counts = _counts(kib)
        engines: _Engines = {
            "tailrace": partial(_in_pool, counts),
            "NumPy": partial(_default, counts),
            PLAIN: partial(_reused, counts),
        }
        title = f"np.empty and fill, about {_named(kib)} of float32, eight live; tailrace: with pool.numpy()"
        found.append(Work(f"M5.{name}", title, "us", float(sum(counts)), engines))
    for name, kib in _HITS.items():
        made: _Engines = {"tailrace": partial(_made_of_pool, kib), "NumPy": partial(_made, kib)}
        found.append(
            Work(
                f"M6.{name}",
                f"an array of {_named(kib)} made and dropped; tailrace: pool.empty",
                "us",
                _MADE,
                made,
            )
        )
    return found


def _named(kib: int) -> str:
    return f"{kib} KiB" if kib < 1024 else f"{kib // 1024} MiB"


def _counts(kib: int) -> list[int]:
    """How many items each of the arrays of a call has: an eighth more or less, as batches vary."""
    dice = random.Random(kib)
    items = kib * _KIB // 4
    return [items - items // 8 + dice.randrange(items // 4) for _ in range(_FILLS)]


def _fill(make: Callable[[int], Any], counts: list[int], live: list[Any]) -> float:
    total = 0.0
    for turn, count in enumerate(counts):
        array = make(count)
        array.fill(1.0)
        live[turn % _LIVE] = array
        total += float(array[-1]) * array.size
    return total


def _op(make: Callable[[int], Any], counts: list[int]) -> Op:
    live: list[Any] = [None] * _LIVE
    return Op(lambda: _fill(make, counts, live), len(counts))


def _float32(count: int) -> Any:
    import numpy as np

    return np.empty(count, np.float32)


@contextmanager
def _in_pool(counts: list[int]) -> Iterator[Op]:
    pool = tr.MemoryPool(limit=_LIMIT)
    live: list[Any] = [None] * _LIVE

    def call() -> float:
        with pool.numpy():
            return _fill(_float32, counts, live)

    yield Op(call, len(counts))


@contextmanager
def _default(counts: list[int]) -> Iterator[Op]:
    yield _op(_float32, counts)


@contextmanager
def _reused(counts: list[int]) -> Iterator[Op]:
    import numpy as np

    arrays = [np.empty(max(counts), np.float32) for _ in range(_LIVE)]
    turn = iter(range(2**62))
    yield _op(lambda count: arrays[next(turn) % _LIVE][:count], counts)


def _make(make: Callable[..., Any], items: int, dtype: Any) -> int:
    for _ in repeat(None, _MADE):
        make(items, dtype)
    return _MADE


@contextmanager
def _made_of_pool(kib: int) -> Iterator[Op]:
    import numpy as np

    pool = tr.MemoryPool(limit=_LIMIT)
    yield Op(partial(_make, pool.empty, kib * _KIB // 4, np.float32), _MADE)


@contextmanager
def _made(kib: int) -> Iterator[Op]:
    import numpy as np

    yield Op(partial(_make, np.empty, kib * _KIB // 4, np.float32), _MADE)
