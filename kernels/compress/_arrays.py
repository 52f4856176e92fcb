"""What compression asks of arrays beyond their dtype and shape."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from tailrace.kernels._checks import host_array

__all__ = ["Floats", "check_features", "check_finite", "frozen"]

Floats = npt.NDArray[np.float32]


def check_finite(where: str, name: str, values: npt.NDArray[Any]) -> None:
    """Raise unless every value is finite."""
    if values.dtype.kind == "f" and not np.isfinite(values).all():
        at = np.argwhere(~np.isfinite(values))[0].tolist()
        raise ValueError(f"{where}: {name} must be finite, got {values[tuple(at)]} at {at}")


def check_features(where: str, name: str, x: object, features: int) -> Floats:
    """Return `x` if it is float32 [any, features] and C-contiguous, else raise."""
    return host_array(where, name, x, ("float32",), ("batch", features))


def frozen(values: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Return a C-contiguous copy of `values` that cannot be written to."""
    copy = np.array(values, order="C", copy=True)
    copy.setflags(write=False)
    return copy
