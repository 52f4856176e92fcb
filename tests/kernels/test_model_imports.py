"""Models from ONNX and PyTorch: what they compute, and what is refused by name."""

from __future__ import annotations

import sys

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tailrace.kernels.compress import from_onnx, from_torch

FUZZ = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.fixture
def onnx():
    return pytest.importorskip("onnx")


def graph_of(onnx, nodes, constants, features=8):
    """An ONNX file of `nodes` from "x" [n, features] to "y", whose constants are arrays by name."""
    make, kind = onnx.helper, onnx.TensorProto.FLOAT
    graph = make.make_graph(
        nodes,
        "test",
        [make.make_tensor_value_info("x", kind, ["n", features])],
        [make.make_tensor_value_info("y", kind, None)],
        [onnx.numpy_helper.from_array(array, name) for name, array in constants.items()],
    )
    return make.make_model(graph, opset_imports=[make.make_opsetid("", 20)], ir_version=9)


def mlp(onnx, rng):
    """A chain of every node that is taken, with its constants."""
    node = onnx.helper.make_node

    def random(*shape):
        return rng.standard_normal(shape, dtype=np.float32)

    nodes = [
        node("Flatten", ["x"], ["f"]),
        node("Gemm", ["f", "w0", "b0"], ["a"], transB=1),
        node("Relu", ["a"], ["b"]),
        node("MatMul", ["b", "w1"], ["c"]),
        node("Add", ["b1", "c"], ["d"]),
        node("Gelu", ["d"], ["e"], approximate="none"),
        node("Dropout", ["e"], ["e1"]),
        node("Gemm", ["e1", "w2", "b2"], ["g"], alpha=0.5, beta=2.0),
        node("Tanh", ["g"], ["h"]),
        node("MatMul", ["h", "w3"], ["i"]),
        node("Softmax", ["i"], ["j"], axis=-1),
        node("Identity", ["j"], ["y"]),
    ]
    constants = {
        "w0": random(6, 8),
        "b0": random(6),
        "w1": random(6, 5),
        "b1": random(5),
        "w2": random(5, 4),
        "b2": random(1),
        "w3": random(4, 3),
    }
    return nodes, constants


def test_a_chain_of_every_node_that_is_taken_computes_what_onnxruntime_does(onnx, rng, tmp_path):
    runtime = pytest.importorskip("onnxruntime")
    made = graph_of(onnx, *mlp(onnx, rng))
    path = tmp_path / "net.onnx"
    onnx.save(made, path)
    x = rng.standard_normal((33, 8), dtype=np.float32)
    truth = runtime.InferenceSession(path, providers=["CPUExecutionProvider"]).run(None, {"x": x})[0]
    for model in (from_onnx(path), from_onnx(made.SerializeToString())):
        assert [layer.activation for layer in model.layers] == ["relu", "gelu", "tanh", "softmax"]
        assert np.abs(model(x) - truth).max() < 1e-6


BAD_GRAPHS = {
    "a convolution": (
        lambda n: [n("Conv", ["x", "w"], ["y"])],
        r"node 0 \(Conv\) cannot be read; taken are Gemm",
    ),
    "a branch": (
        lambda n: [n("MatMul", ["x", "w"], ["a"]), n("Relu", ["a"], ["b"]), n("Sigmoid", ["a"], ["y"])],
        r"node 2 \(Sigmoid\) must take the result of the node before it",
    ),
    "two activations": (
        lambda n: [n("MatMul", ["x", "w"], ["a"]), n("Relu", ["a"], ["b"]), n("Tanh", ["b"], ["y"])],
        "no activation yet",
    ),
    "an activation first": (lambda n: [n("Relu", ["x"], ["y"])], "follow a dense layer"),
    "weights that are computed": (lambda n: [n("MatMul", ["x", "x"], ["y"])], "constant weights"),
    "the weight first": (lambda n: [n("MatMul", ["w", "x"], ["y"])], "in this order"),
    "a transposed input": (lambda n: [n("Gemm", ["x", "w"], ["y"], transA=1)], "not transposed"),
    "a bias without a layer": (lambda n: [n("Add", ["x", "b"], ["y"])], "after a MatMul"),
    "two biases": (
        lambda n: [n("MatMul", ["x", "w"], ["a"]), n("Add", ["a", "b"], ["c"]), n("Add", ["c", "b"], ["y"])],
        "after a MatMul",
    ),
    "another axis": (
        lambda n: [n("MatMul", ["x", "w"], ["a"]), n("Softmax", ["a"], ["y"], axis=0)],
        "axis=1",
    ),
    "a gelu by tanh": (
        lambda n: [n("MatMul", ["x", "w"], ["a"]), n("Gelu", ["a"], ["y"], approximate="tanh")],
        "approximate",
    ),
    "weights of ints": (lambda n: [n("MatMul", ["x", "ints"], ["y"])], "must be of floats"),
    "weights of three axes": (
        lambda n: [n("MatMul", ["x", "cube"], ["y"])],
        "2 dimensions; got float32 .1, 8, 3",
    ),
    "weights that do not fit": (
        lambda n: [n("MatMul", ["x", "w"], ["a"]), n("MatMul", ["a", "w"], ["y"])],
        r"layer 1 must have a weight \[3, out\]",
    ),
    "weights of nan": (lambda n: [n("MatMul", ["x", "nan"], ["y"])], "finite"),
    "no layer": (lambda n: [n("Identity", ["x"], ["y"])], "no dense layer"),
    "another output": (lambda n: [n("MatMul", ["x", "w"], ["z"])], "output must be that of its last node"),
    "nothing": (lambda n: [], "output must be"),
}


@pytest.mark.parametrize("name", BAD_GRAPHS)
def test_a_graph_that_is_no_chain_of_dense_layers_is_refused_by_its_node(name, onnx):
    nodes, says = BAD_GRAPHS[name]
    constants = {
        "w": np.ones((8, 3), np.float32),
        "b": np.ones(3, np.float32),
        "ints": np.ones((8, 3), np.int64),
        "cube": np.ones((1, 8, 3), np.float32),
        "nan": np.full((8, 3), np.nan, np.float32),
    }
    made = graph_of(onnx, nodes(onnx.helper.make_node), constants)
    with pytest.raises(ValueError, match=says):
        from_onnx(made.SerializeToString())


def test_weights_in_another_file_are_not_read(onnx, tmp_path):
    node = onnx.helper.make_node("MatMul", ["x", "w"], ["y"])
    made = graph_of(onnx, [node], {"w": np.ones((8, 3), np.float32)})
    tensor = made.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = onnx.TensorProto.EXTERNAL
    place = tensor.external_data.add()
    place.key, place.value = "location", "../../etc/passwd"
    with pytest.raises(ValueError, match="lies in another file"):
        from_onnx(made.SerializeToString())


def test_a_tensor_whose_shape_is_not_that_of_its_data_is_refused_without_taking_memory(onnx):
    node = onnx.helper.make_node("MatMul", ["x", "w"], ["y"])
    for dims in ([1 << 40, 1 << 20], [8, 4], [-1, -24], [0, 3]):
        made = graph_of(onnx, [node], {"w": np.ones((8, 3), np.float32)})
        tensor = made.graph.initializer[0]
        del tensor.dims[:]
        tensor.dims.extend(dims)
        with pytest.raises(ValueError, match="from_onnx"):
            from_onnx(made.SerializeToString())


@FUZZ
@given(content=st.binary(max_size=300))
def test_random_bytes_are_no_onnx(content, onnx):
    with pytest.raises(ValueError, match="from_onnx"):
        from_onnx(content)


@FUZZ
@given(at=st.integers(0, 1 << 20), bit=st.integers(0, 7), cut=st.booleans())
def test_a_damaged_onnx_file_is_refused_or_gives_a_model_that_works(at, bit, cut, onnx):
    content = bytearray(graph_of(onnx, *mlp(onnx, np.random.default_rng(0))).SerializeToString())
    at %= len(content)
    if cut:
        del content[at:]
    else:
        content[at] ^= 1 << bit
    try:
        model = from_onnx(bytes(content))
        with np.errstate(all="ignore"):  # a bit of an exponent makes a weight of 1e38
            assert model(np.ones((2, model.inputs), np.float32)).shape == (2, model.outputs)
    except ValueError as error:
        if not str(error).startswith("from_onnx: "):
            raise


def test_a_file_that_is_too_large_or_not_there_is_told(onnx, tmp_path):
    (tmp_path / "net.onnx").write_bytes(b"x" * 100)
    with pytest.raises(ValueError, match="100 bytes, at most 50"):
        from_onnx(tmp_path / "net.onnx", limit_bytes=50)
    with pytest.raises(FileNotFoundError):
        from_onnx(tmp_path / "none.onnx")


def test_without_onnx_the_error_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(ImportError, match="onnx"):
        from_onnx(b"")


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16", "float64"])
def test_a_module_of_pytorch_computes_the_same_here(dtype, rng):
    torch = pytest.importorskip("torch")
    torch.manual_seed(0)
    layers = torch.nn.Linear(8, 6), torch.nn.Tanh(), torch.nn.Linear(6, 3, bias=False), torch.nn.Sigmoid()
    module = torch.nn.Sequential(*layers).to(getattr(torch, dtype))
    model = from_torch(module.state_dict(), activation="tanh", last_activation="sigmoid")
    x = rng.standard_normal((33, 8), dtype=np.float32)
    with torch.no_grad():
        truth = module.float()(torch.from_numpy(x)).numpy()
    assert np.abs(model(x) - truth).max() < 1e-5


W, B = np.ones((6, 8), np.float32), np.ones(6, np.float32)


@pytest.mark.parametrize(
    ("state", "error", "says"),
    [
        ([W], TypeError, r"module.state_dict\(\)"),
        ({}, ValueError, "no weight"),
        ({"0.weight": W, "0.bias": B[:3]}, ValueError, r"must be \[6\]; got float32 \[3\]"),
        ({"0.weight": W, "2.weight": W}, ValueError, r"2.weight must be \[out, 6\].*got float32 \[6, 8\]"),
        ({"0.weight": W[None]}, ValueError, r"\[out, in\] of a linear layer"),
        ({"0.weight": W, "1.running_mean": B}, ValueError, "running_mean"),
        ({"0.bias": B}, ValueError, "0.bias"),
        ({"0.weight": [[1.0]]}, TypeError, "0.weight must be a tensor"),
        ({"0.weight": W.astype(int)}, TypeError, "floats"),
        ({"0.weight": W * np.nan}, ValueError, "finite"),
        ({"0.weight": np.full((2, 2), 1e300)}, ValueError, "finite"),
        ({0: W}, ValueError, "also has 0"),
    ],
)
def test_a_state_dict_of_other_than_linear_layers_is_refused(state, error, says):
    with pytest.raises(error, match=says):
        from_torch(state)
