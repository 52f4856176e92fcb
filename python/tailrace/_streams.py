"""Many runs of one workflow: ordered results, bounded in flight, waiting where the runtime is full."""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any

from tailrace.errors import Overloaded

if TYPE_CHECKING:
    from tailrace._core import Run
    from tailrace.runtime import Runtime

__all__ = ["check_concurrency", "check_source", "run_map", "run_stream"]

_FULL_WAIT_S = 0.001
_FULL_WAIT_MAX_S = 0.016


def check_concurrency(workflow: str, concurrency: object) -> int:
    """Return `concurrency` if it is an int of at least 1, else raise a `TypeError` or `ValueError`."""
    if isinstance(concurrency, bool) or not isinstance(concurrency, int):
        raise TypeError(f"workflow {workflow!r}: concurrency must be an int, got {concurrency!r}")
    if concurrency < 1:
        raise ValueError(f"workflow {workflow!r}: concurrency must be at least 1, got {concurrency}")
    return concurrency


def check_source(workflow: str, source: object) -> Iterator[Any] | AsyncIterator[Any]:
    """Return an iterator over `source`, be it sync or async."""
    if isinstance(source, AsyncIterable):
        return aiter(source)
    if isinstance(source, Iterable):
        return iter(source)
    raise TypeError(f"workflow {workflow!r}: stream needs an iterable, sync or async, got {source!r}")


def run_map(
    start: Callable[[Any], Run],
    call: Callable[[Any], Any] | None,
    spreads: Callable[[], bool],
    items: Iterator[Any],
    limit: int,
    runtime: Runtime,
) -> Iterator[Any]:
    """Yield the result of each item: by `call` while a run does not spread, else of at most `limit` runs."""
    runs: deque[Run] = deque()
    try:
        for item in items:
            if call is not None and not runs and not spreads():
                try:
                    value = call(item)
                except Overloaded:
                    pass  # others fill the runtime: wait for a place below
                else:
                    yield value
                    continue
            if len(runs) >= limit:
                yield runs.popleft().result()
            while True:
                try:
                    runs.append(start(item))
                    break
                except Overloaded:
                    if not runs:  # others fill the runtime: wait for a place
                        runtime.drain_raw(_FULL_WAIT_S)
                if runs:
                    yield runs.popleft().result()
        while runs:
            yield runs.popleft().result()
    finally:
        for run in runs:
            run.cancel()


async def run_stream(
    start: Callable[[Any], Run], items: Iterator[Any] | AsyncIterator[Any], limit: int
) -> AsyncIterator[Any]:
    """Yield the result of `start(item)` for each item of a sync or async iterator, in order."""
    import asyncio

    # One task pulls items and starts runs while this one hands out results, so that a slow source
    # never holds back a result that is ready.
    places = asyncio.Semaphore(limit)
    runs: asyncio.Queue[Run | _End] = asyncio.Queue()

    async def begin(item: Any) -> Run:
        pause_s = _FULL_WAIT_S
        while True:
            try:
                return start(item)
            except Overloaded:
                await asyncio.sleep(pause_s)
                pause_s = min(2 * pause_s, _FULL_WAIT_MAX_S)

    async def feed() -> None:
        end = _End()
        try:
            await places.acquire()
            if isinstance(items, AsyncIterator):
                async for item in items:
                    runs.put_nowait(await begin(item))
                    await places.acquire()
            else:
                for item in items:
                    runs.put_nowait(await begin(item))
                    await places.acquire()
        except Exception as error:
            end.error = error
        runs.put_nowait(end)

    feeder = asyncio.get_running_loop().create_task(feed())
    run: Run | _End | None = None
    try:
        while not isinstance(run := await runs.get(), _End):
            value = await run
            places.release()
            yield value
        if run.error is not None:
            raise run.error
    finally:
        feeder.cancel()
        if isinstance(run, _End):
            run = None
        await asyncio.wait([feeder])
        for left in [run, *(runs.get_nowait() for _ in range(runs.qsize()))]:
            if left is not None and not isinstance(left, _End):
                left.cancel()


class _End:
    """Stands behind the last run; carries what the source raised, if it did."""

    error: Exception | None = None
