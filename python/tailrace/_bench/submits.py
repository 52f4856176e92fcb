"""P1 and P3: one small function given to an engine, and its result taken."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from itertools import repeat

import tailrace as tr
from tailrace._bench import loops
from tailrace._bench.rows import PLAIN
from tailrace._bench.timing import Op, Work
from tailrace.runtime import default_workers

_ONES = 10  # round trips in one timed call: enough to hide the clock, few enough for a median
_MANY = 100_000
_LOOP_ONES = 200  # the same on a loop: enough to hide the start of the loop

_Engines = dict[str, Callable[[], AbstractContextManager[Op]]]


def works() -> list[Work]:
    """Return P1 (warm), P1.cold and P3."""
    ones: _Engines = {
        "tailrace": partial(_tailrace, _ones, _ONES),
        "TPE": partial(_pool, _ones, _ONES),
        **{
            f"{name} task": partial(_task, new, _tasks, _LOOP_ONES) for name, new in loops.factories().items()
        },
        PLAIN: _plain,
    }
    cold: _Engines = {  # without event loops: starting one to ask it costs more than the answer
        "tailrace": partial(_tailrace, _ones, 1),
        "TPE": partial(_pool, _ones, 1),
    }
    many: _Engines = {
        "tailrace": partial(_tailrace, _many, _MANY),
        "TPE": partial(_pool, _many, _MANY),
        **{f"{name} gather": partial(_task, new, _gather, _MANY) for name, new in loops.factories().items()},
    }
    total = sum(range(1, _MANY + 1))
    return [
        Work("P1", "submit + result, warm; who waits may help", "us", 2, ones),
        Work("P1.cold", "submit + result after 10 ms of idling", "us", 2, cold, pause_s=0.01),
        Work("P3", "100k submits, then all results", "/s", total, many),
    ]


def _increment(x: int) -> int:
    return x + 1


def _ones(submit: Callable[..., tr.Future], count: int) -> int:
    for _ in repeat(None, count):
        answer: int = submit(_increment, 1).result()
    return answer


def _many(submit: Callable[..., tr.Future], count: int) -> int:
    futures = [submit(_increment, x) for x in range(count)]
    return sum(future.result() for future in futures)


@contextmanager
def _tailrace(do: Callable[..., int], count: int) -> Iterator[Op]:
    with tr.Runtime(max_pending=2 * _MANY) as rt:
        yield Op(partial(do, rt.submit, count), count)


@contextmanager
def _pool(do: Callable[..., int], count: int) -> Iterator[Op]:
    with ThreadPoolExecutor(default_workers()) as pool:
        yield Op(partial(do, pool.submit, count), count)


@contextmanager
def _plain() -> Iterator[Op]:
    def call() -> int:
        for _ in repeat(None, _ONES):
            answer = _increment(1)
        return answer

    yield Op(call, _ONES)


async def _increment_async(x: int) -> int:
    return x + 1


async def _tasks(count: int) -> int:
    for _ in repeat(None, count):
        answer = await asyncio.create_task(_increment_async(1))
    return answer


async def _gather(count: int) -> int:
    return sum(await asyncio.gather(*[_increment_async(x) for x in range(count)]))


@contextmanager
def _task(
    new: Callable[[], asyncio.AbstractEventLoop], do: Callable[..., object], count: int
) -> Iterator[Op]:
    with loops.opened(new) as loop:
        yield Op(lambda: loop.run_until_complete(do(count)), count)  # type: ignore[arg-type]
