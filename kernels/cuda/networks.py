"""Networks of dense layers on a device: the structs that kernels are handed, weights copied there once."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from tailrace.kernels.cuda import launcher
from tailrace.kernels.weights import BFloat16Weight, Int4Weight, Int8Weight

__all__ = ["MOST_LAYERS", "THREADS", "Layer", "layers_of", "most_shared_bytes", "network_of"]


MOST_LAYERS = 16  # of one launch
THREADS = 256

# Most shared memory of a block in KiB by compute capability, and what a kernel's own tiles take of it.
_SHARED_KIB = {
    75: 64,
    80: 163,
    86: 99,
    87: 163,
    89: 99,
    90: 227,
    100: 227,
    103: 227,
    110: 227,
    120: 99,
    121: 99,
}
_OWN_BYTES = 17 * 1024

LAYER = np.dtype(
    [
        ("weight", "u8"),
        ("scale", "u8"),
        ("bias", "u8"),
        ("in", "i4"),
        ("out", "i4"),
        ("group", "i4"),
        ("wide", "i4"),
    ]
)
NETWORK = np.dtype(
    [
        ("layers", LAYER, (MOST_LAYERS,)),
        ("count", "i4"),
        ("activation", "i4"),
        ("last_activation", "i4"),
        ("second", "i4"),
    ]
)


# Bits between two neighbours of a row in memory: a byte of int4 is two inputs of one output.
_BITS = {"float32": 32, "float16": 16, "bfloat16": 16, "int8": 8, "int4": 8}


@dataclass(frozen=True)
class Layer:
    """A weight and bias on the device."""

    kind: str
    weight: Any
    scale: Any
    bias: Any
    inputs: int
    outputs: int
    group: int

    def filled(self) -> np.ndarray:
        """The struct that the kernel reads."""
        row = np.zeros((), LAYER)
        row["weight"], row["scale"], row["bias"] = map(launcher.address, (self.weight, self.scale, self.bias))
        row["in"], row["out"], row["group"] = self.inputs, self.outputs, self.group
        aligned = not any(launcher.address(a) % 16 for a in (self.weight, self.scale))
        row["wide"] = aligned and self.outputs * _BITS[self.kind] // 8 % 16 == 0
        return row


# Copies of the last weights that were not arrays: those lie on the host, wherever a call runs.
_MOST_KEPT = 64
_kept: OrderedDict[tuple[int, int], tuple[Any, Any, Any]] = OrderedDict()
_keeping = threading.Lock()


def _on_device(weight: Any, values: np.ndarray, scale: np.ndarray | None) -> tuple[Any, Any]:
    """Device copies of the arrays of `weight`, made once while it is among the last that were used."""
    key = (launcher.device(), id(weight))
    with _keeping:
        found = _kept.get(key)
        if found is not None and found[0] is weight:
            _kept.move_to_end(key)
            return found[1:]
    copies = launcher.to_device(values), None if scale is None else launcher.to_device(scale)
    with _keeping:
        _kept[key] = (weight, *copies)
        while len(_kept) > _MOST_KEPT:
            _kept.popitem(last=False)
    return copies


def _layer(
    op: str, place: int, weight: Any, bias: Any, rank: tuple[str, ...], crossing: launcher.Crossing
) -> Layer:
    name, group = f"weights[{place}]", 0
    if isinstance(weight, (Int8Weight, Int4Weight, BFloat16Weight)):
        if len(weight.shape) != len(rank):
            raise ValueError(f"{op}: {name} must be [{', '.join(rank)}]; got {list(weight.shape)}")
        shape = weight.shape
        if isinstance(weight, Int8Weight):
            kind, (values, scale) = "int8", _on_device(weight, weight.values, weight.scale)
        elif isinstance(weight, Int4Weight):
            kind, group = "int4", weight.group
            values, scale = _on_device(weight, weight.packed, weight.scale)
        else:
            kind, (values, scale) = "bfloat16", _on_device(weight, weight.bits, None)
    else:
        values, scale = crossing.take(weight, name, ("float32", "float16"), rank, least=1), None
        kind, shape = values.dtype.name, values.shape
    inputs, outputs = shape[-2:]
    bias = crossing.take(bias, f"biases[{place}]", ("float32",), (*shape[:-2], outputs))
    return Layer(kind, values, scale, bias, int(inputs), int(outputs), group)


def layers_of(
    op: str, weights: Any, biases: Any, rank: tuple[str, ...], crossing: launcher.Crossing
) -> list[Layer]:
    """Return the layers on the device.

    Args:
        op: who asks, for errors.
        weights: one a layer, of any kind.
        biases: one a layer, or None.
        rank: names of the dimensions of a weight.
        crossing: on which side the call's arrays are.

    Raises:
        TypeError, ValueError: for weights of another dtype or shape, or layers that do not fit to each other.
    """
    if len(weights) == 0 or len(weights) != len(biases):
        raise ValueError(
            f"{op}: there must be one weight and one bias (or None) a layer, at least one layer; "
            f"got {len(weights)} weights and {len(biases)} biases"
        )
    found = [
        _layer(op, i, w, b, rank, crossing) for i, (w, b) in enumerate(zip(weights, biases, strict=True))
    ]
    for i, (one, two) in enumerate(pairwise(found)):
        if one.outputs != two.inputs:
            raise ValueError(
                f"{op}: weights[{i + 1}] must take the {one.outputs} outputs of weights[{i}]; "
                f"it takes {two.inputs}"
            )
    return found


def network_of(part: Sequence[Layer], activation: int, last: bool, second: int) -> np.ndarray:
    """Return the struct that a kernel is handed, of one element."""
    network = np.zeros(1, NETWORK)
    for i, layer in enumerate(part):
        network["layers"][0, i] = layer.filled()
    network["count"], network["activation"], network["second"] = len(part), activation, second
    network["last_activation"] = 0 if last else activation
    return network


def most_shared_bytes() -> int:
    """Return how much dynamic shared memory a block may have beside the kernels' own tiles."""
    return _SHARED_KIB.get(launcher.capability(), 48) * 1024 - _OWN_BYTES
