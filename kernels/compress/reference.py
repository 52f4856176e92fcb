"""The truth about a model: what its layers mean, in plain float64 NumPy, with no cleverness."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from tailrace.kernels.compress._activations import activate
from tailrace.kernels.compress.model import Model
from tailrace.kernels.ops.mlp_forward import reference
from tailrace.kernels.ops.mlp_forward.layers import ACTIVATIONS

__all__ = ["forward"]


def forward(model: Model, x: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
    """Return the outputs of `model` for `x`, float64 [batch, outputs]."""
    y = x.astype(np.float64)
    for layer in model.layers:
        if layer.input_scale is None:
            y = reference.layer(y, layer.weight, layer.offset)
        else:
            codes = np.clip(np.rint(y / layer.input_scale), -127, 127)
            y = (codes * layer.input_scale) @ layer.dense().astype(np.float64) + layer.offset
        compiled = layer.activation in ACTIVATIONS
        y = reference.activate(y, layer.activation) if compiled else activate(layer.activation, y)
    return y
