"""P5 and P6: a diamond of ten trivial steps, called, awaited, and awaited by 64 tasks at once."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from itertools import repeat

import tailrace as tr
from tailrace._bench import loops
from tailrace._bench.rows import PLAIN
from tailrace._bench.stepwise import Diamond, Steps, first, last, middle
from tailrace._bench.timing import Op, Work
from tailrace.runtime import default_workers

_ONES = 10  # requests in one timed call: enough to hide the clock, few enough for a median
_AWAITED = 100
_TASKS = 64
_EACH = 25  # requests of each of the 64 tasks, one after another
_whole = Steps().whole
_ANSWER: int = _whole(1)

_Ask = Callable[[int], Awaitable[int]]
_Engines = dict[str, Callable[[], AbstractContextManager[Op]]]


def works() -> list[Work]:
    """Return P5 (called), P5.awaited and P6."""
    called: _Engines = {
        "tailrace": _called_tailrace,
        "TPE by steps": _called_by_steps,
        "TPE whole request": _called_whole,
        **{f"{name} TaskGroup": partial(_grouped, new, _one_by_one, _AWAITED) for name, new in _loops()},
        PLAIN: _called_plain,
    }

    def awaiting(do: Callable[[_Ask, int], Awaitable[int]], count: int) -> _Engines:
        return {
            "tailrace": partial(_awaited_tailrace, do, count),
            "TPE by steps": partial(_awaited_by_steps, do, count),
            "TPE whole request": partial(_awaited_whole, do, count),
            **{f"{name} TaskGroup": partial(_grouped, new, do, count) for name, new in _loops()},
        }

    at_once = awaiting(_by_64_tasks, _TASKS * _EACH)
    at_once["TPE whole request, no loop"] = _windows_whole
    return [
        Work("P5", "10-step diamond, called", "us", _ANSWER, called),
        Work("P5.awaited", "10-step diamond, awaited", "us", _ANSWER, awaiting(_one_by_one, _AWAITED)),
        Work("P6", "10-step diamond, 64 asyncio tasks awaiting", "/s", _TASKS * _EACH * _ANSWER, at_once),
    ]


def _loops() -> list[tuple[str, Callable[[], asyncio.AbstractEventLoop]]]:
    return list(loops.factories().items())


_diamond = Steps().workflow()


def _repeated(ask: Callable[[int], int]) -> Op:
    def call() -> int:
        for _ in repeat(None, _ONES):
            answer = ask(1)
        return answer

    return Op(call, _ONES)


@contextmanager
def _called_tailrace() -> Iterator[Op]:
    with tr.Runtime() as rt:
        yield _repeated(_diamond.options(runtime=rt))


@contextmanager
def _called_plain() -> Iterator[Op]:
    yield _repeated(_whole)


@contextmanager
def _called_by_steps() -> Iterator[Op]:
    with _pool() as pool:
        diamond = Diamond(pool)
        yield _repeated(lambda x: diamond.start(x).result())


@contextmanager
def _called_whole() -> Iterator[Op]:
    with _pool() as pool:
        yield _repeated(lambda x: pool.submit(_whole, x).result())


async def _one_by_one(ask: _Ask, count: int) -> int:
    for _ in repeat(None, count):
        answer = await ask(1)
    return answer


async def _by_64_tasks(ask: _Ask, count: int) -> int:
    async def client() -> int:
        total = 0
        for _ in repeat(None, count // _TASKS):
            total += await ask(1)
        return total

    return sum(await asyncio.gather(*[client() for _ in range(_TASKS)]))


def _on_loop(
    loop: asyncio.AbstractEventLoop, do: Callable[[_Ask, int], Awaitable[int]], ask: _Ask, count: int
) -> Op:
    return Op(lambda: loop.run_until_complete(do(ask, count)), count)


@contextmanager
def _awaited_tailrace(do: Callable[[_Ask, int], Awaitable[int]], count: int) -> Iterator[Op]:
    with tr.Runtime() as rt, loops.opened(asyncio.new_event_loop) as loop:
        yield _on_loop(loop, do, _diamond.options(runtime=rt).start, count)


@contextmanager
def _awaited_by_steps(do: Callable[[_Ask, int], Awaitable[int]], count: int) -> Iterator[Op]:
    with _pool() as pool, loops.opened(asyncio.new_event_loop) as loop:
        diamond = Diamond(pool)
        yield _on_loop(loop, do, lambda x: asyncio.wrap_future(diamond.start(x)), count)


@contextmanager
def _awaited_whole(do: Callable[[_Ask, int], Awaitable[int]], count: int) -> Iterator[Op]:
    with _pool() as pool, loops.opened(asyncio.new_event_loop) as loop:
        yield _on_loop(loop, do, lambda x: loop.run_in_executor(pool, _whole, x), count)


@contextmanager
def _windows_whole() -> Iterator[Op]:
    # The fastest that a pool can be: no event loop, 64 requests in flight at a time.
    def call() -> int:
        total = 0
        for _ in repeat(None, _EACH):
            futures: list[Future[int]] = [pool.submit(_whole, 1) for _ in range(_TASKS)]
            total += sum(future.result() for future in futures)
        return total

    with _pool() as pool:
        yield Op(call, _TASKS * _EACH)


@contextmanager
def _grouped(
    new: Callable[[], asyncio.AbstractEventLoop], do: Callable[[_Ask, int], Awaitable[int]], count: int
) -> Iterator[Op]:
    async def run(step: Callable[..., int], *args: int) -> int:
        return step(*args)

    async def ask(x: int) -> int:
        a = await run(first, x)
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(run(middle, a)) for _ in range(8)]
        return await run(last, *[task.result() for task in tasks])

    with loops.opened(new) as loop:
        yield _on_loop(loop, do, ask, count)


def _pool() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(default_workers())
