"""K9: handwritten digits by a network 64-256-256-10, compressed: what is lost, and the time beside float32.

Lost points are checked in the rows; `python -m tailrace._bench.kernels.compress` prints them for three seeds.
"""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Callable
from functools import cache, partial
from importlib import import_module
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from tailrace._bench.kernels.common import Call, Close, installed, kernel_work
from tailrace._bench.timing import Work
from tailrace.kernels.compress import Compressed, Model, new_mlp, prune, quantize, train

_WIDTHS = (64, 256, 256, 10)
_UNSEEN, _EPOCHS, _CALIBRATION = 540, 30, 256
_MOST_LOST = {"int8": 0.002, "dynamic": 0.002, "int4": 0.005}


class Digits(NamedTuple):
    """A trained network, the digits that it learnt from, and others."""

    model: Model
    seen: tuple[Any, Any]
    unseen: tuple[Any, Any]


def lost(answer: Any, rows: int) -> float:
    """Return what share of the first unseen digits was read before and is not by this answer."""
    digits = trained(0)
    x, labels = digits.unseen[0][:rows], digits.unseen[1][:rows]
    before = np.mean(digits.model(x).argmax(axis=1) == labels)
    return float(before - np.mean(np.asarray(answer).argmax(axis=1) == labels))


@cache
def trained(seed: int) -> Digits:
    """Train a network on 1,257 of scikit-learn's digits; the other 540 are to be read."""
    inputs, labels = installed("sklearn.datasets").load_digits(return_X_y=True)
    inputs = (inputs / 16).astype(np.float32)
    order = np.random.default_rng(seed).permutation(len(inputs))
    rest, unseen = order[_UNSEEN:], order[:_UNSEEN]
    net = new_mlp(_WIDTHS, seed=seed)
    model = train(net, inputs[rest], labels[rest], loss="cross_entropy", epochs=_EPOCHS, seed=seed).model
    return Digits(model, (inputs[rest], labels[rest]), (inputs[unseen], labels[unseen]))


def compressed(digits: Digits) -> dict[str, Compressed]:
    """Return the network compressed in each way that the docs speak of."""
    calibration = digits.seen[0][:_CALIBRATION]
    found = {
        method: quantize(digits.model, method, calibration, data=digits.unseen)
        for method in ("int8", "dynamic", "int4", "fp16")
    }
    for tuned, fine_tune in (("", None), (", fine-tuned", digits.seen)):
        for name, how in (
            ("structured 50 %", {"strategy": "structured"}),
            ("structured 50 %, fitted", {"strategy": "structured", "calibration": calibration}),
            ("2:4", {"pattern": "2:4"}),
            ("magnitude 50 %", {}),
            ("unstructured 50 %", {"strategy": "unstructured", "calibration": calibration}),
            ("magnitude 70 %", {"sparsity": 0.7}),
        ):
            found[name + tuned] = prune(digits.model, **how, fine_tune=fine_tune, data=digits.unseen)
    return found


def works() -> list[Work]:
    """Return one work per method and batch, or none without scikit-learn, which has the digits."""
    if installed("sklearn") is None:
        return []
    return [_work(method, rows) for method in _MOST_LOST for rows in (1, _UNSEEN)]


def _work(method: str, rows: int) -> Work:
    def inputs() -> Any:
        return trained(0).unseen[0][:rows].copy()

    def ours() -> Call:
        digits = trained(0)
        model, x = quantize(digits.model, method, digits.seen[0][:_CALIBRATION]).model, inputs()
        return lambda: model(x)

    def original() -> Call:
        model, x = trained(0).model, inputs()
        return lambda: model(x)

    engines: dict[str, Call | None] = {"tailrace": _at_first_call(ours), "float32": _at_first_call(original)}
    if installed("onnx") is not None and installed("onnxruntime") is not None:
        for name, dynamic in (("onnxruntime", False), ("onnxruntime int8", True)):
            engines[name] = _at_first_call(partial(_onnxruntime, dynamic, inputs))
    weights = sum(a * b for a, b in pairwise(_WIDTHS))
    return kernel_work(
        f"K9.{method}.{rows}",
        f"digits, 64-256-256-10 {method}, batch {rows}",
        Close(rows, _MOST_LOST[method], lost),
        engines,
        calls=100 if rows == 1 else 1,
        flops=2 * rows * weights,
        nbytes=weights // (2 if method == "int4" else 1) + 4 * rows * (_WIDTHS[0] + _WIDTHS[-1]),
    )


def _at_first_call(make: Callable[[], Call]) -> Call:
    """Return a call that is made when it is first called: who asks for another row trains nothing."""
    made: list[Call] = []

    def call() -> object:
        if not made:
            made.append(make())
        return made[0]()

    return call


def _onnxruntime(dynamic: bool, inputs: Callable[[], Any]) -> Call:
    onnx, runtime = installed("onnx"), installed("onnxruntime")
    model, x = trained(0).model, inputs()
    nodes, constants, last = [], [], "x"
    for place, layer in enumerate(model.layers):
        for name, array in (("w", layer.dense()), ("b", layer.offset)):
            constants.append(onnx.numpy_helper.from_array(array, f"{name}{place}"))
        nodes.append(onnx.helper.make_node("Gemm", [last, f"w{place}", f"b{place}"], [f"s{place}"]))
        last = f"s{place}"
        if layer.activation == "relu":
            nodes.append(onnx.helper.make_node("Relu", [last], [f"y{place}"]))
            last = f"y{place}"
    make, kind = onnx.helper, onnx.TensorProto.FLOAT
    ends = [make.make_tensor_value_info(n, kind, ["n", c]) for n, c in (("x", 64), (last, 10))]
    graph = make.make_graph(nodes, "digits", ends[:1], ends[1:], constants)
    made = make.make_model(graph, opset_imports=[make.make_opsetid("", 17)], ir_version=8)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "digits.onnx")
        onnx.save(made, path)
        if dynamic:
            logging.disable(logging.WARNING)  # it advises to optimise the graph
            import_module("onnxruntime.quantization").quantize_dynamic(path, path, per_channel=True)
            logging.disable(logging.NOTSET)
        options = runtime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        session = runtime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    return lambda: session.run(None, {"x": x})[0]


def main() -> None:
    """Print what each way of compressing loses, in points, and its speed beside float32 on 540 digits."""
    tables = [compressed(trained(seed)) for seed in range(3)]
    before = np.mean([next(iter(table.values())).score_before or 0.0 for table in tables])
    print(f"float32: {100 * before:.2f} % of {_UNSEEN} unseen digits, mean of {len(tables)} seeds")
    for name in tables[0]:
        drops = [100 * (table[name].accuracy_drop or 0.0) for table in tables]
        speed = np.median([table[name].speedup or 0.0 for table in tables])
        size = tables[0][name].model.nbytes
        each = ", ".join(f"{drop:+.2f}" for drop in drops)
        print(f"{name:38} lost {np.mean(drops):+6.2f} points ({each})  x{speed:.2f}  {size:7} bytes")


if __name__ == "__main__":
    main()
