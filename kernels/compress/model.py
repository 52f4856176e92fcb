"""A model as plain arrays: dense layers with a bias and an activation, immutable, callable on a batch."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np
from tailrace.kernels._checks import describe
from tailrace.kernels.compress import _weights
from tailrace.kernels.compress._activations import ACTIVATIONS
from tailrace.kernels.compress._arrays import Floats, check_features, check_finite, frozen
from tailrace.kernels.compress._forward import Forward
from tailrace.kernels.compress._weights import Weight
from tailrace.kernels.native import NativeOp
from tailrace.kernels.weights import dequantize

__all__ = ["Layer", "Model", "new_mlp"]


@dataclass(frozen=True, slots=True, eq=False)
class Layer:
    """One dense layer: `activation(x @ weight + bias)`, of copies that cannot be written to.

    Args:
        weight: [in, out]; float32, float16, `Int8Weight` or `Int4Weight`.
        bias: float32 [out]; None is zeros.
        activation: "none", "relu", "tanh", "sigmoid", "gelu" (by erf), "silu" or, last, "softmax".
        input_scale: Of an int8 weight: inputs are rounded to multiples of it, up to 127 of them. None rounds
            each row to its own largest value.

    Raises:
        TypeError, ValueError: for other dtypes, shapes that do not fit, values that are not finite.

    >>> import numpy as np
    >>> Layer(np.ones((64, 10), np.float32), activation="relu")
    Layer(64 -> 10 relu, float32)
    """

    weight: Weight
    bias: Floats | None = None
    activation: str = "none"
    input_scale: float | None = None

    def __post_init__(self) -> None:
        weight = _weights.checked("Layer", self.weight)
        outputs = weight.shape[1]
        bias = np.zeros(outputs, np.float32) if self.bias is None else self.bias
        if not isinstance(bias, np.ndarray) or bias.dtype != np.float32:
            raise TypeError(f"Layer: bias must be float32 [{outputs}]; got {describe(bias)}")
        if bias.shape != (outputs,):
            raise ValueError(f"Layer: bias must be float32 [{outputs}]; got {describe(bias)}")
        check_finite("Layer", "bias", bias)
        if self.activation not in ACTIVATIONS:
            raise ValueError(
                f"Layer: activation must be one of {', '.join(ACTIVATIONS)}; got {self.activation!r}"
            )
        if self.input_scale is not None:
            if _weights.kind(weight) != "int8":
                raise ValueError("Layer: input_scale goes with an Int8Weight only; leave it None")
            if not (isinstance(self.input_scale, float) and 1e-37 <= self.input_scale <= 1e38):
                raise ValueError(f"Layer: input_scale must be a float32 above 0, got {self.input_scale!r}")
        object.__setattr__(self, "weight", weight)
        object.__setattr__(self, "bias", frozen(bias))

    @property
    def kind(self) -> str:
        """What the weight is made of: "float32", "float16", "int8" or "int4"."""
        return _weights.kind(self.weight)

    @property
    def inputs(self) -> int:
        """Features of its input."""
        return int(self.weight.shape[0])

    @property
    def outputs(self) -> int:
        """Units, which are the features of its output."""
        return int(self.weight.shape[1])

    @property
    def offset(self) -> Floats:
        """The bias, float32 [out], zeros where none was given."""
        assert self.bias is not None
        return self.bias

    @property
    def nbytes(self) -> int:
        """Bytes of weight, scales and bias."""
        return self.weight.nbytes + self.offset.nbytes

    def dense(self) -> Floats:
        """Return the weight as float32 [in, out], as the layer means it."""
        return dequantize(self.weight)

    def __repr__(self) -> str:
        static = "" if self.input_scale is None else f", input_scale={self.input_scale:.4g}"
        active = "" if self.activation == "none" else f" {self.activation}"
        return f"Layer({self.inputs} -> {self.outputs}{active}, {self.kind}{static})"


@dataclass(frozen=True, slots=True, eq=False, init=False)
class Model:
    """Layers one after the other; a function of a batch that keeps no state between calls.

    Any number of threads may call it at once. It runs on the thread that calls, on one core.

    Args:
        layers: `Layer`s, each with as many inputs as the one before has outputs.

    Raises:
        TypeError, ValueError: for no layers, layers that do not fit, a softmax that is not last.

    >>> model = new_mlp([64, 32, 1], seed=0)
    >>> model
    Model(64 -> 32 relu -> 1, float32, 8452 bytes)
    >>> model(np.zeros((5, 64), np.float32)).shape
    (5, 1)
    """

    layers: tuple[Layer, ...]
    _forward: Forward = field(repr=False)

    def __init__(self, layers: Iterable[Layer]) -> None:
        found = tuple(layers)
        if not found:
            raise ValueError("Model: needs at least one Layer")
        for place, layer in enumerate(found):
            if not isinstance(layer, Layer):
                raise TypeError(f"Model: layers must be Layer objects; layer {place} is {describe(layer)}")
            if layer.activation == "softmax" and layer is not found[-1]:
                raise ValueError(f"Model: softmax goes with the last layer only; layer {place} has it")
            if place and layer.inputs != found[place - 1].outputs:
                before = found[place - 1].outputs
                raise ValueError(
                    f"Model: layer {place} must have a weight [{before}, out], for layer {place - 1} "
                    f"gives {before} features; got [{layer.inputs}, {layer.outputs}]"
                )
        object.__setattr__(self, "layers", found)
        object.__setattr__(self, "_forward", Forward(found))

    @property
    def inputs(self) -> int:
        """Features of a row of input."""
        return self.layers[0].inputs

    @property
    def outputs(self) -> int:
        """Features of a row of output."""
        return self.layers[-1].outputs

    @property
    def parameters(self) -> int:
        """How many weights and biases there are."""
        return sum((layer.inputs + 1) * layer.outputs for layer in self.layers)

    @property
    def nbytes(self) -> int:
        """Bytes of all weights, scales and biases."""
        return sum(layer.nbytes for layer in self.layers)

    @property
    def kind(self) -> str:
        """What the weights are made of: that of all layers, or "mixed"."""
        kinds = {layer.kind for layer in self.layers}
        return kinds.pop() if len(kinds) == 1 else "mixed"

    def __call__(self, x: Floats, out: Floats | None = None) -> Floats:
        """Return the outputs, float32 [batch, outputs], for the inputs `x`, float32 [batch, features].

        Args:
            x: One row each; C-contiguous. An empty batch gives an empty result.
            out: Where to write, float32 [batch, outputs], nothing of it in `x`; it is what is returned.

        Raises:
            TypeError, ValueError: for another dtype, shape or layout, with the one that is expected.
        """
        policy = self._forward.single
        if policy is not None:
            try:  # its own checks take a tenth of a microsecond
                return policy(x) if out is None else policy(x, out=out)
            except (TypeError, ValueError):
                pass  # said below, in the model's name
        check_features("Model", "x", x, self.inputs)
        if out is not None:
            check_features("Model", "out", out, self.outputs)
            if len(out) != len(x) or not out.flags.writeable:
                raise ValueError(
                    f"Model: out must be writeable float32 [{len(x)}, {self.outputs}]; got {describe(out)}"
                )
            if np.may_share_memory(x, out):
                raise ValueError("Model: out shares memory with x, which is still read when out is written")
        if not len(x):
            return np.empty((0, self.outputs), np.float32) if out is None else out
        return self._forward(x, out)

    def native(self, batch: int) -> NativeOp:
        """Return this model as a native step: `tr.native_step(model.native(batch))`.

        A record holds x, float32 [batch, inputs], and y, float32 [batch, outputs].

        Args:
            batch: Rows of one record, at least 1.

        Raises:
            ValueError: for a model that is not one `Policy`: whose hidden layers differ in their
                activation or have "sigmoid", or whose last layer has one.
            RuntimeError: if 256 native functions of bound ops are live.

        >>> new_mlp([4, 3, 2], seed=0).native(8).payload.names
        ('x', 'y')
        """
        (policy, last), *others = self._forward.parts()
        if others or last != "none":
            raise ValueError(
                "Model.native: a native step is a model of one activation (none, relu, tanh, gelu or silu) "
                f"after all but the last layer, none after that; got {self}"
            )
        return policy.native(batch)

    def __repr__(self) -> str:
        way = [str(self.inputs)]
        for layer in self.layers:
            way.append(str(layer.outputs) + ("" if layer.activation == "none" else f" {layer.activation}"))
        return f"Model({' -> '.join(way)}, {self.kind}, {self.nbytes} bytes)"


def new_mlp(
    sizes: Sequence[int], *, activation: str = "relu", last_activation: str = "none", seed: int
) -> Model:
    """Return a model with random float32 weights, scaled for its activation (He et al., 2015), to be trained.

    Args:
        sizes: Features of the input, units of each layer: [64, 32, 1] is two layers.
        activation: After every layer but the last.
        last_activation: After the last.
        seed: The same seed gives the same weights.

    Raises:
        TypeError, ValueError: for sizes that are no positive ints, fewer than two of them.

    >>> new_mlp([8, 4, 2], last_activation="softmax", seed=1)
    Model(8 -> 4 relu -> 2 softmax, float32, 184 bytes)
    """
    if len(sizes) < 2 or any(
        isinstance(n, bool) or not isinstance(n, int | np.integer) or n < 1 for n in sizes
    ):
        raise ValueError(f"new_mlp: sizes must be two or more ints of at least 1, got {list(sizes)!r}")
    rng = np.random.default_rng(seed)
    layers = []
    for place in range(len(sizes) - 1):
        last = place == len(sizes) - 2
        gain = 2.0 if activation == "relu" and not last else 1.0
        weight = rng.standard_normal((sizes[place], sizes[place + 1])) * np.sqrt(gain / sizes[place])
        layers.append(Layer(weight.astype(np.float32), activation=last_activation if last else activation))
    return Model(layers)
