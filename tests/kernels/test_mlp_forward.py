"""Networks of dense layers: every weight at every level, whole numbers exactly, errors that teach."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tailrace.kernels import (
    BackendUnavailable,
    Int8Weight,
    _cpu,
    force_isa,
    mlp_forward,
    quantize_int4,
    quantize_int8,
    to_bfloat16,
)
from tailrace.kernels.ops.mlp_forward import layers, reference

LEVELS = ["baseline", "avx2", "avx512", "vnni"]
HERE = LEVELS[: LEVELS.index(_cpu.best_isa()) + 1]
MAKERS = {
    "float32": lambda w: w,
    "float16": lambda w: w.astype(np.float16),
    "bfloat16": to_bfloat16,
    "int8": quantize_int8,
    "int4": quantize_int4,
}
X = np.ones((3, 4), np.float32)
W, B = np.ones((4, 2), np.float32), np.ones(2, np.float32)


def whole_numbers(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """Rows that quantise to themselves: whole numbers of which 127 is the largest."""
    x = rng.integers(-127, 128, shape).astype(np.float32)
    x[:, rng.integers(0, shape[1])] = 127
    return x


@settings(deadline=None, max_examples=80)
@given(
    rows=st.integers(1, 40),
    inputs=st.integers(1, 70),
    outputs=st.integers(1, 110),
    level=st.sampled_from(HERE),
    seed=st.integers(0, 2**31),
)
def test_int8_sums_are_those_of_whole_numbers(rows, inputs, outputs, level, seed) -> None:
    rng = np.random.default_rng(seed)
    x = whole_numbers(rng, (rows, inputs))
    values = rng.integers(-128, 128, (inputs, outputs)).astype(np.int8)
    with force_isa(level):
        found = mlp_forward(x, [Int8Weight(values, np.ones(outputs, np.float32))], [None])
    np.testing.assert_array_equal(found, x.astype(np.int64) @ values.astype(np.int64))


def test_int8_sums_do_not_saturate_where_all_is_largest(isa: str) -> None:
    inputs = 1000  # 127 * 128 * 1000 fits into a float32 mantissa: it is 15,875 * 2^10
    for sign in (1, -1):
        x = np.full((2, inputs), 127 * sign, np.float32)
        for value in (127, -128):
            weight = Int8Weight(np.full((inputs, 3), value, np.int8), np.ones(3, np.float32))
            found = mlp_forward(x, [weight], [None])
            np.testing.assert_array_equal(found, np.float32(127 * sign * value * inputs))


def test_int8_rows_of_zeros_of_next_to_nothing_and_of_nan(isa: str) -> None:
    weight = Int8Weight(np.full((5, 2), 3, np.int8), np.ones(2, np.float32))
    x = np.zeros((5, 5), np.float32)
    x[1, 2], x[2, 4], x[3, 0], x[4] = 1e-38, np.nan, np.inf, 2.0
    found = mlp_forward(x, [weight], [B])
    assert found[:2].tolist() == [[1, 1], [1, 1]]
    assert np.isnan(found[2:4]).all()
    np.testing.assert_allclose(found[4], 31, rtol=1e-6)


@settings(deadline=None, max_examples=60)
@given(
    rows=st.integers(1, 70),
    widths=st.lists(st.integers(1, 100), min_size=2, max_size=4),
    dtype=st.sampled_from(sorted(MAKERS)),
    activation=st.sampled_from(layers.ACTIVATIONS),
    level=st.sampled_from(HERE),
    seed=st.integers(0, 2**31),
)
def test_networks_of_any_shape_agree_with_the_reference(rows, widths, dtype, activation, level, seed) -> None:
    rng = np.random.default_rng(seed)
    pairs = list(pairwise(widths))
    weights = [MAKERS[dtype]((rng.normal(size=p) / np.sqrt(p[0])).astype(np.float32)) for p in pairs]
    biases = [rng.normal(size=b).astype(np.float32) if rng.integers(4) else None for _, b in pairs]
    x = rng.normal(size=(rows, widths[0])).astype(np.float32)
    out = np.full((rows, widths[-1]), np.nan, np.float32)
    with force_isa(level):
        mlp_forward(x, weights, biases, activation=activation, out=out)
    truth = reference.mlp_forward(x, weights, biases, activation=activation)
    # An int8 code at a tie may round the other way: then one product is off by a step.
    within = 0.03 if dtype == "int8" else 2e-5
    np.testing.assert_allclose(out, truth, atol=within * max(1.0, float(np.abs(truth).max())), rtol=0)


@pytest.mark.parametrize("activation", layers.ACTIVATIONS)
def test_an_activation_is_right_over_its_whole_range(activation: str, isa: str) -> None:
    x = np.concatenate(
        [np.linspace(-30, 30, 60_001), [-1e4, 1e4, -88.5, 88.5, -89, -100, -1e38, 1e38, 0.0, 1e-30]]
    )
    x = x.astype(np.float32)[:, None]
    one = np.ones((1, 1), np.float32)
    found = mlp_forward(x, [one, one], [None, None], activation=activation)
    truth = reference.activate(x.astype(np.float64), activation)
    np.testing.assert_allclose(found, truth, rtol=4e-7, atol=2e-7 * 30 if activation == "gelu" else 2e-7)


@pytest.mark.parametrize("activation", layers.ACTIVATIONS)
@pytest.mark.parametrize("rows", [1, 20])
def test_nan_in_a_row_is_nan_in_its_outputs_only(activation: str, rows: int, isa: str) -> None:
    x = np.ones((rows, 4), np.float32)
    x[-1, 1] = np.nan
    for make in MAKERS.values():
        weights = [make(np.full((4, 35), 0.5, np.float32)), make(np.full((35, 3), 0.5, np.float32))]
        found = mlp_forward(x, weights, [None, None], activation=activation)
        assert np.isnan(found[-1]).all()
        assert np.isfinite(found[:-1]).all()


def test_layers_may_differ_in_their_weights(isa: str, rng: np.random.Generator) -> None:
    plain = [(rng.normal(size=(20, 20)) / 4).astype(np.float32) for _ in MAKERS]
    weights = [make(w) for make, w in zip(MAKERS.values(), plain, strict=True)]
    x = rng.normal(size=(9, 20)).astype(np.float32)
    truth = reference.mlp_forward(x, weights, [None] * 5, activation="tanh")
    np.testing.assert_allclose(
        mlp_forward(x, weights, [None] * 5, activation="tanh"), truth, atol=0.02 * np.abs(truth).max()
    )


@pytest.mark.parametrize(
    ("arguments", "kind", "message"),
    [
        ((X.astype(np.float64), [W], [B]), TypeError, r"x must be float32 \[batch, features\].*x.astype\("),
        ((X[0], [W], [B]), ValueError, "1 dimensions instead of 2"),
        ((X[:0], [W], [B]), ValueError, "at least 1 batch.*nothing to compute"),
        ((X.T, [W], [B]), ValueError, r"pass np.ascontiguousarray\(x\)"),
        ((X, W, B), TypeError, r"weights must be a list, one entry a layer; got float32 \[4, 2\]"),
        ((X, [], []), ValueError, "at least one layer; got 0 weights and 0 biases"),
        ((X, [W, W], [B]), ValueError, "got 2 weights and 1 biases"),
        ((X, [W.T], [B]), ValueError, r"weights\[0\] must be .*\[4, out\].*got float32 \[2, 4\]"),
        ((X, [W, W], [B, B]), ValueError, r"weights\[1\] must be .*\[2, out\]"),
        ((X, [quantize_int8(W.T.copy())], [B]), ValueError, r"weights\[0\] must be \[4, out\].*Int8Weight"),
        ((X, [W.astype(np.int8)], [B]), TypeError, r"weights\[0\] must be float32 or float16"),
        ((X, [[1.0]], [B]), TypeError, "must be float32, float16, BFloat16Weight, Int8Weight or Int4Weight"),
        ((X, [W], [B[:1]]), ValueError, r"biases\[0\] must be float32 \[2\]"),
        ((X, [W], [B.astype(np.float64)]), TypeError, r"biases\[0\] must be float32"),
        ((X.astype(">f4"), [W], [B]), TypeError, "x must be float32"),
        ((X, [W.astype(">f4")], [B]), TypeError, r"weights\[0\] must be float32"),
        ((X, [W], [B.astype(">f4")]), TypeError, r"biases\[0\] must be float32"),
        ((X, {0: W}, [B]), TypeError, "weights must be a list"),
        ((X, W[None], [B]), TypeError, "weights must be a list"),
    ],
)
def test_wrong_layers_are_named_with_what_is_wanted(arguments, kind, message) -> None:
    with pytest.raises(kind, match=message):
        mlp_forward(*arguments)


def test_other_wrong_arguments_are_named() -> None:
    with pytest.raises(ValueError, match="activation must be one of none, relu, tanh, gelu, silu; got 'elu'"):
        mlp_forward(X, [W], [B], activation="elu")
    with pytest.raises(ValueError, match=r"out must be float32 \[3, 2\]"):
        mlp_forward(X, [W], [B], out=np.empty((2, 2), np.float32))
    square = np.ones((4, 4), np.float32)
    eye, row = np.eye(4, dtype=np.float32), np.ones((1, 4), np.float32)
    with pytest.raises(ValueError, match="out shares memory with an input"):
        mlp_forward(eye, [square], [None], out=eye)
    with pytest.raises(ValueError, match="out shares memory with an input"):
        mlp_forward(eye.copy(), [square], [None], out=square)
    with pytest.raises(ValueError, match="out shares memory with an input"):
        mlp_forward(row, [square], [row[0]], out=row.view())
    with pytest.raises(TypeError, match="out must be float32"):
        mlp_forward(row, [square], [None], out=np.empty((1, 4), ">f4"))
    with pytest.raises((BackendUnavailable, ValueError)):
        mlp_forward(X, [W], [B], backend="gpu")


def test_the_compiled_module_refuses_what_its_face_would_have_caught() -> None:
    out = np.empty((3, 2), np.float32)
    good = (0, W, None, 0, B)
    _cpu.mlp_forward(X, [good], 1, out)
    for wrong in (
        [],
        [good, good],
        [(9, W, None, 0, B)],
        [(3, W.astype(np.int8), B[:1], 0, B)],
        [(4, W.astype(np.uint8), W, (3, 8), B)],
        [(0, W, None, 0, B[:1])],
        [(0, W)],
    ):
        with pytest.raises((TypeError, ValueError)):
            _cpu.mlp_forward(X, wrong, 1, out)
    for x, to in ((X[:, :3].copy(), out), (X, out[:2]), (X, np.empty((3, 3), np.float32))):
        with pytest.raises(ValueError, match="fit together"):
            _cpu.mlp_forward(x, [good], 1, to)
