"""Models on disk: they come back as they were, and no file, however damaged or hostile, does harm."""

from __future__ import annotations

import json
import os
import sys
import tracemalloc

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tailrace.kernels.compress import Layer, Model, load_model, new_mlp, quantize, save_model
from tailrace.kernels.weights import quantize_int4, quantize_int8

pytest.importorskip("safetensors", reason="models on disk need the package safetensors")
FUZZ = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def parts(model):
    """All that a model is, to compare two of them bit by bit."""
    found = []
    for layer in model.layers:
        weight = layer.weight
        arrays = [weight] if isinstance(weight, np.ndarray) else [weight.scale, weight.dequantize()]
        found.append(
            (layer.kind, layer.activation, layer.input_scale, *(a.tobytes() for a in (*arrays, layer.bias)))
        )
    return found


@pytest.fixture
def file(tmp_path):
    """A saved model of three kinds of layer."""
    rng = np.random.default_rng(0)

    def random(*shape):
        return rng.standard_normal(shape, dtype=np.float32)

    model = Model(
        [
            Layer(quantize_int4(random(7, 6), group=4), random(6), "relu"),
            Layer(quantize_int8(random(6, 5)), random(5), "tanh", 0.25),
            Layer(random(5, 3), random(3), "softmax"),
        ]
    )
    save_model(model, tmp_path / "model.safetensors")
    return tmp_path / "model.safetensors"


def refused(path, content, says="load_model"):
    """Load `content`; it must be refused by a ValueError that names the file, and with little memory."""
    path.write_bytes(content)
    tracemalloc.start()
    try:
        with pytest.raises(ValueError, match=says) as found:
            load_model(path)
        most = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert str(found.value).startswith(f"load_model: {path.name}"), found.value
    assert most < 4 * len(content) + (1 << 20), f"{most} bytes for a file of {len(content)}"


@pytest.mark.parametrize("method", ["float32", "fp16", "int8", "int4", "dynamic"])
def test_a_model_comes_back_bit_by_bit(method, tmp_path, rng):
    model = new_mlp([13, 9, 4], activation="gelu", last_activation="softmax", seed=1)
    x = rng.standard_normal((20, 13), dtype=np.float32)
    if method != "float32":
        model = quantize(model, method, x).model
    save_model(model, tmp_path / "model.safetensors")
    again = load_model(tmp_path / "model.safetensors")
    assert parts(again) == parts(model)
    assert np.array_equal(again(x), model(x))


def test_saving_replaces_a_file_in_one_piece_and_leaves_nothing_else(file):
    model = new_mlp([3, 2], seed=0)
    save_model(model, str(file))
    assert parts(load_model(str(file))) == parts(model)
    with pytest.raises(TypeError, match="Model"):
        save_model([1], file)
    with pytest.raises(FileNotFoundError):
        save_model(model, file.parent / "none" / "model")
    assert os.listdir(file.parent) == [file.name]


def test_what_cannot_be_replaced_leaves_no_file_behind(tmp_path):
    (tmp_path / "folder").mkdir()
    with pytest.raises(IsADirectoryError):
        save_model(new_mlp([3, 2], seed=0), tmp_path / "folder")
    assert os.listdir(tmp_path) == ["folder"]


def test_every_cut_of_a_file_is_refused(file):
    content = file.read_bytes()
    for length in range(0, len(content), 3):
        refused(file, content[:length])


@FUZZ
@given(content=st.binary(max_size=300))
def test_random_bytes_are_refused(content, tmp_path):
    refused(tmp_path / "model", content)


@FUZZ
@given(content=st.binary(max_size=200))
def test_random_bytes_behind_a_right_length_are_refused(content, tmp_path):
    refused(tmp_path / "model", len(content).to_bytes(8, "little") + content)


@FUZZ
@given(at=st.integers(0, 1 << 20), bit=st.integers(0, 7))
def test_a_flipped_bit_is_refused_or_gives_a_model_that_works(at, bit, file):
    content = bytearray(file.read_bytes())
    content[at % len(content)] ^= 1 << bit
    file.write_bytes(content)
    try:
        model = load_model(file)
        assert model(np.ones((2, model.inputs), np.float32)).shape == (2, model.outputs)
    except ValueError as error:
        if not str(error).startswith("load_model: "):
            raise
    finally:
        content[at % len(content)] ^= 1 << bit
        file.write_bytes(content)


def split(content):
    length = int.from_bytes(content[:8], "little")
    return json.loads(content[8 : 8 + length]), content[8 + length :]


def joined(header, body):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + body


def with_layers(header, change):
    """Return `header` with the list of its layers changed by `change`."""
    layers = json.loads(header["__metadata__"]["layers"])
    layers = change(layers) or layers
    metadata = header["__metadata__"] | {"layers": layers if isinstance(layers, str) else json.dumps(layers)}
    return header | {"__metadata__": metadata}


def setting(place, **fields):
    return lambda layers: layers[place].update(fields)


HOSTILE_LAYERS = {
    "other inputs": setting(0, inputs=9),
    "huge inputs": setting(2, inputs=1 << 30),
    "more than huge inputs": setting(2, inputs=1 << 62),
    "inputs below 1": setting(2, inputs=-5),
    "inputs that are no number": setting(2, inputs=True),
    "outputs that are a list": setting(2, outputs=[3]),
    "another kind": setting(2, kind="conv3d"),
    "an unknown activation": setting(2, activation="eval"),
    "an activation that is no text": setting(2, activation=["relu"]),
    "an unknown weight": setting(2, weight="object"),
    "a weight that is a list": setting(2, weight=["float32"]),
    "a group of none": setting(0, group=None),
    "an odd group": setting(0, group=3),
    "a huge group": setting(0, group=1 << 40),
    "a group of float": setting(0, group=4.0),
    "a group where none belongs": setting(2, group=4),
    "a scale of zero": setting(1, input_scale=0.0),
    "a scale of nan": setting(1, input_scale=float("nan")),
    "a scale where none belongs": setting(2, input_scale=0.5),
    "a scale that is a text": setting(1, input_scale="1"),
    "a further field": setting(1, code="import os"),
    "a field too few": lambda layers: layers[1].pop("group") and None,
    "softmax in between": setting(0, activation="softmax"),
    "no layers": lambda layers: "[]",
    "a layer too few": lambda layers: layers[:2],
    "a layer too many": lambda layers: [*layers, layers[2]],
    "another order": lambda layers: layers[::-1],
    "a layer that is no object": lambda layers: [1],
    "a million layers": lambda layers: [{}] * 5000,
    "no list": lambda layers: {"a": 1},
    "no json": lambda layers: "[{",
    "deep json": lambda layers: "[" * 100_000,
    "a number of many digits": lambda layers: "[" + "9" * 10_000 + "]",
}


@pytest.mark.parametrize("name", HOSTILE_LAYERS)
def test_a_hostile_description_is_refused(name, file):
    header, body = split(file.read_bytes())
    refused(file, joined(with_layers(header, HOSTILE_LAYERS[name]), body))


def test_the_file_that_the_hostile_ones_are_made_of_is_good(file):
    header, body = split(file.read_bytes())
    before = parts(load_model(file))
    file.write_bytes(joined(with_layers(header, lambda layers: None), body))
    assert parts(load_model(file)) == before


def entry(**fields):
    return lambda header: header["2.values"].update(fields)


HOSTILE_HEADERS = {
    "another dtype": entry(dtype="F64"),
    "a dtype of the same size": entry(dtype="I32"),
    "an unknown dtype": entry(dtype="O"),
    "another shape": entry(shape=[3, 5]),
    "a huge shape": entry(shape=[1 << 31, 1 << 31]),
    "a shape that overflows": entry(shape=[1 << 63, 2]),
    "a shape below zero": entry(shape=[-1, -15]),
    "offsets beyond the end": entry(data_offsets=[0, 1 << 50]),
    "offsets the wrong way": entry(data_offsets=[60, 0]),
    "a missing array": lambda header: header.pop("1.scale") and None,
    "an array of another name": lambda header: header.update(extra=header.pop("1.scale")),
    "no metadata": lambda header: header.pop("__metadata__") and None,
    "metadata that is a list": lambda header: header.update(__metadata__=[]),
    "another format": lambda header: header["__metadata__"].update(format="pt"),
    "a later version": lambda header: header["__metadata__"].update(version="2"),
    "a version that is a number": lambda header: header["__metadata__"].update(version=1),
}


@pytest.mark.parametrize("name", HOSTILE_HEADERS)
def test_a_hostile_header_is_refused(name, file):
    header, body = split(file.read_bytes())
    HOSTILE_HEADERS[name](header)
    refused(file, joined(header, body))


def test_headers_that_are_no_header_are_refused(file):
    _, body = split(file.read_bytes())
    deep, long = b"[" * 100_000, b"{" + b" " * 2_000_000
    for text in (b"", b"[]", b"null", b"1", b'"' + b"x" * 50, deep, b"\xff\xfe", long):
        refused(file, joined(text, body))
    for length in (1 << 63, (1 << 64) - 1, 1 << 40, len(body) + 1):
        refused(file, length.to_bytes(8, "little") + body, "header of")


def test_values_that_are_not_finite_are_refused(file):
    header, body = split(file.read_bytes())
    begin = header["2.values"]["data_offsets"][0]
    damaged = bytearray(body)
    damaged[begin : begin + 4] = np.float32(np.nan).tobytes()
    refused(file, joined(header, bytes(damaged)), "layer 2: .*finite")


def test_the_expected_shape_stands_in_the_error(file):
    header, body = split(file.read_bytes())
    refused(
        file,
        joined(with_layers(header, setting(2, outputs=4)), body),
        r"layer 2: values must be float32 \[5, 4\]; got float32 \[5, 3\]",
    )


def test_what_is_no_regular_file_or_too_large_is_not_read(file):
    with pytest.raises(ValueError, match="regular"):
        load_model(file.parent)
    if sys.platform != "win32":
        os.mkfifo(file.parent / "pipe")
        with pytest.raises(ValueError, match="regular"):
            load_model(file.parent / "pipe")
    with pytest.raises(ValueError, match="8 to 100 bytes"):
        load_model(file, limit_bytes=100)
    with pytest.raises(FileNotFoundError):
        load_model(file.parent / "none")
    with open(file.parent / "sparse", "wb") as sparse:
        sparse.truncate(1 << 40)
    with pytest.raises(ValueError, match="limit_bytes"):
        load_model(file.parent / "sparse")


def test_without_the_package_the_error_says_what_to_install(monkeypatch, file):
    monkeypatch.setitem(sys.modules, "safetensors", None)
    monkeypatch.setitem(sys.modules, "safetensors.numpy", None)
    with pytest.raises(ImportError, match=r"tailrace\[models\]"):
        load_model(file)
