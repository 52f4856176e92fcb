"""What a pool gives for the time of a `with` block: leases, NumPy's memory, measurements; and tags."""

from __future__ import annotations

import weakref
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

from tailrace import _core

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import TracebackType
    from typing import SupportsIndex, TypeAlias

    from numpy.typing import ArrayLike, DTypeLike, NDArray

    from tailrace._pool_reports import TagStatistics
    from tailrace.memory import MemoryPool

    Shape: TypeAlias = SupportsIndex | Sequence[SupportsIndex]

__all__ = ["Lease", "Measurement", "NumpyMemory", "PoolMeasure", "PoolTag", "PoolTrace"]


class Lease:
    """An array for the time of a `with` block.

    At its end the lease lets go of the array; the block goes back with the last reference to it. A name that
    is left over, a view or an export keeps the block: it is never given to somebody else under them.
    """

    def __init__(self, pool: MemoryPool, shape: Shape, dtype: DTypeLike, **wish: Any) -> None:
        self._pool = pool
        self._shape = shape
        self._dtype = dtype
        self._wish = wish
        self._array: NDArray[Any] | None = None
        self._seen: weakref.ref[NDArray[Any]] | None = None

    @property
    def returned(self) -> bool:
        """Whether the block has gone back to the pool, so that nothing uses it any more."""
        return self._seen is not None and self._seen() is None

    def __enter__(self) -> NDArray[Any]:
        if self._seen is not None:
            raise RuntimeError("a lease is used once; write `with pool.lease(...) as array:` each time")
        self._array = self._pool.empty(self._shape, self._dtype, **self._wish)
        self._seen = weakref.ref(self._array)
        return self._array

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._array = None


class NumpyMemory:
    """NumPy takes the memory of new arrays from a pool, in this context, for the time of a `with` block."""

    def __init__(self, handler: object) -> None:
        self._handler = handler
        self._before: list[object] = []

    def __enter__(self) -> Self:
        self._before.append(_core.set_numpy_handler(self._handler))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        _core.set_numpy_handler(self._before.pop())


@dataclass(frozen=True, slots=True)
class Measurement:
    """What was allocated and freed while a scope was open, on all threads.

    Attributes:
        n_alloc: Blocks that were taken; `n_free` those that were given back, older ones included.
        allocated_bytes: What the taken ones hold.
        live_bytes: Allocated less freed; negative if more was freed.
        peak_bytes: The highest that `live_bytes` was, looked at whenever a block was taken; at least 0.
    """

    n_alloc: int
    n_free: int
    allocated_bytes: int
    live_bytes: int
    peak_bytes: int


class PoolMeasure:
    """A scope in which a pool counts for itself what Python takes and gives back; scopes may nest."""

    def __init__(self, pool: MemoryPool) -> None:
        self._pool = pool
        self._scope = -1
        self._start: tuple[int, int, int, int, int] | None = None
        self._end: Measurement | None = None

    def read(self) -> Measurement:
        """Return what was measured until now, or until the end of the scope."""
        if self._end is not None:
            return self._end
        if self._start is None:
            raise RuntimeError("nothing is measured yet; write `with pool.measure() as used:`")
        now = self._pool.read_scope_raw(self._scope)
        n_alloc, n_free, allocated, live = (now[i] - self._start[i] for i in range(4))
        return Measurement(n_alloc, n_free, allocated, live, now[4] - self._start[3])

    def __enter__(self) -> Self:
        if self._start is not None:
            raise RuntimeError("a scope measures once; write `with pool.measure() as used:` each time")
        self._scope = self._pool.open_scope_raw()
        if self._scope < 0:
            raise ValueError(
                f"{self._pool!r} has 16 open measure() scopes, which is all there are; end one first"
            )
        self._start = self._pool.read_scope_raw(self._scope)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end = self.read()
        self._pool.close_scope_raw(self._scope)

    def __repr__(self) -> str:
        return f"<PoolMeasure {self.read()}>" if self._start is not None else "<PoolMeasure>"


class PoolTrace:
    """A scope in which a pool writes down, call by call, what Python takes and gives back."""

    def __init__(self, pool: MemoryPool, path: str) -> None:
        self._pool = pool
        self._path = path

    def __enter__(self) -> Self:
        if not self._pool.start_trace_raw(self._path):
            raise RuntimeError(f"{self._pool!r} writes a trace already; end that one first")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._pool.stop_trace_raw()

    def __repr__(self) -> str:
        return f"<PoolTrace of {self._pool!r} to {self._path!r}>"


class PoolTag:
    """A part of the program as a pool knows it: it allocates under one name, below a limit of its own."""

    def __init__(self, pool: MemoryPool, name: str) -> None:
        self._pool = pool
        self._name = name

    @property
    def name(self) -> str:
        """The name."""
        return self._name

    def empty(self, shape: Shape, dtype: DTypeLike = "float64", **wish: Any) -> NDArray[Any]:
        """As `MemoryPool.empty`, under this tag."""
        return self._pool.empty(shape, dtype, tag=self._name, **wish)

    def zeros(self, shape: Shape, dtype: DTypeLike = "float64", **wish: Any) -> NDArray[Any]:
        """As `MemoryPool.zeros`, under this tag."""
        return self._pool.zeros(shape, dtype, tag=self._name, **wish)

    def full(
        self,
        shape: Shape,
        fill_value: ArrayLike,
        dtype: DTypeLike | None = None,
        **wish: Any,
    ) -> NDArray[Any]:
        """As `MemoryPool.full`, under this tag."""
        return self._pool.full(shape, fill_value, dtype, tag=self._name, **wish)

    def numpy(self) -> NumpyMemory:
        """As `MemoryPool.numpy`, under this tag."""
        return self._pool.numpy(tag=self._name)

    def statistics(self) -> TagStatistics:
        """Return what was allocated under this tag, as one immutable snapshot."""
        return self._pool.statistics().tags[self._name]

    def __repr__(self) -> str:
        return f"<PoolTag {self._name!r} of {self._pool!r}>"
