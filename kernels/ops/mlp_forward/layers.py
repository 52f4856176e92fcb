"""Checks of the layers of a network: weights of any kind, biases, the activation between them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, TypeAlias

import numpy as np
from tailrace.kernels import _checks
from tailrace.kernels.weights import BFloat16Weight, Int4Weight, Int8Weight, Weight

__all__ = [
    "ACTIVATIONS",
    "NativeLayer",
    "activation_code",
    "arrays_of",
    "checked",
    "checked_scales",
    "native",
]

ACTIVATIONS: Final = ("none", "relu", "tanh", "gelu", "silu")
"""In the order of cpu/activation.hpp."""

NativeLayer: TypeAlias = "tuple[int, Any, Any, Any, Any]"
"""(kind, values, scale or None, (group, inputs), input scale or 0, bias or None), as layers.hpp reads it."""

_LEAST_SCALE: Final = float(np.finfo(np.float32).tiny)
_MOST_SCALE: Final = float(np.finfo(np.float32).max)
_KINDS: Final = "float32, float16, BFloat16Weight, Int8Weight or Int4Weight"


def activation_code(op: str, activation: Any) -> int:
    """Return the number of an activation.

    Raises:
        ValueError: for a name that is none.

    >>> activation_code("mlp_forward", "relu")
    1
    """
    if activation not in ACTIVATIONS:
        raise ValueError(f"{op}: activation must be one of {', '.join(ACTIVATIONS)}; got {activation!r}")
    return ACTIVATIONS.index(activation)


def arrays_of(weight: Any) -> tuple[Any, ...]:
    """Return the arrays of weights and biases that say where a call runs.

    An Int8Weight, Int4Weight or BFloat16Weight does not: it lies on the host, and a device gets a copy.
    """
    if type(weight) is np.ndarray:
        return (weight,)
    if isinstance(weight, (list, tuple)):
        found: list[Any] = []
        for entry in weight:
            found += (entry,) if type(entry) is np.ndarray else arrays_of(entry)
        return tuple(found)
    return () if isinstance(weight, (Int8Weight, Int4Weight, BFloat16Weight)) else (weight,)


def checked(
    op: str, weights: Any, biases: Any, features: int | None, agents: str | None = None
) -> tuple[list[Weight], list[np.ndarray | None]]:
    """Return the layers' weights and biases if each fits the next.

    Args:
        op: the op that asks, for errors.
        weights: one weight a layer.
        biases: one float32 bias, or None, a layer.
        features: what the first layer must take, if that is known.
        agents: the name of a leading dimension, the same for all, or None for weights of two dimensions.

    Raises:
        TypeError: for what is no list, no weight, or of another dtype.
        ValueError: for layers that do not fit together.
    """
    for name, value in (("weights", weights), ("biases", biases)):
        if not isinstance(value, Sequence) or isinstance(value, str):
            raise TypeError(f"{op}: {name} must be a list, one entry a layer; got {_checks.describe(value)}")
    if len(weights) == 0 or len(weights) != len(biases):
        raise ValueError(
            f"{op}: there must be one weight and one bias (or None) a layer, at least one layer; "
            f"got {len(weights)} weights and {len(biases)} biases"
        )
    rank = 2 if agents is None else 3
    found: list[Weight] = []
    shifts: list[np.ndarray | None] = []
    lead: tuple[int, ...] | None = None
    inputs = features
    for number, (weight, bias) in enumerate(zip(weights, biases, strict=True)):
        name = f"weights[{number}]"
        before: int | str = "in" if inputs is None else inputs
        wanted = (before, "out") if agents is None else (lead[0] if lead else agents, before, "out")
        good = _weight(op, name, weight, wanted, rank)
        lead, outputs = good.shape[:-2], good.shape[-1]
        found.append(good)
        shift = (*lead, outputs)
        shifts.append(
            bias if bias is None else _checks.host_array(op, f"biases[{number}]", bias, ("float32",), shift)
        )
        inputs = outputs
    return found, shifts


def _weight(op: str, name: str, weight: Any, wanted: tuple[int | str, ...], rank: int) -> Weight:
    if isinstance(weight, (Int8Weight, Int4Weight, BFloat16Weight)):
        shape = weight.shape
        if len(shape) != rank or any(
            w != g for w, g in zip(wanted, shape, strict=True) if isinstance(w, int)
        ):
            brackets = "[" + ", ".join(map(str, wanted)) + "]"
            raise ValueError(f"{op}: {name} must be {brackets}, which fits the layer before; got {weight!r}")
        return weight
    if not hasattr(weight, "dtype"):
        raise TypeError(f"{op}: {name} must be {_KINDS}; got {_checks.describe(weight)}")
    array = _checks.host_array(op, name, weight, ("float32", "float16"), wanted)
    if 0 in array.shape:
        raise ValueError(f"{op}: {name} must have no empty axis; got {_checks.describe(array)}")
    return array


def checked_scales(op: str, weights: Sequence[Weight], scales: Any) -> list[float]:
    """Return the scale of the inputs of each layer, 0 for None.

    Raises:
        TypeError, ValueError: for what is no list of positive numbers and None, or another weight than int8.
    """
    if scales is None:
        return [0.0] * len(weights)
    wanted = f"{op}: input_scales must be one number above 0, or None, a layer, a number for Int8Weight only"
    if not isinstance(scales, Sequence) or isinstance(scales, str):
        raise TypeError(f"{wanted}; got {_checks.describe(scales)}")
    good = len(scales) == len(weights) and all(
        scale is None
        or (
            isinstance(scale, int | float | np.floating)
            and _LEAST_SCALE <= scale <= _MOST_SCALE
            and isinstance(weight, Int8Weight)
        )
        for scale, weight in zip(scales, weights, strict=False)
    )
    if not good:
        raise ValueError(f"{wanted}; got {scales!r} for {len(weights)} layers")
    return [0.0 if scale is None else float(scale) for scale in scales]


def native(
    weights: Sequence[Weight],
    biases: Sequence[np.ndarray | None],
    scales: Sequence[float] | None = None,
) -> list[NativeLayer]:
    """Return the layers as the compiled module reads them."""
    inputs = scales or [0.0] * len(weights)
    return [_native(*layer) for layer in zip(weights, biases, inputs, strict=True)]


def _native(weight: Weight, bias: np.ndarray | None, input_scale: float) -> NativeLayer:
    if isinstance(weight, BFloat16Weight):
        return 2, weight.bits, None, 0, bias
    if isinstance(weight, Int8Weight):
        return 3, weight.values, weight.scale, input_scale, bias
    if isinstance(weight, Int4Weight):
        return 4, weight.packed, weight.scale, (weight.group, weight.inputs), bias
    return int(weight.dtype == np.float16), weight, None, 0, bias
