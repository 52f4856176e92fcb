"""A bound op as a native step: its C function and the record that it works on."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from tailrace.kernels import _cpu

__all__ = ["NativeOp", "native_op"]


class NativeOp:
    """What `tr.native_step` takes: the C function of a bound op for records of one batch size.

    Attributes:
        name: What the step is called.
        payload: The dtype of the record: the op's inputs, then its outputs.
        capsule: The C function `int64_t (void *)`; it keeps the op alive.
    """

    def __init__(self, name: str, capsule: Any, payload: np.dtype[Any]) -> None:
        self.name = name
        self.capsule = capsule
        self.payload = payload

    def __native_step__(self) -> tuple[Any, np.dtype[Any], str]:
        """Return (capsule, payload, name), which is what tr.native_step asks for."""
        return self.capsule, self.payload, self.name

    def __repr__(self) -> str:
        return f"<NativeOp {self.name} on {self.payload}>"


def native_op(
    name: str, bound: Any, batch: int, fields: Sequence[tuple[str, str, tuple[int, ...]]]
) -> NativeOp:
    """Give a bound op a C function for records of `batch` rows.

    Args:
        name: what the step is called.
        bound: the capsule that the compiled op's `_bound()` returns.
        batch: rows of one record, at least 1.
        fields: name, dtype and shape of each field, inputs first, in the order that the op reads them.

    Raises:
        ValueError: if batch is below 1, or the record would be larger than a dtype can be.
        RuntimeError: if 256 of them are live.
    """
    if not isinstance(batch, int) or isinstance(batch, bool) or batch < 1:
        raise ValueError(f"{name}: batch must be a whole number of rows, at least 1; got {batch!r}")
    plain = [(field, dtype, shape) if shape else (field, dtype) for field, dtype, shape in fields]
    try:
        payload = np.dtype(plain, align=True)
    except ValueError:
        size = sum(np.dtype(dtype).itemsize * math.prod(shape) for _, dtype, shape in fields)
        raise ValueError(
            f"{name}: a record of {batch} rows would have {size} bytes; it may have 2 GiB: take fewer rows"
        ) from None
    assert payload.fields is not None
    offsets = [int(payload.fields[field][1]) for field, _, _ in fields]
    return NativeOp(name, _cpu.native_slot(bound, batch, offsets), payload)
