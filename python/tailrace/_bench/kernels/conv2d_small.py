"""The first layers of the image network of F-99: 480 x 640 grey, 32 filters of 3 x 3, relu, pooled 2 x 2."""

from __future__ import annotations

import numpy as np

from tailrace._bench.kernels.common import Call, Close, installed, kernel_work
from tailrace._bench.timing import Work
from tailrace.kernels import conv2d_small
from tailrace.kernels.ops.conv2d_small import OP, reference


def works() -> list[Work]:
    """Return the one work."""
    rng = np.random.default_rng(7)
    x = rng.uniform(size=(1, 1, 480, 640)).astype(np.float32)
    weights = rng.normal(size=(32, 1, 3, 3)).astype(np.float32)
    bias = rng.normal(size=32).astype(np.float32)
    truth = reference.conv2d_small(x, weights, bias, activation="relu", max_pool=2)
    out = np.empty(truth.shape, np.float32)
    engines: dict[str, Call | None] = {
        "tailrace": lambda: conv2d_small(x, weights, bias, activation="relu", max_pool=2, out=out),
        "torch": _torch(x, weights, bias),
        "onnxruntime": _onnxruntime(x, weights, bias),
        "OpenCV": _opencv(x, weights, bias),
    }
    case = {"x": x, "weights": weights, "max_pool": 2}
    return [
        kernel_work(
            "conv.480x640",
            "480 x 640 by 32 filters 3 x 3, relu, pool 2",
            Close(truth, 1e-5),
            engines,
            flops=OP.flops(**case),
            nbytes=OP.bytes(**case),
        )
    ]


def _torch(x: np.ndarray, weights: np.ndarray, bias: np.ndarray) -> Call | None:
    torch = installed("torch")
    if torch is None:
        return None
    image, kernel, offset = (torch.from_numpy(array) for array in (x, weights, bias))
    nn = torch.nn.functional

    def call() -> object:
        with torch.inference_mode():
            return nn.max_pool2d(nn.conv2d(image, kernel, offset).relu_(), 2).numpy()

    return call


def _model(weights: np.ndarray, bias: np.ndarray) -> bytes | None:
    onnx = installed("onnx")
    if onnx is None:
        return None
    helper, constant = onnx.helper, onnx.numpy_helper.from_array
    graph = helper.make_graph(
        [
            helper.make_node("Conv", ["x", "w", "b"], ["c"]),
            helper.make_node("Relu", ["c"], ["r"]),
            helper.make_node("MaxPool", ["r"], ["y"], kernel_shape=[2, 2], strides=[2, 2]),
        ],
        "conv",
        [helper.make_tensor_value_info("x", 1, [1, 1, 480, 640])],
        [helper.make_tensor_value_info("y", 1, [1, 32, 239, 319])],
        [constant(weights, "w"), constant(bias, "b")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    return bytes(model.SerializeToString())


def _onnxruntime(x: np.ndarray, weights: np.ndarray, bias: np.ndarray) -> Call | None:
    runtime, model = installed("onnxruntime"), _model(weights, bias)
    if runtime is None or model is None:
        return None
    options = runtime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = runtime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    return lambda: session.run(None, {"x": x})[0]


def _opencv(x: np.ndarray, weights: np.ndarray, bias: np.ndarray) -> Call | None:
    cv2, model = installed("cv2"), _model(weights, bias)
    if cv2 is None or model is None:
        return None
    net = cv2.dnn.readNetFromONNX(np.frombuffer(model, np.uint8))

    def call() -> object:
        net.setInput(x)
        return net.forward()

    return call
