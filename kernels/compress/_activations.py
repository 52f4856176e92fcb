"""The activations of a layer, and their slopes for the trainer: one table."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["ACTIVATIONS", "activate", "slope"]

Array = npt.NDArray[Any]
_ROOT_HALF = 0.7071067811865476
_NORMAL = 0.3989422804014327  # 1 / sqrt(2 pi)


def _sigmoid(x: Array) -> Array:
    half: Array = 0.5 * np.tanh(0.5 * x) + 0.5  # overflows nowhere
    return half


def _softmax(x: Array) -> Array:
    powers = np.exp(x - x.max(axis=1, keepdims=True))
    result: Array = powers / powers.sum(axis=1, keepdims=True)
    return result


def _erf(x: Array) -> Array:
    """Return the error function, right to 2e-7: formula 7.1.26 of Abramowitz and Stegun, 1964."""
    size = np.minimum(np.abs(x), 10)  # it is 1 there, and the square overflows nowhere
    t = 1 / (1 + 0.3275911 * size)
    series = t * (0.254829592 + t * (-0.284496736 + t * (1.421413741 + t * (-1.453152027 + t * 1.061405429))))
    result: Array = np.sign(x) * (1 - series * np.exp(-size * size))
    return result


def _gelu(x: Array) -> Array:
    result: Array = 0.5 * x * (1 + _erf(x * _ROOT_HALF))
    return result


def _gelu_slope(x: Array, _: Array) -> Array:
    result: Array = 0.5 * (1 + _erf(x * _ROOT_HALF)) + x * np.exp(-0.5 * x * x) * _NORMAL
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
