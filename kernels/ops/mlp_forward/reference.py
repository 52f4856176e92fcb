"""The truth of mlp_forward: float64, one layer after the other."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from tailrace.kernels.weights import Int8Weight, Weight, dequantize

__all__ = ["activate", "layer", "mlp_forward", "quantise_rows"]

_LEAST = 1e-30  # rows that hold less are zeros: what 127 is divided by stays a float


def activate(x: np.ndarray, activation: str) -> np.ndarray:
    """Return the activation of x, elementwise; gelu is the exact one, by erf."""
    result: np.ndarray = x
    if activation == "relu":
        result = np.maximum(x, 0)
    elif activation == "tanh":
        result = np.tanh(x)
    elif activation == "silu":
        with np.errstate(over="ignore", invalid="ignore"):
            result = np.where(np.isneginf(x), 0.0, x / (1 + np.exp(-x)))
    elif activation == "gelu":
        import math

        result = 0.5 * x * (1 + np.vectorize(math.erf, otypes=[np.float64])(x / math.sqrt(2)))
    return result


def quantise_rows(x: np.ndarray) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Return each row as codes of -127 … 127, and what a code is worth in it: its largest magnitude / 127.

    In float32, as the kernels do it: what is rounded to a code, and how, is part of the truth.
    """
    rows = x.astype(np.float32)
    largest = np.abs(rows).max(axis=1)
    with np.errstate(divide="ignore", over="ignore", invalid="ignore"):
        inverse = np.where(largest < _LEAST, np.float32(0), np.float32(127) / largest)
        codes = np.nan_to_num(np.rint(rows * inverse[:, None]), nan=0, posinf=0, neginf=0).astype(np.int64)
    scale = np.where(largest < _LEAST, np.float32(0), largest / np.float32(127)).astype(np.float32)
    scale[~np.isfinite(largest)] = np.nan
    return codes, scale


def layer(x: np.ndarray, weight: Weight, bias: np.ndarray | None) -> np.ndarray:
    """Return x w + b; with an int8 weight the rows of x become int8 as well and sums are whole numbers."""
    if isinstance(weight, Int8Weight):
        codes, scale = quantise_rows(x)
        sums = codes @ weight.values.astype(np.int64)
        y = sums * (scale.astype(np.float64)[:, None] * weight.scale.astype(np.float64))
    else:
        y = x @ dequantize(weight).astype(np.float64)
    return y if bias is None else y + bias.astype(np.float64)


def mlp_forward(
    x: np.ndarray,
    weights: Sequence[Weight],
    biases: Sequence[np.ndarray | None],
    *,
    activation: str = "relu",
) -> np.ndarray:
    """Return the network's output, [batch, out]."""
    y = x.astype(np.float64)
    for number, (weight, bias) in enumerate(zip(weights, biases, strict=True)):
        y = layer(y, weight, bias)
        if number + 1 < len(weights):
            y = activate(y, activation)
    return y
