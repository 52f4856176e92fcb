"""Weights in fewer bits stand for what they were made of, within half a step; wrong ones are refused."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tailrace.kernels import (
    BFloat16Weight,
    Int4Weight,
    Int8Weight,
    dequantize,
    quantize_int4,
    quantize_int8,
    to_bfloat16,
)

VALUES = np.array([[1, -2, 3], [-4, 5, -6]], np.int8)
SCALE = np.array([0.5, 1.0, 2.0], np.float32)
SHAPES = st.tuples(st.integers(1, 70), st.integers(1, 40))


def weight(shape: tuple[int, ...], seed: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


@settings(deadline=None, max_examples=60)
@given(shape=SHAPES, agents=st.sampled_from([(), (3,)]), seed=st.integers(0, 2**31))
def test_an_int8_weight_is_off_by_half_a_step_at_most(shape, agents, seed) -> None:
    w = weight((*agents, *shape), seed)
    found = quantize_int8(w)
    assert found.shape == w.shape
    assert np.abs(found.values).max() == 127
    assert np.all(np.abs(found.dequantize() - w) <= found.scale[..., None, :] * 0.5001)


@settings(deadline=None, max_examples=60)
@given(
    shape=SHAPES,
    agents=st.sampled_from([(), (3,)]),
    group=st.sampled_from([2, 6, 8, 32, 128]),
    seed=st.integers(0, 2**31),
)
def test_an_int4_weight_is_off_by_half_a_step_of_its_group(shape, agents, group, seed) -> None:
    w = weight((*agents, *shape), seed)
    found = quantize_int4(w, group=group)
    assert found.shape == w.shape
    assert found.packed.shape == (*agents, -(-shape[0] // 2), shape[1])
    step = np.repeat(found.scale, group, axis=-2)[..., : shape[0], :]
    assert np.all(np.abs(found.dequantize() - w) <= step * 0.5001)


def test_bfloat16_rounds_to_the_nearest_and_ties_to_even() -> None:
    ties = np.array([[0x3F808000, 0x3F818000, 0x3F808001, 0xBF808000]], np.uint32).view(np.float32)
    assert to_bfloat16(ties).bits.tolist() == [[0x3F80, 0x3F82, 0x3F81, 0xBF80]]
    w = weight((50, 20), 1)
    assert np.all(np.abs(to_bfloat16(w).dequantize() - w) <= np.abs(w) * 2.0**-8)


def test_an_output_without_weights_stays_zero() -> None:
    w = np.zeros((9, 2), np.float32)
    w[:, 1] = 1e-42  # below what a scale can say
    for found in (quantize_int8(w), quantize_int4(w)):
        assert np.all(found.scale == 1.0)
        assert np.all(found.dequantize() == 0.0)


def test_the_odd_input_of_an_int4_weight_needs_its_number_said() -> None:
    w = weight((5, 3), 2)
    found = quantize_int4(w, group=4)
    assert (found.inputs, found.packed.shape, found.scale.shape) == (5, (3, 3), (2, 3))
    again = Int4Weight(found.packed, found.scale, 4, 5)
    np.testing.assert_array_equal(again.dequantize(), found.dequantize())


def test_a_group_longer_than_the_inputs_is_all_of_them() -> None:
    w = weight((5, 3), 4)
    for group in (6, 2**40, 2**64):
        found = quantize_int4(w, group=group)
        assert (found.group, found.scale.shape) == (6, (1, 3))
        again = Int4Weight(found.packed, found.scale, 2**64, 5)
        np.testing.assert_array_equal(again.dequantize(), found.dequantize())


def test_any_weight_can_be_turned_into_float32() -> None:
    w = weight((6, 4), 3)
    for given_weight in (w, w.astype(np.float16), to_bfloat16(w), quantize_int8(w), quantize_int4(w)):
        back = dequantize(given_weight)
        assert back.dtype == np.float32
        np.testing.assert_allclose(back, w, atol=0.3)
    with pytest.raises(TypeError, match="got float64"):
        dequantize(w.astype(np.float64))


@pytest.mark.parametrize(
    ("make", "kind", "message"),
    [
        (lambda: Int8Weight(VALUES.astype(np.int16), SCALE), TypeError, r"values must be int8 .*got int16"),
        (lambda: Int8Weight([[1]], SCALE), TypeError, "got list"),
        (lambda: Int8Weight(VALUES[0], SCALE), ValueError, r"got int8 \[3\]"),
        (lambda: Int8Weight(VALUES[:, :0], SCALE), ValueError, "no axis empty"),
        (lambda: Int8Weight(VALUES.T, SCALE), ValueError, r"pass np.ascontiguousarray\(values\)"),
        (lambda: Int8Weight(VALUES, SCALE[:2]), ValueError, r"scale must be float32 \[3\]"),
        (lambda: Int8Weight(VALUES, SCALE * 0), ValueError, "above zero"),
        (lambda: Int8Weight(VALUES, SCALE * np.float32(np.nan)), ValueError, "finite"),
        (
            lambda: Int8Weight(np.ones((131_073, 1), np.int8), np.ones(1, np.float32)),
            ValueError,
            "split the layer",
        ),
        (
            lambda: Int4Weight(np.ones((2, 3), np.uint8), SCALE[None], 3),
            ValueError,
            "group must be a multiple of 2",
        ),
        (
            lambda: Int4Weight(np.ones((2, 3), np.uint8), SCALE[None], 4, 2),
            ValueError,
            "holds 3 or 4 inputs; got inputs=2",
        ),
        (
            lambda: Int4Weight(np.ones((4, 3), np.uint8), SCALE[None], 4),
            ValueError,
            r"scale must be float32 \[2, 3\]",
        ),
        (lambda: Int4Weight(np.ones((2, 3), np.uint8), SCALE[None], 4.0), TypeError, "whole number"),
        (lambda: quantize_int4(np.ones((4, 4)), group=4.0), TypeError, "whole number"),
        (lambda: to_bfloat16(np.full((1, 2), 3.4e38)), ValueError, "too large to be stored"),
        (lambda: quantize_int8(np.full((1, 2), 1e300)), ValueError, "too large to be stored"),
        (lambda: BFloat16Weight(VALUES), TypeError, "bits must be uint16"),
        (lambda: quantize_int8(VALUES), TypeError, "w must be float"),
        (lambda: quantize_int8(np.array([[1.0, np.nan]])), ValueError, "1 values that are NaN or infinite"),
        (lambda: quantize_int4(np.ones((4, 4)), group=5), ValueError, "group must be a multiple of 2"),
        (lambda: to_bfloat16(np.ones(4)), ValueError, r"got float64 \[4\]"),
    ],
)
def test_a_wrong_weight_is_refused_with_what_is_wanted(make, kind, message) -> None:
    with pytest.raises(kind, match=message):
        make()
