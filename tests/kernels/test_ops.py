"""One body for every op, backend, instruction set, dtype and size: the result is the reference's."""

from __future__ import annotations

import math
import os
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tailrace.kernels import device
from tailrace.kernels.registry import Op, all_ops, relative_l2

SIZES = (1, 2, 31, 33, 100)
OPS = all_ops()


def poisoned(like: np.ndarray) -> np.ndarray:
    """An array of the shape and dtype, full of what no op returns."""
    out = np.empty_like(like)
    out.fill(np.nan if out.dtype.kind == "f" else np.iinfo(out.dtype).max)
    return out


def run_poisoned(op: Op, case: dict[str, Any], backend: str) -> Any:
    """Call once for the shapes, then into poisoned buffers, which must be what is returned."""
    first = op.call(**case, backend=backend)
    if isinstance(first, tuple):
        outs = tuple(poisoned(part) for part in first)
        again = op.call(**case, backend=backend, out=outs)
        assert all(given is back for given, back in zip(outs, again, strict=True))
    else:
        out = poisoned(first)
        again = op.call(**case, backend=backend, out=out)
        assert again is out
    return again


def tolerance(op: Op, dtype: str, backend: str) -> float:
    return op.device_tolerance.get(dtype, op.tolerance[dtype]) if backend == "cuda" else op.tolerance[dtype]


def check(op: Op, case: dict[str, Any], backend: str, dtype: str) -> None:
    error = op.error(run_poisoned(op, case, backend), op.reference(**case))
    allowed = tolerance(op, dtype, backend)
    assert error <= allowed, f"error {error} is above {allowed}"


def case_of(op: Op, size: int, dtype: str) -> dict[str, Any]:
    seed = int(os.environ.get("TAILRACE_TEST_SEED", "0")) + size
    print(f"{op.name} {dtype} n={size}: seed {seed}")
    return op.cases(np.random.default_rng(seed), size, dtype)


EACH = [(name, dtype, size) for name, op in OPS.items() for dtype in op.dtypes for size in SIZES]


@pytest.mark.parametrize(("name", "dtype", "size"), EACH)
def test_the_cpu_agrees_with_the_reference(name: str, dtype: str, size: int, isa: str) -> None:
    op = OPS[name]
    check(op, case_of(op, size, dtype), "cpu", dtype)


@pytest.mark.parametrize(("name", "dtype", "size"), EACH)
def test_the_numpy_backend_is_the_reference(name: str, dtype: str, size: int) -> None:
    op = OPS[name]
    check(op, case_of(op, size, dtype), "numpy", dtype)


ON_DEVICE = [(name, dtype) for name, op in OPS.items() if "cuda" in op.backends for dtype in op.dtypes]


@pytest.mark.parametrize("size", [1, 31, 33])
@pytest.mark.parametrize(("name", "dtype"), ON_DEVICE)
def test_the_cuda_kernels_in_the_shim_agree_with_the_reference(
    name: str, dtype: str, size: int, host_device: Any
) -> None:
    op = OPS[name]
    check(op, case_of(op, size, dtype), "cuda", dtype)
    assert host_device.launches


def _to_device(engine: Any, value: Any) -> Any:
    if isinstance(value, np.ndarray):
        return engine.to_device(value)
    if isinstance(value, (list, tuple)):
        return type(value)(_to_device(engine, part) for part in value)
    return value


@pytest.mark.parametrize(("name", "dtype"), ON_DEVICE)
def test_arrays_of_a_device_are_computed_there_and_stay(name: str, dtype: str, host_device: Any) -> None:
    op = OPS[name]
    case = case_of(op, 33, dtype)
    result = op.call(**{key: _to_device(host_device, value) for key, value in case.items()})
    parts = result if isinstance(result, tuple) else (result,)
    assert all(host_device.view(part) is not None for part in parts)
    found = tuple(part.get() for part in parts)
    error = op.error(found if isinstance(result, tuple) else found[0], op.reference(**case))
    allowed = tolerance(op, dtype, "cuda")
    assert error <= allowed, f"error {error} is above {allowed}"


@pytest.mark.gpu
@pytest.mark.parametrize(("name", "dtype", "size"), EACH)
def test_the_device_agrees_with_the_reference(name: str, dtype: str, size: int) -> None:
    op = OPS[name]
    if "cuda" not in op.backends:
        pytest.skip(f"{name} has no CUDA kernel")
    why = device.problem()
    if why is not None:
        pytest.skip(str(why))
    check(op, case_of(op, size, dtype), "cuda", dtype)


@pytest.mark.parametrize("name", OPS)
def test_an_op_counts_its_bytes_and_operations(name: str) -> None:
    op = OPS[name]
    small, large = (case_of(op, size, op.dtypes[0]) for size in (4, 64))
    assert 0 < op.bytes(**small) < op.bytes(**large)
    assert 0 <= op.flops(**small) <= op.flops(**large)
    assert set(op.tolerance) == set(op.dtypes)
    assert all(op.tolerance[dtype] < wide for dtype, wide in op.device_tolerance.items())


@pytest.mark.parametrize("name", OPS)
def test_the_body_finds_a_wrong_result(name: str) -> None:
    op = OPS[name]
    case = case_of(op, 33, op.dtypes[0])
    truth = op.reference(**case)
    parts = truth if isinstance(truth, tuple) else (truth,)
    wrong = tuple(
        part + (np.abs(part).max() + 1).astype(part.dtype) * (np.arange(part.size).reshape(part.shape) == 0)
        for part in parts
    )
    assert op.error(wrong if isinstance(truth, tuple) else wrong[0], truth) > max(op.tolerance.values())


def test_the_page_of_the_kernels_names_every_op_once_in_its_table() -> None:
    page = Path(__file__).resolve().parents[2] / "kernels" / "README.md"
    listed = re.findall(r"^\| `(\w+)` \|", page.read_text(encoding="utf-8"), re.MULTILINE)
    assert sorted(listed) == sorted(OPS)


def test_nan_is_never_within_a_tolerance() -> None:
    assert math.isnan(relative_l2(np.array([np.nan, 1.0]), np.array([2.0, 1.0])))
    assert relative_l2(np.zeros(3), np.zeros(4)) == math.inf
