"""How a model runs: layers prepared once, then one product after the other on the thread that calls."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
from tailrace.kernels.compress._activations import activate
from tailrace.kernels.compress._arrays import Floats
from tailrace.kernels.weights import Int8Weight

__all__ = ["Forward", "quantize_rows"]


class LayerLike(Protocol):
    """What a layer shows of itself."""

    @property
    def weight(self) -> Any:
        """[in, out], any kind."""

    @property
    def offset(self) -> Floats:
        """Float32 [out]."""

    @property
    def activation(self) -> str:
        """Its name."""

    @property
    def input_scale(self) -> float | None:
        """Of static int8."""

    def dense(self) -> Floats:
        """Float32 [in, out]."""


class Forward:
    """The layers of a model, prepared for calls at the first of them."""

    __slots__ = ("_layers", "_steps")

    def __init__(self, layers: Sequence[LayerLike]) -> None:
        self._layers = tuple(layers)
        self._steps: tuple[Callable[[Floats], Floats], ...] | None = None

    def __call__(self, x: Floats, out: Floats | None) -> Floats:
        """Return what the layers make of `x`, in `out` if there is one."""
        if self._steps is None:  # two threads may do this at once: both find the same
            self._steps = tuple(_step(layer) for layer in self._layers)
        for step in self._steps:
            x = step(x)
        if out is None:
            return x
        out[...] = x
        return out


def quantize_rows(x: Floats, scale: float | None) -> tuple[Floats, npt.NDArray[np.float32]]:
    """Return `x` as whole numbers from -127 to 127, still float32, and the scales, [rows or 1, 1]."""
    if scale is None:
        scales = np.abs(x).max(axis=1, keepdims=True) / np.float32(127)
        scales[scales == 0] = 1
    else:
        scales = np.full((1, 1), scale, np.float32)
    return np.clip(np.rint(x / scales), -127, 127), scales


def _step(layer: LayerLike) -> Callable[[Floats], Floats]:
    name, bias = layer.activation, layer.offset
    if isinstance(layer.weight, Int8Weight):
        whole, scale, fixed = layer.weight.values.astype(np.float32), layer.weight.scale, layer.input_scale

        def integer(x: Floats) -> Floats:
            rounded, rows = quantize_rows(x, fixed)
            total: Floats = rounded @ whole  # exact up to 1040 inputs: 127 * 127 * 1040 < 2**24
            return activate(name, total * (rows * scale) + bias)

        return integer
    weight = layer.dense()

    def real(x: Floats) -> Floats:
        y: Floats = x @ weight
        y += bias
        return activate(name, y)

    return real
