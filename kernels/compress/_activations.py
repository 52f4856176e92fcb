"""The activations of a layer, and their slopes for the trainer: one table."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["ACTIVATIONS", "activate", "slope"]

Array = npt.NDArray[Any]
_C = 0.7978845608028654  # sqrt(2 / pi), of the tanh form of GELU (Hendrycks and Gimpel, 2016)


def _sigmoid(x: Array) -> Array:
    half: Array = 0.5 * np.tanh(0.5 * x) + 0.5  # overflows nowhere
    return half


def _softmax(x: Array) -> Array:
    powers = np.exp(x - x.max(axis=1, keepdims=True))
    result: Array = powers / powers.sum(axis=1, keepdims=True)
    return result


def _gelu(x: Array) -> Array:
    result: Array = 0.5 * x * (1.0 + np.tanh(_C * (x + 0.044715 * x**3)))
    return result


def _gelu_slope(x: Array, _: Array) -> Array:
    t = np.tanh(_C * (x + 0.044715 * x**3))
    result: Array = 0.5 * (1.0 + t) + 0.5 * x * (1.0 - t * t) * _C * (1.0 + 3 * 0.044715 * x * x)
    return result


def _silu_slope(x: Array, y: Array) -> Array:
    s = _sigmoid(x)
    result: Array = s + y * (1.0 - s)
    return result


# name: (the function of x, its slope at x where it is y)
_TABLE: dict[str, tuple[Callable[[Array], Array], Callable[[Array, Array], Array] | None]] = {
    "none": (lambda x: x, lambda x, _: np.ones_like(x)),
    "relu": (lambda x: np.maximum(x, 0), lambda x, _: (x > 0).astype(x.dtype)),
    "tanh": (np.tanh, lambda _, y: 1 - y * y),
    "sigmoid": (_sigmoid, lambda _, y: y * (1 - y)),
    "gelu": (_gelu, _gelu_slope),
    "silu": (lambda x: x * _sigmoid(x), _silu_slope),
    "softmax": (_softmax, None),
}
ACTIVATIONS = tuple(_TABLE)


def activate(name: str, x: Array) -> Array:
    """Return the activation `name` of `x` [batch, units]."""
    return _TABLE[name][0](x)


def slope(name: str, x: Array, y: Array) -> Array:
    """Return the derivative of `name` at `x`, where its value is `y`, element by element."""
    derivative = _TABLE[name][1]
    if derivative is None:
        raise ValueError(
            f"train: {name} has no slope by element: use it on the last layer with cross_entropy"
        )
    return derivative(x, y)
