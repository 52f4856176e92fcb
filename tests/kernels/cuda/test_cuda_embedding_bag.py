"""embedding_bag's device kernels in the shim: every width, wrong indices, and mutants that must be found."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from tailrace.kernels import embedding_bag
from tailrace.kernels.cuda import launcher
from tailrace.kernels.ops.embedding_bag import reference
from tailrace.kernels.registry import relative_l2

# Rows of one pack, of less than a warp, of more than a warp, and of no whole packs.
DIMS = {"float32": (4, 20, 132, 33), "float16": (8, 64, 264, 31), "int8": (16, 48, 528, 1)}
WIDE = [(dtype, dim) for dtype, dims in DIMS.items() for dim in dims]


def a_case(rng: np.random.Generator, dtype: str, dim: int, bags: int = 11) -> dict[str, Any]:
    table = rng.normal(size=(29, dim)).astype(dtype)
    if dtype == "int8":
        table = rng.integers(-127, 128, (29, dim)).astype(np.int8)
    counts = rng.integers(0, 40, bags)
    counts[3] = 0
    return {
        "table": table,
        "indices": rng.integers(0, 29, int(counts.sum())),
        "offsets": np.concatenate([[0], np.cumsum(counts)]).astype(np.int64),
        "weights": rng.normal(size=int(counts.sum())).astype(np.float32),
        "scales": rng.uniform(0.01, 0.1, 29).astype(np.float32),
    }


@pytest.mark.parametrize("mode", ["sum", "mean"])
@pytest.mark.parametrize(("dtype", "dim"), WIDE)
def test_rows_of_every_width_agree_in_every_order_of_threads(
    rng: np.random.Generator, host_device: Any, dtype: str, dim: int, mode: str
) -> None:
    case = a_case(rng, dtype, dim) | {"mode": mode}
    truth = reference.embedding_bag(**case)
    for seed in range(3):
        host_device.seed = seed
        out = np.full(truth.shape, np.nan, np.float32)
        assert embedding_bag(**case, backend="cuda", out=out) is out
        assert relative_l2(out, truth) < 1e-6
    width = "wide" if dim * np.dtype(dtype).itemsize % 16 == 0 else "narrow"
    assert all(kernel.endswith(width) for kernel in host_device.launches)


@pytest.mark.parametrize("wrong", [-1, 29, 2**40, -(2**63)])
@pytest.mark.parametrize("dim", [8, 7])
def test_an_index_that_is_no_row_makes_its_bag_nan_and_no_other(
    rng: np.random.Generator, host_device: Any, dim: int, wrong: int
) -> None:
    case = a_case(rng, "float32", dim)
    bag = int(np.argmax(np.diff(case["offsets"]) > 8))
    truth = reference.embedding_bag(**case)
    case["indices"][case["offsets"][bag] + 5] = wrong
    result = embedding_bag(**case, backend="cuda")
    assert np.isnan(result[bag]).all()
    others = np.arange(len(result)) != bag
    assert relative_l2(result[others], truth[others]) < 1e-6


@pytest.mark.parametrize("wrong", [-3, 10_000])
def test_offsets_outside_the_items_make_their_bags_nan(
    rng: np.random.Generator, host_device: Any, wrong: int
) -> None:
    case = a_case(rng, "float32", 8)
    case["offsets"][5] = wrong
    result = embedding_bag(**case, backend="cuda")
    assert np.isnan(result).all(axis=1).tolist() == [bag in (4, 5) for bag in range(11)]


def test_arrays_that_do_not_begin_at_a_pack_are_read_narrow(
    rng: np.random.Generator, host_device: Any
) -> None:
    case = a_case(rng, "float32", 8)
    flat = launcher.empty((29 * 8 + 1,), "float32")
    flat._array[1:] = case["table"].ravel()
    there = {name: host_device.to_device(array) for name, array in case.items()}
    there["table"] = flat[1:].reshape(29, 8)
    result = embedding_bag(**there)
    assert relative_l2(result.get(), reference.embedding_bag(**case)) < 1e-6
    assert host_device.launches == ["embedding_bag_f32_narrow"]


@pytest.mark.parametrize(
    ("text", "instead"),
    [
        ("sum[i] += __shfl_xor_sync(kAllLanes, sum[i], step);", ";"),
        ("row >= 0 && row < a.rows", "true"),
        ("take[i] = item < last;", "take[i] = true;"),
    ],
)
def test_a_kernel_without_its_sums_or_its_bounds_is_found(
    rng: np.random.Generator, mutant_of: Any, text: str, instead: str
) -> None:
    case = a_case(rng, "float32", 8)
    case["indices"][-1] = 2**40
    with launcher.using(mutant_of("embedding_bag", text, instead, 0)):
        try:
            result = embedding_bag(**case, backend="cuda")
        except RuntimeError:  # an access outside of every array
            return
    case["indices"][-1] = 0
    assert not relative_l2(result[:-1], reference.embedding_bag(**case)[:-1]) < 1e-6


def test_an_int8_table_without_scales_is_refused_on_the_device_too(
    rng: np.random.Generator, host_device: Any
) -> None:
    case = a_case(rng, "int8", 16) | {"scales": None}
    with pytest.raises(ValueError, match=r"an int8 table needs scales, float32 \[29\]"):
        embedding_bag(**case, backend="cuda")
