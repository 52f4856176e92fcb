"""Checks of arguments before a kernel sees them; each error says what was given and what is wanted."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

import numpy as np

__all__ = ["describe", "host_array", "is_device_array", "output"]

Shape = Sequence[int | str]  # a number that must be met, or the name of a dimension that may have any extent


def is_device_array(value: Any) -> bool:
    """Whether `value` lies on a CUDA device: a CuPy, Numba or torch array there."""
    if isinstance(value, np.ndarray):
        return False
    if hasattr(value, "__cuda_array_interface__"):
        return True
    device = getattr(value, "__dlpack_device__", None)
    return device is not None and device()[0] == 2  # kDLCUDA


def describe(value: Any) -> str:
    """What an error says was given.

    >>> import numpy as np
    >>> describe(np.zeros((3, 2))), describe([1])
    ('float64 [3, 2]', 'list')
    """
    shape, dtype = getattr(value, "shape", None), getattr(value, "dtype", None)
    if shape is None or dtype is None:
        return type(value).__name__
    return f"{dtype} {_bracketed(shape)}"


def _bracketed(shape: Sequence[Any]) -> str:
    return "[" + ", ".join(str(extent) for extent in shape) + "]"


def host_array(
    op: str, name: str, value: Any, dtypes: Sequence[str], shape: Shape, least: int = 0
) -> np.ndarray:
    """Return `value` if it is an array as wanted; nothing is converted or copied.

    Args:
        op: the op that asks, for the error.
        name: the argument's name.
        value: what was given.
        dtypes: names of the dtypes that are taken, the usual one first.
        shape: an extent, or a name, per dimension.
        least: the extent that the first dimension must have at least.

    Raises:
        TypeError: if it is no NumPy array, or of another dtype.
        ValueError: if its shape differs, or it is not C-contiguous.
    """
    if type(value) is np.ndarray and value.dtype in _native(tuple(dtypes)):
        given, flags = value.shape, value.flags
        if (
            flags.c_contiguous
            and flags.aligned
            and len(given) == len(shape)
            and all(w == g for w, g in zip(shape, given, strict=True) if type(w) is int)
            and (not given or given[0] >= least)
        ):
            return value
    _explain(op, name, value, dtypes, shape, least)
    return np.asarray(value)  # a subclass that is an array as wanted


@functools.cache
def _native(dtypes: tuple[str, ...]) -> tuple[np.dtype[Any], ...]:
    return tuple(np.dtype(name) for name in dtypes)  # a dtype makes its name anew, in microseconds


def _explain(op: str, name: str, value: Any, dtypes: Sequence[str], shape: Shape, least: int) -> None:
    wanted = f"{op}: {name} must be {' or '.join(dtypes)} {_bracketed(shape)}, C-contiguous"
    given = f"got {describe(value)}"
    if is_device_array(value):
        raise ValueError(
            f"{op}: {name} lies on a device, other arguments on the host; bring them together first"
        )
    if not isinstance(value, np.ndarray):
        raise TypeError(f"{wanted}; {given}: pass np.asarray({name}, dtype=np.{dtypes[0]})")
    if value.dtype.name not in dtypes or not value.dtype.isnative:
        raise TypeError(f"{wanted}; {given}: pass {name}.astype(np.{dtypes[0]})")
    if len(value.shape) != len(shape):
        raise ValueError(f"{wanted}; {given}: it has {len(value.shape)} dimensions instead of {len(shape)}")
    if any(w != g for w, g in zip(shape, value.shape, strict=True) if isinstance(w, int)):
        raise ValueError(f"{wanted}; {given}")
    if value.shape and value.shape[0] < least:
        raise ValueError(f"{wanted}, of at least {least} {shape[0]}; {given}: there is nothing to compute")
    if not value.flags.c_contiguous or not value.flags.aligned:
        how = f"np.ascontiguousarray({name})" if value.flags.aligned else f"{name}.copy()"
        where = f"with strides {value.strides}" if value.flags.aligned else "not aligned to its values"
        raise ValueError(f"{wanted}; {given} {where}: pass {how}")


def output(
    op: str,
    out: Any,
    shape: tuple[int, ...],
    dtype: str = "float32",
    name: str = "out",
    apart_from: Sequence[Any] = (),
) -> np.ndarray:
    """Return the caller's buffer after a check, or a new array for None.

    Args:
        op: the op that asks, for the error.
        out: what was given.
        shape: of the result.
        dtype: of the result.
        name: the argument's name.
        apart_from: the inputs, None among them: they are read while the buffer is written to.

    Raises:
        TypeError: if it is no NumPy array, or of another dtype.
        ValueError: if its shape differs, it is not C-contiguous, read-only, or shares memory with an input.
    """
    if out is None:
        return np.empty(shape, dtype)
    checked = host_array(op, name, out, (dtype,), shape)
    if not checked.flags.writeable:
        raise ValueError(f"{op}: {name} is read-only; give a buffer that may be written to")
    for array in apart_from:
        if isinstance(array, np.ndarray) and np.may_share_memory(array, checked):
            raise ValueError(
                f"{op}: {name} shares memory with an input ({describe(array)}), which is still read when "
                f"{name} is written; give a buffer of its own"
            )
    return checked
