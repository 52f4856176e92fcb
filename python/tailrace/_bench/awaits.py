"""P9 and P11: a thousand requests awaited at once, what their loop feels; 64 completions together."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from itertools import repeat

import tailrace as tr
from tailrace._bench import loops
from tailrace._bench.timing import Op, Work
from tailrace.runtime import default_workers

_REQUESTS = 1000
_STEPS = 10
_BURSTS = 10  # of one timed call, for a percentile
_RATE = 10_000  # a second, paced
_PACED_S = 0.5
_TICK_S = 0.001
_COMPLETIONS = 64
_TIMES = 50

_Ask = Callable[[int], Awaitable[int]]
_Engines = dict[str, Callable[[], AbstractContextManager[Op]]]
_Measure = Callable[[asyncio.AbstractEventLoop, _Ask], Op]


def works() -> list[Work]:
    """Return P9, its lag in the burst and paced, and P11."""
    total = _REQUESTS * (_STEPS + 1)
    paced = int(_RATE * _PACED_S) * (_STEPS + 1)
    told: _Engines = {
        "tailrace": partial(_told, _wait_as_tailrace),
        "wrap_future": partial(_told, _wait_as_wrapped),
        **{f"tailrace, {name}": partial(_told, _wait_as_tailrace, new) for name, new in _others()},
        **{f"wrap_future, {name}": partial(_told, _wait_as_wrapped, new) for name, new in _others()},
    }
    return [
        Work("P9", "1000 awaiting requests of 10 steps", "/s", total, _askers(_burst)),
        Work("P9.lag", "loop lag p99 in that burst", "ms", total * _BURSTS, _askers(_lag_of_bursts)),
        Work("P9.paced", "loop lag p99, 10k requests/s", "ms", paced, _askers(_lag_of_pace)),
        Work("P11", "64 completions to a loop, from a thread", "us", _COMPLETIONS * _TIMES, told),
    ]


def _others() -> list[tuple[str, Callable[[], asyncio.AbstractEventLoop]]]:
    return [(name, new) for name, new in loops.factories().items() if name != "asyncio"]


def _askers(measure: _Measure) -> _Engines:
    return {
        "tailrace": partial(_tailrace, measure, asyncio.new_event_loop),
        **{f"tailrace, {name}": partial(_tailrace, measure, new) for name, new in _others()},
        "TPE by steps": partial(_by_steps, measure),
        "TPE whole request": partial(_whole_request, measure),
        **{f"{name} task": partial(_task, measure, new) for name, new in loops.factories().items()},
    }


def _step(x: int) -> int:
    return x + 1


def _whole(x: int) -> int:
    for _ in repeat(None, _STEPS):
        x = _step(x)
    return x


_traced = tr.step(_step)


@tr.workflow
def _chain(x: int) -> int:
    for _ in repeat(None, _STEPS):
        x = _traced(x)
    return x


@contextmanager
def _tailrace(measure: _Measure, new: Callable[[], asyncio.AbstractEventLoop]) -> Iterator[Op]:
    with tr.Runtime() as rt, loops.opened(new) as loop:
        yield measure(loop, _chain.options(runtime=rt).start)


@contextmanager
def _by_steps(measure: _Measure) -> Iterator[Op]:
    async def ask(x: int) -> int:
        for _ in repeat(None, _STEPS):
            x = await loop.run_in_executor(pool, _step, x)
        return x

    with ThreadPoolExecutor(default_workers()) as pool, loops.opened(asyncio.new_event_loop) as loop:
        yield measure(loop, ask)


@contextmanager
def _whole_request(measure: _Measure) -> Iterator[Op]:
    with ThreadPoolExecutor(default_workers()) as pool, loops.opened(asyncio.new_event_loop) as loop:
        yield measure(loop, lambda x: loop.run_in_executor(pool, _whole, x))


@contextmanager
def _task(measure: _Measure, new: Callable[[], asyncio.AbstractEventLoop]) -> Iterator[Op]:
    async def ask(x: int) -> int:
        for _ in repeat(None, _STEPS):
            x = await step(x)
        return x

    async def step(x: int) -> int:
        return _step(x)

    with loops.opened(new) as loop:
        yield measure(loop, ask)


async def _all_at_once(ask: _Ask) -> int:
    async def client() -> int:
        return await ask(1)

    return sum(await asyncio.gather(*[client() for _ in repeat(None, _REQUESTS)]))


def _burst(loop: asyncio.AbstractEventLoop, ask: _Ask) -> Op:
    return Op(lambda: loop.run_until_complete(_all_at_once(ask)), _REQUESTS)


def _lag_of_bursts(loop: asyncio.AbstractEventLoop, ask: _Ask) -> Op:
    async def load() -> int:
        return sum([await _all_at_once(ask) for _ in repeat(None, _BURSTS)])

    return _lagging(loop, load)


def _lag_of_pace(loop: asyncio.AbstractEventLoop, ask: _Ask) -> Op:
    async def client() -> int:
        return await ask(1)

    async def load() -> int:
        clients: list[asyncio.Task[int]] = []
        began = time.perf_counter()
        while len(clients) < _RATE * _PACED_S:
            due = min((time.perf_counter() - began) * _RATE, _RATE * _PACED_S)
            clients += [asyncio.create_task(client()) for _ in range(len(clients), int(due))]
            await asyncio.sleep(_TICK_S)
        return sum(await asyncio.gather(*clients))

    return _lagging(loop, load)


def _lagging(loop: asyncio.AbstractEventLoop, load: Callable[[], Awaitable[int]]) -> Op:
    lags: list[float] = []

    async def ticker() -> None:
        while True:
            due = time.perf_counter() + _TICK_S
            await asyncio.sleep(_TICK_S)
            lags.append(time.perf_counter() - due)

    async def both() -> int:
        lags.clear()
        ticking = asyncio.create_task(ticker())
        await asyncio.sleep(2 * _TICK_S)
        total = await load()
        await asyncio.sleep(2 * _TICK_S)  # so that the last turn is in
        ticking.cancel()
        return total

    def p99_s() -> float:
        return sorted(lags)[min(int(len(lags) * 0.99), len(lags) - 1)]

    return Op(lambda: loop.run_until_complete(both()), measured_s=p99_s)


def _wait_as_tailrace(_loop: asyncio.AbstractEventLoop) -> tuple[Future[int], asyncio.Future[int]]:
    future = tr.Future()
    return future, future.__await__().send(None)  # what a task that awaits it is woken by


def _wait_as_wrapped(loop: asyncio.AbstractEventLoop) -> tuple[Future[int], asyncio.Future[int]]:
    future: Future[int] = Future()
    return future, asyncio.wrap_future(future, loop=loop)


@contextmanager
def _told(
    wait: Callable[[asyncio.AbstractEventLoop], tuple[Future[int], asyncio.Future[int]]],
    new: Callable[[], asyncio.AbstractEventLoop] = asyncio.new_event_loop,
) -> Iterator[Op]:
    took: list[float] = []
    pairs: list[tuple[Future[int], asyncio.Future[int]]] = []
    go, ended, begun_s = threading.Semaphore(0), False, 0.0

    def ends_them() -> None:
        nonlocal begun_s
        while go.acquire() and not ended:
            begun_s = time.perf_counter()
            for future, _ in pairs:
                future.set_result(1)

    async def once() -> int:
        nonlocal pairs
        loop = asyncio.get_running_loop()
        pairs = [wait(loop) for _ in range(_COMPLETIONS)]
        told, all_told = 0, loop.create_future()

        def tell(_future: asyncio.Future[int]) -> None:
            nonlocal told
            told += 1
            if told == _COMPLETIONS:
                took.append(time.perf_counter() - begun_s)
                all_told.set_result(told)

        for _, awaited in pairs:
            awaited.add_done_callback(tell)
        go.release()
        return int(await all_told)

    async def times() -> int:
        took.clear()
        return sum([await once() for _ in repeat(None, _TIMES)])

    thread = threading.Thread(target=ends_them, daemon=True)
    thread.start()
    with loops.opened(new) as loop:
        yield Op(lambda: loop.run_until_complete(times()), measured_s=lambda: sorted(took)[len(took) // 2])
    ended = True
    go.release()
    thread.join()
