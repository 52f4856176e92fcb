"""Tasks of an event loop that wait for memory of a pool, in the order in which they came."""

from __future__ import annotations

import asyncio
import gc
import weakref
from collections import deque
from typing import TYPE_CHECKING, Any

from tailrace import _core, _pool_reports, _shutdown

if TYPE_CHECKING:
    from numpy.typing import DTypeLike, NDArray

    from tailrace._pool_scopes import Shape

__all__ = ["acquire"]


class _Waiter:
    __slots__ = ("dtype", "future", "shape", "tag")

    def __init__(
        self,
        future: asyncio.Future[NDArray[Any]],
        shape: Shape,
        dtype: DTypeLike,
        tag: str | None,
    ) -> None:
        self.future: asyncio.Future[NDArray[Any]] | None = future
        self.shape = shape
        self.dtype = dtype
        self.tag = tag


class _Line:
    """Who waits for one pool on one loop; listens to the pool while there is somebody."""

    def __init__(self, loop: asyncio.AbstractEventLoop, pool: _core.PoolCore) -> None:
        self.pool = pool
        self._loop = loop
        self._waiting: deque[_Waiter] = deque()
        self._signal = _core.FreeSignal(pool)
        loop.add_reader(self._signal.fileno(), self._serve)

    async def wait(self, waiter: _Waiter, timeout_s: float | None) -> NDArray[Any]:
        self._waiting.append(waiter)
        timer = (
            None if timeout_s is None else self._loop.call_later(timeout_s, self._expire, waiter, timeout_s)
        )
        try:
            if self._waiting[0] is waiter:
                self._serve()
            assert waiter.future is not None
            return await waiter.future
        except asyncio.CancelledError:
            waiter.future = None  # what it was given goes back now, and not with the traceback
            raise
        finally:
            if timer is not None:
                timer.cancel()
            if waiter in self._waiting:  # cancelled: whoever stood behind may fit
                self._waiting.remove(waiter)
                self._serve()

    # The oldest first, and nobody before it: a large request is not starved by small ones.
    def _serve(self) -> None:
        self._signal.drain()
        while self._waiting:
            waiter = self._waiting[0]
            if waiter.future is not None and not waiter.future.done():
                self._signal.arm()
                try:
                    array = self.pool.try_raw(waiter.shape, waiter.dtype, waiter.tag)
                except Exception as error:
                    waiter.future.set_exception(error)
                else:
                    if array is None:
                        return
                    waiter.future.set_result(array)
            self._waiting.popleft()
        self._leave()

    def _expire(self, waiter: _Waiter, timeout_s: float) -> None:
        if waiter.future is not None and not waiter.future.done():
            wanted = _bytes_of(waiter)
            waiter.future.set_exception(_pool_reports.refusal(self.pool, wanted, waiter.tag, timeout_s))
            self._serve()

    def _leave(self) -> None:
        lines = _lines.get(self._loop)
        if lines is not None and lines.get(id(self.pool)) is self:
            del lines[id(self.pool)]
            self._loop.remove_reader(self._signal.fileno())
            self._signal.close()


# A line holds its pool, so that the number is nobody else's meanwhile.
_lines: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, dict[int, _Line]] = weakref.WeakKeyDictionary()


async def acquire(
    pool: _core.PoolCore,
    shape: Shape,
    dtype: DTypeLike,
    tag: str | None,
    timeout_s: float | None,
    collect: bool,
) -> NDArray[Any]:
    """Return an array once the pool has room for it and all who asked before on this loop are served."""
    loop = asyncio.get_running_loop()
    lines = _lines.setdefault(loop, {})
    line = lines.get(id(pool))
    if line is None:
        array = pool.try_raw(shape, dtype, tag)
        if array is None and collect:
            gc.collect()
            array = pool.try_raw(shape, dtype, tag)
        if array is not None:
            return array
        line = lines[id(pool)] = _Line(loop, pool)
    return await line.wait(_Waiter(loop.create_future(), shape, dtype, tag), timeout_s)


def _bytes_of(waiter: _Waiter) -> int:
    import numpy as np

    sizes = np.asarray(waiter.shape, dtype=object)
    return int(sizes.prod()) * np.dtype(waiter.dtype).itemsize


def _after_fork() -> None:
    _lines.clear()


_shutdown.on_fork(_after_fork)
