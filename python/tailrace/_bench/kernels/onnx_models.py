"""Dense networks as onnxruntime runs them, in float32 and dynamically quantised."""

from __future__ import annotations

import importlib
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tailrace._bench.kernels.common import Call, installed

Layers = tuple[Sequence[np.ndarray], Sequence[np.ndarray]]


def session(layers: Layers, quantised: str = "") -> Any:
    """Return a session of one thread, or None where onnx or onnxruntime is not installed.

    Args:
        layers: weights [in, out] and biases [out], relu between them.
        quantised: "channel" or "tensor" for dynamic int8 with a scale of its own for each output, or for all.
    """
    onnx, runtime = installed("onnx"), installed("onnxruntime")
    if onnx is None or runtime is None:
        return None
    options = runtime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    model = _model(onnx, layers)
    if quantised:
        model = _quantised(onnx, model, quantised == "channel")
    return runtime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])


def call_of(found: Any, x: np.ndarray) -> Call | None:
    """Return a call of a session, or None without one."""
    return None if found is None else lambda: found.run(None, {"x": x})[0]


def _model(onnx: Any, layers: Layers) -> Any:
    make, values = onnx.helper, onnx.numpy_helper
    nodes, constants, name = [], [], "x"
    weights, biases = layers
    for number, (weight, bias) in enumerate(zip(weights, biases, strict=True)):
        constants += [values.from_array(weight, f"w{number}"), values.from_array(bias, f"b{number}")]
        last = number + 1 == len(weights)
        summed = "y" if last else f"sum{number}"
        nodes.append(make.make_node("Gemm", [name, f"w{number}", f"b{number}"], [summed]))
        if not last:
            name = f"relu{number}"
            nodes.append(make.make_node("Relu", [summed], [name]))
    kind = onnx.TensorProto.FLOAT
    x = make.make_tensor_value_info("x", kind, ["n", weights[0].shape[0]])
    y = make.make_tensor_value_info("y", kind, ["n", weights[-1].shape[1]])
    graph = make.make_graph(nodes, "network", [x], [y], constants)
    return make.make_model(graph, opset_imports=[make.make_opsetid("", 17)], ir_version=8)


def _quantised(onnx: Any, model: Any, by_channel: bool) -> Any:
    import logging

    quantization = importlib.import_module("onnxruntime.quantization")
    logging.getLogger().setLevel(logging.ERROR)  # it advises, at the root logger, to preprocess the model
    with tempfile.TemporaryDirectory() as folder:
        plain, small = Path(folder) / "plain.onnx", Path(folder) / "small.onnx"
        onnx.save(model, str(plain))
        quantization.quantize_dynamic(
            str(plain), str(small), per_channel=by_channel, weight_type=quantization.QuantType.QInt8
        )
        return onnx.load(str(small))
