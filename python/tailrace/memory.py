"""The memory pool as users hold it: arrays whose buffers come back instead of going to the system."""

from __future__ import annotations

import math
import os
from typing import TYPE_CHECKING, Any, Literal, Self

from tailrace import _core, _pool_reports, _pool_scopes
from tailrace._checks import check_choice, check_seconds
from tailrace._core import PoolCore
from tailrace._sizes import format_bytes, parse_bytes

if TYPE_CHECKING:
    from os import PathLike
    from types import TracebackType

    import numpy as np
    from numpy.typing import ArrayLike, DTypeLike, NDArray

    from tailrace._pool_scopes import Shape

__all__ = ["MemoryPool", "run_memory"]

_LEAST_LIMIT = 1 << 20  # as in cpp/include/tailrace/pool/memory_pool.hpp
_MOST_LIMIT = 1 << 42


class MemoryPool(PoolCore):
    """Memory for arrays of 64 KiB and more at the cost of a pointer, below one limit.

    `empty` and `zeros` return ordinary NumPy arrays that own their block: it goes back to the pool with the
    last array, view or export that uses it, on whatever thread, also after the pool object has gone. All
    methods may be called from any thread. Leaving the `with` block closes the pool: it then refuses new
    allocations, and nothing else.

    Args:
        limit: Most memory that the pool may keep committed, in bytes or as "1GiB"; 1 MiB to 4 TiB.
        huge_pages: "auto" asks for huge pages where the pool is large enough, "off" never does.
        hardened: True finds overruns and writes to freed blocks, and costs time.
        decay_s: Seconds after which memory that nobody used goes back to the system; math.inf: never.

    Raises:
        TypeError, ValueError: for an option of the wrong type or range.
        MemoryError: if the system has not as much address space.

    >>> import tailrace as tr
    >>> with tr.MemoryPool(limit="64MiB") as pool:
    ...     frame = pool.empty((1024, 256), "float32")
    >>> frame.shape, frame.nbytes
    ((1024, 256), 1048576)
    """

    def __init__(
        self,
        *,
        limit: int | str = "1GiB",
        huge_pages: Literal["auto", "off"] = "auto",
        hardened: bool = False,
        decay_s: float = 1.0,
    ) -> None:
        limit_bytes = parse_bytes("MemoryPool", "limit", limit, least=_LEAST_LIMIT)
        if limit_bytes > _MOST_LIMIT:
            raise ValueError(f"MemoryPool: limit must be at most {format_bytes(_MOST_LIMIT)}, got {limit!r}")
        check_choice("MemoryPool", "huge_pages", huge_pages, ("auto", "off"))
        if not isinstance(hardened, bool):
            raise TypeError(f"MemoryPool: hardened must be True or False, got {hardened!r}")
        forever = decay_s == math.inf
        if not forever:
            check_seconds("MemoryPool", "decay_s", decay_s)
        decay_ns = -1 if forever else int(decay_s * 1e9)
        super().__init__(limit_bytes, huge_pages == "auto", hardened, decay_ns)
        self._limit = limit_bytes

    @property
    def limit(self) -> int:
        """Most bytes that the pool keeps committed, as it was made."""
        return self._limit

    def full(
        self,
        shape: Shape,
        fill_value: ArrayLike,
        dtype: DTypeLike | None = None,
        *,
        tag: str | None = None,
        timeout_s: float | None = None,
        collect: bool = True,
    ) -> NDArray[Any]:
        """Return a new array filled with `fill_value`, whose dtype it has unless one is given.

        Args:
            shape: Sizes of the array.
            fill_value: A value, or an array that can be broadcast to the shape.
            dtype: Of the array; default that of `fill_value`.
            tag, timeout_s, collect: As in `empty`.

        >>> import tailrace as tr
        >>> tr.MemoryPool(limit="1MiB").full((2, 2), 7)
        array([[7, 7],
               [7, 7]])
        """
        import numpy as np

        if dtype is None:
            dtype = np.asarray(fill_value).dtype
        array = self.empty(shape, dtype, tag=tag, timeout_s=timeout_s, collect=collect)
        np.copyto(array, fill_value, casting="unsafe")
        return array

    def empty_like(
        self,
        prototype: ArrayLike,
        dtype: DTypeLike | None = None,
        shape: Shape | None = None,
        *,
        tag: str | None = None,
        timeout_s: float | None = None,
        collect: bool = True,
    ) -> NDArray[Any]:
        """Return a new array of the shape and dtype of `prototype`, in C order, of undefined content.

        Args:
            prototype: An array, or what NumPy makes one of.
            dtype, shape: Instead of the prototype's.
            tag, timeout_s, collect: As in `empty`.

        >>> import numpy as np
        >>> import tailrace as tr
        >>> tr.MemoryPool(limit="1MiB").empty_like(np.ones((3, 4), "int8")).shape
        (3, 4)
        """
        import numpy as np

        like: np.ndarray[Any, Any] = np.asanyarray(prototype)
        return self.empty(
            like.shape if shape is None else shape,
            like.dtype if dtype is None else dtype,
            tag=tag,
            timeout_s=timeout_s,
            collect=collect,
        )

    def lease(
        self,
        shape: Shape,
        dtype: DTypeLike = "float64",
        *,
        tag: str | None = None,
        timeout_s: float | None = None,
        collect: bool = True,
    ) -> _pool_scopes.Lease:
        """Return a context manager that has an array for the time of its block.

        At the end it lets go of the array. What else refers to it then, a name, a view or an export, keeps
        the block: memory is never given to somebody else under an array that can still be reached.

        Args:
            shape, dtype, tag, timeout_s, collect: As in `empty`.

        >>> import tailrace as tr
        >>> pool = tr.MemoryPool(limit="16MiB")
        >>> lease = pool.lease(1 << 20, "uint8")
        >>> with lease as scratch:
        ...     scratch[:] = 1
        >>> del scratch
        >>> lease.returned
        True
        """
        return _pool_scopes.Lease(self, shape, dtype, tag=tag, timeout_s=timeout_s, collect=collect)

    def numpy(self, *, tag: str | None = None) -> _pool_scopes.NumpyMemory:
        """Return a context manager in which NumPy takes the memory of arrays above 64 KiB from this pool.

        It holds in the current context: also in steps, tasks and submitted functions started inside, not in
        threads that take no context along. An array goes back to the pool that it came from, whenever that
        is. When the pool is exhausted, NumPy raises its own `MemoryError`.

        Args:
            tag: Under which the pool counts these arrays.

        >>> import numpy as np
        >>> import tailrace as tr
        >>> pool = tr.MemoryPool(limit="16MiB")
        >>> with pool.numpy():
        ...     total = np.ones(1 << 17) + 1
        >>> pool.statistics().used_bytes
        1048576
        """
        return _pool_scopes.NumpyMemory(self.numpy_handler_raw(tag))

    def tag(self, name: str, *, limit: int | str | None = None) -> _pool_scopes.PoolTag:
        """Return the tag of this name, with the same methods that allocate; made at its first use.

        Args:
            name: Of a part of the program, not of a request: a pool has at most 4096 of them.
            limit: Most that may be live under the tag, in bytes or as "64MiB"; None leaves it as it is.

        >>> import tailrace as tr
        >>> pool = tr.MemoryPool(limit="64MiB")
        >>> decoder = pool.tag("decoder", limit="8MiB")
        >>> frame = decoder.empty(1 << 20, "uint8")
        >>> decoder.statistics().used_bytes
        1048576
        """
        bound = -1 if limit is None else parse_bytes("MemoryPool.tag", "limit", limit)
        self.tag_raw(name, bound)
        return _pool_scopes.PoolTag(self, name)

    def measure(self) -> _pool_scopes.PoolMeasure:
        """Return a scope that counts what Python takes from the pool and gives back, on all threads.

        Scopes may nest and overlap, 16 at most. Counting costs each allocation some 20 ns meanwhile.

        >>> import tailrace as tr
        >>> pool = tr.MemoryPool(limit="64MiB")
        >>> with pool.measure() as used:
        ...     frames = [pool.empty(1 << 20, "uint8") for _ in range(3)]
        ...     del frames[1:]
        >>> used.read().n_alloc, used.read().n_free, used.read().peak_bytes
        (3, 2, 3145728)
        """
        return _pool_scopes.PoolMeasure(self)

    def trace(self, path: str | PathLike[str]) -> _pool_scopes.PoolTrace:
        """Return a scope that writes down what Python takes from the pool and gives back, on all threads.

        The file is CSV, to be replayed over the pool and other allocators. A pool writes one trace at a time;
        blocks that were taken before it began are not in it.

        Args:
            path: Of the file, which is replaced.

        >>> import pathlib, tempfile
        >>> import tailrace as tr
        >>> pool = tr.MemoryPool(limit="64MiB")
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = pathlib.Path(folder, "trace.csv")
        ...     with pool.trace(path):
        ...         frame = pool.empty(1 << 20, "uint8")
        ...     len(path.read_text().splitlines())
        2
        """
        return _pool_scopes.PoolTrace(self, os.fspath(path))

    async def acquire(
        self,
        shape: Shape,
        dtype: DTypeLike = "float64",
        *,
        tag: str | None = None,
        timeout_s: float | None = None,
        collect: bool = True,
    ) -> NDArray[Any]:
        """Return a new array as `empty`, waiting until the pool has room: back-pressure for tasks of a loop.

        Those who wait on one loop are served in the order in which they came.

        Args:
            shape, dtype, tag: As in `empty`.
            timeout_s: Seconds to wait at most; None: without a limit.
            collect: Whether the garbage collector runs before the first wait.

        Raises:
            PoolExhausted: after `timeout_s`, or at once for what never fits.
            RuntimeClosed: if the pool is closed, or is closed meanwhile.

        >>> import asyncio
        >>> import tailrace as tr
        >>> pool = tr.MemoryPool(limit="16MiB")
        >>> asyncio.run(pool.acquire((4, 4), "float32", timeout_s=1.0)).shape
        (4, 4)
        """
        from tailrace import _pool_waiting

        if timeout_s is not None:
            check_seconds("MemoryPool.acquire", "timeout_s", timeout_s)
        return await _pool_waiting.acquire(self, shape, dtype, tag, timeout_s, collect)

    def statistics(self) -> _pool_reports.PoolStatistics:
        """Return all counters, as one immutable snapshot; exact when nobody allocates or frees meanwhile.

        >>> import tailrace as tr
        >>> pool = tr.MemoryPool(limit="16MiB")
        >>> frame = pool.empty(1 << 20, "uint8")
        >>> pool.statistics().used_bytes
        1048576
        """
        return _pool_reports.pool_statistics(self.statistics_raw())

    def trim(self, keep: int | str = 0) -> int:
        """Take back what threads keep ready and give free memory back to the system; return how many bytes.

        Args:
            keep: Bytes of free memory to keep, as 4096 or "64MiB".
        """
        return self.trim_raw(parse_bytes("MemoryPool.trim", "keep", keep, least=0))

    def reserve(self, size: int | str, *, prefault: bool = False) -> int:
        """Commit memory now instead of at its first use; return how many bytes are ready.

        Args:
            size: Bytes, as 4096 or "64MiB".
            prefault: True also makes its pages, so that no first touch waits for the system.
        """
        return self.reserve_raw(parse_bytes("MemoryPool.reserve", "size", size), prefault)

    def close(self) -> _pool_reports.LiveBlocks:
        """Refuse new allocations from now on; return which blocks somebody still has.

        Their arrays stay good. What is live is also logged, by logger `tailrace` at level INFO.

        >>> import tailrace as tr
        >>> pool = tr.MemoryPool(limit="16MiB")
        >>> kept = pool.empty(1 << 20, "uint8")
        >>> print(pool.close())
        1 block of 1MiB ((untagged): 1 of 1MiB)
        """
        was_closed = self.closed
        self.close_raw()
        live = _pool_reports.live_blocks(self.statistics_raw())
        if not was_closed:
            _pool_reports.log_live(self, live)
        return live

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        closed = ", closed" if self.closed else ""
        return f"<MemoryPool limit={format_bytes(self._limit)}{closed}>"


def run_memory() -> _pool_reports.PoolStatistics:
    """Return what the run blocks of all runtimes of the process take from the pool of their own.

    >>> from tailrace.memory import run_memory
    >>> run_memory().tags
    {}
    """
    return _pool_reports.pool_statistics(_core.run_memory())
