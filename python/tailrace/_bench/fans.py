"""P8: one value, a thousand calls that depend on it, one sum of their results."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from functools import partial

import tailrace as tr
from tailrace._bench import loops
from tailrace._bench.rows import PLAIN
from tailrace._bench.timing import Op, Work
from tailrace.runtime import default_workers

_WIDTH = 1000


def works() -> list[Work]:
    """Return P8."""
    engines: dict[str, Callable[[], AbstractContextManager[Op]]] = {
        "tailrace": _tailrace,
        "TPE": _pool,
        **{f"{name} gather": partial(_gather, new) for name, new in loops.factories().items()},
        PLAIN: _plain,
    }
    title = f"fan-out 1 -> {_WIDTH} -> 1 of trivial functions, called"
    return [Work("P8", title, "us", sum(range(1, _WIDTH + 1)), engines)]


def _rows(width: int) -> Sequence[int]:
    return range(width)


def _increment(x: int) -> int:
    return x + 1


def _total(scores: list[int]) -> int:
    return sum(scores)


_rows_step, _increment_step, _total_step = tr.step(_rows), tr.step(_increment), tr.step(_total)


@tr.workflow
def _fan(width: int) -> int:
    return _total_step(tr.each(_increment_step, _rows_step(width)))


@contextmanager
def _tailrace() -> Iterator[Op]:
    with tr.Runtime() as rt:
        yield Op(partial(_fan.options(runtime=rt), _WIDTH))


@contextmanager
def _pool() -> Iterator[Op]:
    with ThreadPoolExecutor(default_workers()) as pool:

        def call() -> int:
            rows = pool.submit(_rows, _WIDTH).result()
            futures = [pool.submit(_increment, row) for row in rows]
            return pool.submit(_total, [future.result() for future in futures]).result()

        yield Op(call)


async def _increment_async(x: int) -> int:
    return x + 1


async def _fan_async(width: int) -> int:
    return _total(await asyncio.gather(*[_increment_async(x) for x in _rows(width)]))


@contextmanager
def _gather(new: Callable[[], asyncio.AbstractEventLoop]) -> Iterator[Op]:
    with loops.opened(new) as loop:
        yield Op(lambda: loop.run_until_complete(_fan_async(_WIDTH)))


@contextmanager
def _plain() -> Iterator[Op]:
    yield Op(lambda: _total([_increment(x) for x in _rows(_WIDTH)]))
