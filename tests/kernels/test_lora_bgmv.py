"""lora_bgmv: rows through their adapters, against float64, whatever their order and the sizes."""

from __future__ import annotations

import numpy as np
import pytest
from tailrace.kernels import lora_bgmv
from tailrace.kernels.ops.lora_bgmv import reference
from tailrace.kernels.registry import relative_l2


def inputs(rng, rows, adapters, hidden, rank, out, dtype=np.float32):
    return (
        rng.normal(size=(rows, hidden)).astype(np.float32),
        rng.normal(size=(adapters, hidden, rank)).astype(dtype),
        rng.normal(size=(adapters, rank, out)).astype(dtype),
        rng.integers(-1, adapters, rows).astype(np.int32),
    )


@pytest.mark.parametrize("dtype", [np.float32, np.float16])
@pytest.mark.parametrize("rank", [1, 4, 8, 16, 31, 33, 48, 64])
def test_rows_go_through_the_adapters_that_they_name(isa, rng, rank, dtype):
    for rows, adapters, out in ((1, 1, 1), (33, 3, 47), (70, 40, 96), (64, 1, 130)):
        case = inputs(rng, rows, adapters, 37, rank, out, dtype)
        result = lora_bgmv(*case, scale=2.0, out=np.full((rows, out), np.nan, np.float32))
        assert relative_l2(result, reference.lora_bgmv(*case, scale=2.0)) < 5e-6
        assert not result[case[3] < 0].any()


def test_what_out_holds_is_added_to_if_asked(isa, rng):
    case = inputs(rng, 40, 5, 20, 8, 50)
    before = rng.normal(size=(40, 50)).astype(np.float32)
    out = before.copy()
    assert lora_bgmv(*case, accumulate=True, out=out) is out
    assert relative_l2(out, reference.lora_bgmv(*case) + before) < 1e-6
    assert np.array_equal(out[case[3] < 0], before[case[3] < 0])


@pytest.mark.parametrize(("hidden", "rank"), [(4, 0), (0, 3), (0, 0)])
@pytest.mark.parametrize("rows", [1, 2])
def test_products_of_nothing_are_zeros(isa, rng, rows, hidden, rank):
    case = inputs(rng, rows, 1, hidden, rank, 30)
    assert not lora_bgmv(*case, out=np.full((rows, 30), np.nan, np.float32)).any()


def test_no_rows_give_no_rows(rng):
    assert lora_bgmv(*inputs(rng, 0, 2, 5, 3, 7)).shape == (0, 7)


@pytest.mark.parametrize("backend", ["cpu", "numpy"])
@pytest.mark.parametrize("wrong", [-2, 2, 2**31 - 1, -(2**31)])
def test_a_number_that_is_no_adapter_is_named_and_out_is_as_it_was(rng, wrong, backend):
    x, a, b, adapters = inputs(rng, 9, 2, 5, 3, 7)
    adapters[4] = wrong
    out = np.full((9, 7), 5, np.float32)
    with pytest.raises(IndexError, match=rf"row 4 names adapter {wrong}, and there are 2"):
        lora_bgmv(x, a, b, adapters, out=out, backend=backend)
    assert (out == 5).all()


@pytest.mark.parametrize(
    ("error", "message", "change"),
    [
        (TypeError, "x must be float32", lambda k: k | {"x": k["x"].astype("d")}),
        (ValueError, r"\[adapters, 5, rank\]", lambda k: k | {"a": k["a"][:, :4].copy()}),
        (ValueError, r"b must be float32 \[2, 3, out\]", lambda k: k | {"b": k["b"][:1]}),
        (TypeError, "b must be float32", lambda k: k | {"b": k["b"].astype("f2")}),
        (TypeError, r"adapters must be int32 \[9\]", lambda k: k | {"adapters": k["adapters"].astype("i8")}),
        (ValueError, r"pass out, float32 \[9, 7\]", lambda k: k | {"accumulate": True}),
        (ValueError, "out", lambda k: k | {"b": k["b"][:, :, :5].copy(), "out": k["x"]}),
    ],
)  # fmt: skip
def test_a_wrong_call_says_what_is_wanted(rng, error, message, change):
    x, a, b, adapters = inputs(rng, 9, 2, 5, 3, 7)
    with pytest.raises(error, match=message):
        lora_bgmv(**change({"x": x, "a": a, "b": b, "adapters": adapters}))
