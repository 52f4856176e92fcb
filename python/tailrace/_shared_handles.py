"""What travels between the processes of a `SharedPool`, read with suspicion; and what its faults say."""

from __future__ import annotations

import math
import operator
from collections.abc import Sequence
from functools import lru_cache
from typing import Any, NoReturn, TypeAlias, cast

import numpy as np
from numpy.typing import DTypeLike, NDArray

from tailrace._core import SharedFault, SharedMemory
from tailrace.errors import Overloaded, RuntimeClosed, StaleHandle

__all__ = ["MOST_BYTES", "SharedHandle", "dtype_of", "explain", "memory_of", "read_handle", "shape_of"]

SharedHandle: TypeAlias = tuple[int | str, ...]
"""Plain values, as `SharedPool.share` makes them: they go through JSON, a queue or a socket as they are."""

MOST_BYTES = (1 << 63) - 1  # what a C ssize_t holds
# Of a handle: segment, offset, serial, bytes, courier, first byte; then follow the dtype and the shape.
_NUMBERS = 6


def _plain_dtype(dtype: DTypeLike) -> np.dtype[Any]:
    kind = np.dtype(dtype)
    if kind.hasobject or np.dtype(kind.str) != kind or kind.itemsize == 0:
        raise TypeError(
            f"SharedPool: dtype {kind} cannot be shared: another process needs numbers of a fixed size, "
            "without objects or fields"
        )
    return kind


_dtype_named = lru_cache(maxsize=64)(_plain_dtype)


def dtype_of(given: DTypeLike) -> np.dtype[Any]:
    """Return the dtype, if its elements mean the same in every process."""
    return _dtype_named(given) if isinstance(given, str) else _plain_dtype(given)


def shape_of(shape: int | Sequence[int]) -> tuple[int, ...]:
    """Return the shape as a tuple; it has elements."""
    given = (shape,) if not isinstance(shape, Sequence) else shape
    try:
        sizes = tuple(operator.index(size) for size in given)
    except TypeError:
        raise TypeError(f"SharedPool.alloc: shape must be an int or a tuple of ints, got {shape!r}") from None
    if any(size < 0 for size in sizes):
        raise ValueError(f"SharedPool.alloc: shape {shape!r} has a negative number of elements")
    if 0 in sizes:
        raise ValueError(
            f"SharedPool.alloc: shape {shape!r} has no elements; numpy.empty needs no pool for that"
        )
    return sizes


def memory_of(array: NDArray[Any]) -> SharedMemory | None:
    """Return the block that an array stands on, through its views."""
    base: Any = array
    while base is not None and not isinstance(base, SharedMemory):
        base = base.obj if isinstance(base, memoryview) else getattr(base, "base", None)
    return base


def read_handle(handle: Sequence[int | str]) -> tuple[tuple[int, ...], np.dtype[Any], tuple[int, ...]]:
    """Return the six numbers of a handle, its dtype and its shape, which lie within the bytes it names."""
    if not isinstance(handle, tuple | list):
        raise TypeError(
            f"SharedPool.open takes a handle, the tuple or list that share() returned, got {handle!r}"
        )
    numbers = cast("tuple[int, ...]", tuple(handle[:_NUMBERS]))
    shape = cast("tuple[int, ...]", tuple(handle[_NUMBERS + 1 :]))
    text = handle[_NUMBERS] if len(handle) > _NUMBERS else None
    if not isinstance(text, str) or set(map(type, numbers + shape)) != {int}:
        raise TypeError(
            f"SharedPool.open: a handle is {_NUMBERS} ints, a dtype and the shape, got {handle!r}"
        )
    try:
        kind = _dtype_named(text)
    except (TypeError, ValueError, SyntaxError):
        raise _no_handle(handle) from None
    # What the array would span; the pool compares the block's bytes with the handle's.
    if min(numbers) < 0 or min(shape, default=0) < 0 or max(numbers) > MOST_BYTES:
        raise _no_handle(handle)
    if numbers[-1] + math.prod(shape) * kind.itemsize > numbers[3]:
        raise _no_handle(handle)
    return numbers, kind, shape


def _no_handle(handle: Sequence[int | str]) -> ValueError:
    return ValueError(
        f"SharedPool.open: no pool has made this handle; pass what share() returned as it is, got {handle!r}"
    )


_CLOSED = "this pool is closed; make or attach another one"
_NOT_A_POOL = "is not the descriptor of a shared pool; pass what pool.fileno() is in the process that made it"
_FAULTS: dict[str, tuple[type[Exception], str]] = {
    "no_memfd": (ValueError, _NOT_A_POOL),
    "unsealed": (ValueError, _NOT_A_POOL),
    "no_pool": (ValueError, _NOT_A_POOL),
    "version": (ValueError, "was made by another version of tailrace; use the same one in all processes"),
    "full": (Overloaded, "all 63 slots of this shared pool are taken; close pools that nobody needs"),
    "foreign": (
        ValueError,
        "this belongs to another pool; attach the descriptor of the pool that it came from",
    ),
    "bad": (ValueError, "no pool has made this handle; pass what share() returned as it is"),
    "stale": (
        StaleHandle,
        "nobody holds the block of this handle any more; keep it until it has been opened, or write "
        "pool.share(block, until_opened=True)",
    ),
    "read_only": (
        ValueError,
        "this pool was attached for reading; write SharedPool.attach(fd, writable=True)",
    ),
    "closed": (RuntimeClosed, _CLOSED),
    "forked": (
        RuntimeClosed,
        "the pool had no slot left when this process was forked; call SharedPool.attach(pool.fileno())",
    ),
}


def explain(fault: SharedFault, where: str) -> NoReturn:
    """Raise what a fault of the core is to the user; `where` is the call."""
    kind, text = _FAULTS[str(fault)]
    glue = " " if text.startswith(("is not", "was made")) else ": "
    raise kind(f"{where}{glue}{text}") from None
