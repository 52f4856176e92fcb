"""Models: what their layers compute, that they cannot be changed, and what they refuse."""

from __future__ import annotations

import dataclasses
import threading

import numpy as np
import pytest
import tailrace as tr
from hypothesis import given, settings
from hypothesis import strategies as st
from tailrace.kernels.compress import Layer, Model, new_mlp, reference
from tailrace.kernels.compress._activations import ACTIVATIONS
from tailrace.kernels.weights import quantize_int4, quantize_int8

KINDS = {
    "float32": lambda w: w,
    "float16": lambda w: w.astype(np.float16),
    "int8": quantize_int8,
    "int4": lambda w: quantize_int4(w, group=32),
}


def as_kind(model, kind):
    return Model(Layer(KINDS[kind](layer.dense()), layer.bias, layer.activation) for layer in model.layers)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("activation", [name for name in ACTIVATIONS if name != "softmax"])
@pytest.mark.parametrize("rows", [1, 31, 33])
def test_a_model_computes_what_the_reference_says(kind, activation, rows, rng):
    model = as_kind(new_mlp([64, 96, 32, 10], activation=activation, last_activation="softmax", seed=3), kind)
    x = rng.standard_normal((rows, 64), dtype=np.float32)
    out = np.full((rows, 10), np.nan, np.float32)
    assert model(x, out=out) is out
    truth = reference.forward(model, x)
    # A value that lies between two steps of int8 may be rounded to either: a step of 1/127 here and there.
    assert np.abs(out - truth).max() < (5e-3 if kind == "int8" else 2e-6)
    assert np.abs(out.sum(axis=1) - 1).max() < 1e-6


def test_a_fixed_scale_clips_what_is_beyond_it(rng):
    layer = Layer(quantize_int8(np.eye(8, dtype=np.float32)), input_scale=0.01)
    x = rng.standard_normal((5, 8), dtype=np.float32) * 3
    assert np.allclose(Model([layer])(x), np.clip(np.rint(x / 0.01), -127, 127) * 0.01, atol=1e-6)


@settings(max_examples=25, deadline=None)
@given(
    sizes=st.lists(st.integers(1, 40), min_size=2, max_size=5),
    rows=st.integers(0, 5),
    activation=st.sampled_from([name for name in ACTIVATIONS if name != "softmax"]),
    seed=st.integers(0, 1000),
)
def test_models_of_any_sizes_agree_with_the_reference(sizes, rows, activation, seed):
    model = new_mlp(sizes, activation=activation, last_activation=activation, seed=seed)
    x = np.random.default_rng(seed).standard_normal((rows, sizes[0]), dtype=np.float32)
    y = model(x)
    assert y.shape == (rows, sizes[-1])
    assert np.allclose(y, reference.forward(model, x), atol=1e-5)
    assert model.parameters * 4 == model.nbytes


def test_a_model_says_how_large_it_is():
    model = new_mlp([64, 32, 1], seed=0)
    assert (model.inputs, model.outputs, model.parameters) == (64, 1, 64 * 32 + 32 + 32 + 1)
    assert as_kind(model, "float16").nbytes == 2 * (64 * 32 + 32) + 4 * 33
    assert Model([*as_kind(model, "int8").layers[:1], model.layers[1]]).kind == "mixed"


def test_a_model_cannot_be_changed_by_any_way_to_its_arrays():
    weight, bias = np.ones((3, 2), np.float32), np.ones(2, np.float32)
    model = Model([Layer(weight, bias)])
    weight[:], bias[:] = 7, 7
    assert model(np.ones((1, 3), np.float32)).tolist() == [[4, 4]]
    with pytest.raises(ValueError, match="read-only"):
        model.layers[0].weight[0, 0] = 1
    with pytest.raises(dataclasses.FrozenInstanceError):
        model.layers = ()
    x = np.ones((2, 3), np.float32)
    model(x)[:] = 0
    assert x.tolist() == [[1, 1, 1]] * 2


def test_a_model_runs_as_a_native_step_where_it_is_one_policy(rng):
    model = as_kind(new_mlp([8, 16, 4], seed=0), "int8")
    step = tr.native_step(model.native(3))
    x = rng.standard_normal((3, 8), dtype=np.float32)

    @tr.workflow
    def act(record):
        return step(record)

    record = np.zeros((), model.native(3).payload)
    record["x"] = x
    assert np.array_equal(act(record)["y"], model(x))
    for last, between in (("softmax", "relu"), ("none", "sigmoid")):
        other = new_mlp([8, 16, 4], activation=between, last_activation=last, seed=0)
        with pytest.raises(ValueError, match="one activation"):
            other.native(3)


def test_threads_that_call_a_model_for_the_first_time_at_once_get_the_same(rng):
    x = rng.standard_normal((4, 24), dtype=np.float32)
    for kind in KINDS:
        model = as_kind(new_mlp([24, 32, 16], activation="tanh", last_activation="softmax", seed=0), kind)
        ready, found = threading.Barrier(8), []

        def call(model=model, ready=ready, found=found):
            ready.wait(10)
            found.append(model(x))

        threads = [threading.Thread(target=call) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(30)
        assert len(found) == 8
        assert all(np.array_equal(y, found[0]) for y in found)


def test_layers_of_several_activations_run_one_after_the_other(rng):
    names = ["relu", "relu", "tanh", "sigmoid", "sigmoid", "none", "gelu", "gelu", "none"]
    layers = [
        Layer(rng.standard_normal((7, 7), dtype=np.float32), rng.standard_normal(7, dtype=np.float32), name)
        for name in names
    ]
    model, x = Model(layers), rng.standard_normal((9, 7), dtype=np.float32)
    assert len(model._forward.parts()) == 5
    assert np.allclose(model(x), reference.forward(model, x), atol=1e-4)


def test_the_input_is_never_written_to_nor_returned(rng):
    for activation in ACTIVATIONS:
        x = rng.standard_normal((4, 3), dtype=np.float32)
        before = x.copy()
        y = Model([Layer(np.eye(3, dtype=np.float32), activation=activation)])(x)
        assert not np.shares_memory(x, y)
        assert np.array_equal(x, before)


ONES = np.ones((3, 2), np.float32)


@pytest.mark.parametrize(
    ("arguments", "error", "says"),
    [
        ((ONES.astype(float),), TypeError, r"float32.*\[in, out\].*got float64 \[3, 2\]"),
        ((ONES[0],), ValueError, r"\[in, out\]"),
        ((ONES[:0],), ValueError, "at least 1"),
        (([[1.0]],), TypeError, r"\[in, out\]"),
        ((ONES * np.nan,), ValueError, "finite"),
        ((ONES, np.ones(3, np.float32)), ValueError, r"bias must be float32 \[2\]; got float32 \[3\]"),
        ((ONES, np.ones(2)), TypeError, r"bias must be float32 \[2\]"),
        ((ONES, np.float32([1, np.inf])), ValueError, "finite"),
        ((ONES, None, "rectified"), ValueError, "one of none, relu"),
        ((ONES, None, "none", 0.5), ValueError, "Int8Weight"),
        ((quantize_int8(ONES), None, "none", -0.5), ValueError, "above 0"),
        ((quantize_int8(ONES), None, "none", float("nan")), ValueError, "above 0"),
    ],
)
def test_what_makes_no_layer_is_refused_with_what_is_wanted(arguments, error, says):
    with pytest.raises(error, match=says):
        Layer(*arguments)


@pytest.mark.parametrize(
    ("layers", "error", "says"),
    [
        ([], ValueError, "at least one"),
        ([ONES], TypeError, "layer 0"),
        ([Layer(ONES), Layer(ONES)], ValueError, r"layer 1 must have a weight \[2, out\].*got \[3, 2\]"),
        ([Layer(ONES, activation="softmax"), Layer(ONES.T.copy())], ValueError, "softmax"),
    ],
)
def test_layers_that_make_no_model_are_refused(layers, error, says):
    with pytest.raises(error, match=says):
        Model(layers)


@pytest.mark.parametrize(
    ("x", "error"),
    [
        (np.ones((2, 3)), TypeError),
        (np.ones((2, 4), np.float32), ValueError),
        (np.ones(3, np.float32), ValueError),
        (np.ones((3, 4), np.float32)[:, :3], ValueError),
        ([[1.0, 2.0, 3.0]], TypeError),
        (np.ones((2, 3), np.int8), TypeError),
    ],
)
def test_inputs_of_another_dtype_shape_or_layout_are_refused_with_the_shape_that_is_wanted(x, error):
    model = Model([Layer(ONES)])
    for _ in range(2):  # before and after it is packed
        with pytest.raises(error, match=r"Model: x must be float32 \[batch, 3\], C-contiguous"):
            model(x)
        model(np.ones((1, 3), np.float32))


def test_an_out_that_cannot_take_the_result_is_refused():
    model, x = Model([Layer(ONES)]), np.ones((2, 3), np.float32)
    assert model(x[:0]).shape == (0, 2)
    fixed = np.zeros((2, 2), np.float32)
    fixed.setflags(write=False)
    assert model(x).shape == (2, 2)
    assert model(x[:0]).shape == (0, 2)
    square = Model([Layer(np.eye(3, dtype=np.float32))])
    with pytest.raises(ValueError, match="out shares memory with x"):
        square(x, out=x)
    for out in (np.zeros((3, 2), np.float32), fixed, np.zeros((2, 2))):
        with pytest.raises((TypeError, ValueError), match="out"):
            model(x, out=out)


@pytest.mark.parametrize("sizes", [[3], [], [3, 0], [3, 2.5], [True, 2]])
def test_sizes_that_make_no_network_are_refused(sizes):
    with pytest.raises(ValueError, match="sizes must be two or more"):
        new_mlp(sizes, seed=0)
