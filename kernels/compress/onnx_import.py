"""Models from ONNX: a chain of dense layers and activations; anything else is named and refused."""

from __future__ import annotations

import os
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
from tailrace.kernels._checks import describe
from tailrace.kernels.compress._arrays import Floats
from tailrace.kernels.compress.model import Layer, Model

__all__ = ["from_onnx"]

_ACTIVATIONS = {"Relu": "relu", "Tanh": "tanh", "Sigmoid": "sigmoid", "Softmax": "softmax", "Gelu": "gelu"}
_TAKEN = "Gemm, MatMul, Add, Relu, Tanh, Sigmoid, Gelu, Softmax, Flatten, Identity, Dropout"
_FLOATS = {1, 10, 11}  # TensorProto.FLOAT, FLOAT16, DOUBLE
_EXTERNAL = 1  # TensorProto.EXTERNAL


def from_onnx(source: str | os.PathLike[str] | bytes, *, limit_bytes: int = 1 << 31) -> Model:
    """Return the model that an ONNX file holds, if it is a chain of dense layers and activations.

    Args:
        source: The path of the file, or its content.
        limit_bytes: The largest file to read.

    Raises:
        ImportError: without the package onnx.
        OSError: where the file cannot be read.
        ValueError: for a damaged file, or a graph that is no such chain, with the node that is not.
    """
    graph = _graph(source, limit_bytes)
    constants = {tensor.name: tensor for tensor in graph.initializer}
    for node in graph.node:
        if node.op_type == "Constant" and len(node.attribute) == 1 and node.attribute[0].name == "value":
            constants[node.output[0]] = node.attribute[0].t
    nodes = [node for node in graph.node if node.op_type != "Constant"]
    inputs = [value.name for value in graph.input if value.name not in constants]
    ends = len(inputs), len(graph.output)
    if ends != (1, 1):
        raise ValueError(f"from_onnx: the graph must have one input and one output; got {ends}")
    chain = _Chain(constants)
    current = inputs[0]
    for place, node in enumerate(nodes):
        where = f"node {place} ({node.op_type}{' ' + node.name if node.name else ''})"
        if current not in node.input or len([name for name in node.output if name]) != 1:
            raise ValueError(f"from_onnx: {where} must take the result of the node before it, and give one")
        chain.add(where, node, current)
        current = node.output[0]
    if current != graph.output[0].name:
        raise ValueError(
            f"from_onnx: the graph's output must be that of its last node; it is {graph.output[0].name}"
        )
    return chain.model()


def _graph(source: str | os.PathLike[str] | bytes, limit_bytes: int) -> Any:
    try:
        onnx = import_module("onnx")
    except ImportError:
        raise ImportError("from_onnx: needs the package onnx: pip install onnx") from None
    if not isinstance(source, bytes):
        size = os.stat(source).st_size
        if size > limit_bytes:
            raise ValueError(
                f"from_onnx: {Path(source).name} has {size} bytes, at most {limit_bytes} are read"
            )
        source = Path(source).read_bytes()
    try:
        return onnx.load_model_from_string(source).graph
    except Exception as error:  # DecodeError of whichever protobuf is installed
        raise ValueError(f"from_onnx: this is no ONNX model: {error}") from None


class _Chain:
    """The layers so far, the last of which may still get its bias and its activation."""

    def __init__(self, constants: dict[str, Any]) -> None:
        self._constants = constants
        self._layers: list[list[Any]] = []  # weight, bias, activation

    def add(self, where: str, node: Any, current: str) -> None:
        """Take `node`, whose input is `current`, into the chain; raise where it does not fit."""
        kind = node.op_type
        others = [name for name in node.input if name and name != current]
        known = {attribute.name: attribute for attribute in node.attribute}
        if kind == "Gemm":
            self._gemm(where, node, known)
        elif kind == "MatMul":
            if len(node.input) != 2 or node.input[0] != current:
                raise ValueError(f"from_onnx: {where} must multiply the values by a weight, in this order")
            self._layers.append([self._constant(where, node.input[1], 2), None, "none"])
        elif kind == "Add" and len(others) == 1:
            self._bias(where, others[0])
        elif kind in _ACTIVATIONS:
            self._activation(where, kind, known)
        elif kind == "Flatten":
            if self._layers or ("axis" in known and known["axis"].i != 1):
                raise ValueError(f"from_onnx: {where} must come first, with axis=1")
        elif kind not in ("Identity", "Dropout") or (kind == "Dropout" and len(node.input) > 2):
            raise ValueError(f"from_onnx: {where} cannot be read; taken are {_TAKEN}, in a chain")

    def model(self) -> Model:
        """Return the model of the layers."""
        if not self._layers:
            raise ValueError("from_onnx: the graph has no dense layer (Gemm or MatMul)")
        try:
            return Model(Layer(np.ascontiguousarray(w), b, activation) for w, b, activation in self._layers)
        except (TypeError, ValueError) as error:
            raise ValueError(f"from_onnx: {error}") from None

    def _gemm(self, where: str, node: Any, known: dict[str, Any]) -> None:
        if (
            len(node.input) < 2
            or node.input[0] in self._constants
            or ("transA" in known and known["transA"].i)
        ):
            raise ValueError(f"from_onnx: {where} must be values @ weight + bias, values not transposed")
        weight = self._constant(where, node.input[1], 2)
        if "transB" in known and known["transB"].i:
            weight = weight.T
        bias = None
        if len(node.input) > 2 and node.input[2]:
            bias = self._constant(where, node.input[2], None).ravel()
            bias = bias * np.float32(known["beta"].f if "beta" in known else 1)
            bias = np.full(weight.shape[1], bias[0]) if bias.shape == (1,) else bias
        self._layers.append([weight * np.float32(known["alpha"].f if "alpha" in known else 1), bias, "none"])

    def _bias(self, where: str, name: str) -> None:
        if not self._layers or self._layers[-1][1] is not None or self._layers[-1][2] != "none":
            raise ValueError(f"from_onnx: {where} must add a bias right after a MatMul")
        self._layers[-1][1] = self._constant(where, name, None).ravel()

    def _activation(self, where: str, kind: str, known: dict[str, Any]) -> None:
        if not self._layers or self._layers[-1][2] != "none":
            raise ValueError(f"from_onnx: {where} must follow a dense layer that has no activation yet")
        if kind == "Softmax" and "axis" in known and known["axis"].i not in (1, -1):
            raise ValueError(f"from_onnx: {where} must have axis=1 or -1")
        if kind == "Gelu" and "approximate" in known and known["approximate"].s != b"none":
            raise ValueError(f"from_onnx: {where} must have approximate='none'")
        self._layers[-1][2] = _ACTIVATIONS[kind]

    def _constant(self, where: str, name: str, ndim: int | None) -> Floats:
        tensor = self._constants.get(name)
        if tensor is None:
            raise ValueError(f"from_onnx: {where} needs constant weights; {name} is computed")
        if tensor.data_location == _EXTERNAL:
            raise ValueError(f"from_onnx: {where}: {name} lies in another file; save the model in one")
        if tensor.data_type not in _FLOATS:
            raise ValueError(
                f"from_onnx: {where}: {name} must be of floats; it is of type {tensor.data_type}"
            )
        try:
            array = import_module("onnx.numpy_helper").to_array(tensor)
        except Exception as error:  # whatever a damaged tensor makes of it
            raise ValueError(f"from_onnx: {where}: {name} is damaged: {error}") from None
        if ndim is not None and array.ndim != ndim:
            raise ValueError(f"from_onnx: {where}: {name} must have {ndim} dimensions; got {describe(array)}")
        with np.errstate(over="ignore"):  # what does not fit is not finite, and refused as that
            found: Floats = array.astype(np.float32)
        return found
