"""How a model runs: layers with one activation between them are one `Policy`, packed at the first call."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from tailrace.kernels.compress._activations import activate
from tailrace.kernels.compress._arrays import Floats
from tailrace.kernels.ops.mlp_forward import Policy
from tailrace.kernels.ops.mlp_forward.layers import ACTIVATIONS as COMPILED

__all__ = ["Forward"]


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


class Forward:
    """The layers of a model, packed for calls at the first of them.

    Attributes:
        single: The one policy that is all of the model, where it is so, once it is packed.
    """

    __slots__ = ("_layers", "_parts", "single")

    def __init__(self, layers: Sequence[LayerLike]) -> None:
        self._layers = tuple(layers)
        self._parts: tuple[tuple[Policy, str], ...] | None = None
        self.single: Policy | None = None

    def __call__(self, x: Floats, out: Floats | None) -> Floats:
        """Return what the layers make of `x`, in `out` if there is one."""
        *before, (policy, activation) = self.parts()
        for part, name in before:
            x = activate(name, part(x))
        if activation == "none":
            return policy(x, out=out) if out is not None else policy(x)
        y = activate(activation, policy(x))
        if out is None:
            return y
        out[...] = y
        return out

    def parts(self) -> tuple[tuple[Policy, str], ...]:
        """Return the policies, one after the other, each with the activation behind it."""
        if self._parts is None:  # two threads may do this at once: both find the same
            parts = tuple(_policy(run) for run in _runs(self._layers))
            self.single = parts[0][0] if len(parts) == 1 and parts[0][1] == "none" else None
            self._parts = parts
        return self._parts


def _runs(layers: tuple[LayerLike, ...]) -> list[list[LayerLike]]:
    """Cut the layers into runs with one compiled activation between them; that of the last is left over."""
    runs: list[list[LayerLike]] = [[]]
    for place, layer in enumerate(layers):
        run = runs[-1]
        run.append(layer)
        if place + 1 < len(layers) and (
            layer.activation not in COMPILED or layer.activation != run[0].activation
        ):
            runs.append([])
    return runs


def _policy(run: list[LayerLike]) -> tuple[Policy, str]:
    between = run[0].activation if len(run) > 1 else "none"
    scales = [layer.input_scale for layer in run]
    weights, biases = [layer.weight for layer in run], [layer.offset for layer in run]
    return Policy(weights, biases, activation=between, input_scales=scales), run[-1].activation
