"""Models from PyTorch: the weights of a `state_dict`, without importing PyTorch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from tailrace.kernels._checks import describe
from tailrace.kernels.compress._arrays import Floats
from tailrace.kernels.compress.model import Layer, Model

__all__ = ["from_torch"]


def from_torch(
    state_dict: Mapping[str, Any], *, activation: str = "relu", last_activation: str = "none"
) -> Model:
    """Return the model whose linear layers a `state_dict` holds, in its order.

    A state_dict has weights but no structure: the layers must follow each other, as in a `Sequential` of
    `Linear` and activations, and the activations must be said here.

    Args:
        state_dict: Of names such as "0.weight" [out, in] and "0.bias" [out], to tensors or NumPy arrays, of
            floats. What `module.state_dict()` gives, or `safetensors.numpy.load_file`.
        activation: After every layer but the last.
        last_activation: After the last.

    Raises:
        TypeError, ValueError: for entries of other than linear layers, or layers that do not fit.

    >>> import numpy as np
    >>> weights = {"0.weight": np.ones((8, 4), np.float32), "0.bias": np.zeros(8, np.float32)}
    >>> from_torch(weights, last_activation="sigmoid")
    Model(4 -> 8 sigmoid, float32, 160 bytes)
    """
    if not isinstance(state_dict, Mapping):
        raise TypeError(
            f"from_torch: state_dict must map names to tensors, got {describe(state_dict)}: "
            "pass module.state_dict()"
        )
    arrays = {name: _array(name, tensor) for name, tensor in state_dict.items()}
    layers: list[Layer] = []
    names = [name for name in arrays if str(name).rpartition(".")[2] == "weight"]
    for place, name in enumerate(names):
        weight = arrays.pop(name)
        if weight.ndim != 2:
            raise ValueError(
                f"from_torch: {name} must be [out, in] of a linear layer; got {describe(weight)}"
            )
        bias = arrays.pop(f"{name.removesuffix('weight')}bias", None)
        if bias is not None and bias.shape != weight.shape[:1]:
            raise ValueError(f"from_torch: the bias of {name} must be [{len(weight)}]; got {describe(bias)}")
        if layers and weight.shape[1] != layers[-1].outputs:
            raise ValueError(
                f"from_torch: {name} must be [out, {layers[-1].outputs}], to follow the layer before it; "
                f"got {describe(weight)}"
            )
        kind = last_activation if place == len(names) - 1 else activation
        layers.append(Layer(np.ascontiguousarray(weight.T), bias, kind))
    if arrays:
        raise ValueError(
            f"from_torch: only linear layers can be read (weight [out, in], bias [out]); the state_dict "
            f"also has {', '.join(map(str, list(arrays)[:4]))}"
        )
    if not layers:
        raise ValueError("from_torch: the state_dict has no weight")
    return Model(layers)


def _array(name: str, tensor: Any) -> Floats:
    """Return a tensor of PyTorch, of any float type and on any device, or an array as float32."""
    if hasattr(tensor, "detach"):
        tensor = tensor.detach().cpu()
        if not tensor.is_floating_point():
            raise TypeError(f"from_torch: {name} must be of floats; got {tensor.dtype}")
        tensor = tensor.float().numpy()
    if not isinstance(tensor, np.ndarray) or tensor.dtype.kind != "f":
        raise TypeError(f"from_torch: {name} must be a tensor or array of floats; got {describe(tensor)}")
    with np.errstate(over="ignore"):  # what does not fit is not finite, and refused as that
        return tensor.astype(np.float32)
