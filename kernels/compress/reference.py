"""The truth about a model: what its layers mean, in plain float64 NumPy, with no cleverness."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from tailrace.kernels.compress._activations import activate
from tailrace.kernels.compress.model import Model

__all__ = ["forward"]


def forward(model: Model, x: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
    """Return the outputs of `model` for `x`, float64 [batch, outputs]."""
    y = x.astype(np.float64)
    for layer in model.layers:
        if layer.kind == "int8":
            largest = np.abs(y).max(axis=1, keepdims=True)
            scale = np.where(largest > 0, largest, 127.0) / 127.0
            if layer.input_scale is not None:
                scale = np.full_like(largest, layer.input_scale)
            y = np.clip(np.rint(y / scale), -127, 127) * scale
        y = y @ layer.dense().astype(np.float64) + layer.offset
        y = activate(layer.activation, y)
    return y
