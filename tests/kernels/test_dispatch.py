"""Where its arrays lie decides where a call runs; a backend that is named is used or refused."""

from __future__ import annotations

import ctypes
from typing import Any

import numpy as np
import pytest
from tailrace.kernels import BackendUnavailable, costs, device, dispatch, status


class OnDevice:
    """An array on a device, as far as anybody asks."""

    @property
    def __cuda_array_interface__(self) -> dict[str, Any]:
        return {"shape": (2,), "typestr": "<f4", "data": (1, False), "version": 3}

    shape, dtype, nbytes = (2,), np.dtype(np.float32), 8


@pytest.fixture
def works(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(device, "problem", lambda: None)


def test_arrays_of_the_host_stay_on_the_cpu_and_those_of_a_device_there(works: None) -> None:
    assert dispatch.choose("op", "auto", np.zeros(2), None) == "cpu"
    assert dispatch.choose("op", "auto", OnDevice(), None) == "cuda"


def test_a_named_backend_is_used(works: None, monkeypatch: pytest.MonkeyPatch) -> None:
    assert dispatch.choose("op", "numpy", np.zeros(2)) == "numpy"
    assert dispatch.choose("op", "cuda", np.zeros(2)) == "cuda"
    monkeypatch.setenv("TAILRACE_BACKEND", "numpy")
    assert dispatch.choose("op", "auto", np.zeros(2)) == "numpy"
    assert dispatch.choose("op", "cpu", np.zeros(2)) == "cpu"


def test_an_unknown_backend_is_refused_with_those_there_are(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValueError, match="backend must be one of auto, cpu, cuda, numpy; got 'gpu'"):
        dispatch.choose("op", "gpu", np.zeros(2))
    monkeypatch.setenv("TAILRACE_BACKEND", "fast")
    with pytest.raises(ValueError, match=r"TAILRACE_BACKEND must be one of .*; got 'fast'"):
        dispatch.choose("op", "auto", np.zeros(2))


def test_arrays_in_two_places_are_refused_with_the_places() -> None:
    with pytest.raises(
        ValueError, match=r"one place, got float32 \[2\] on the device, float64 \[2\] on the host"
    ):
        dispatch.choose("op", "auto", OnDevice(), np.zeros(2))
    with pytest.raises(ValueError, match="lie on a device, and backend says 'cpu'"):
        dispatch.choose("op", "cpu", OnDevice())


def test_an_op_without_a_kernel_for_the_device_says_so(works: None) -> None:
    with pytest.raises(BackendUnavailable, match="no kernel; op runs on the CPU only"):
        dispatch.choose("op", "cuda", np.zeros(2), offers=("cpu",))


def test_without_a_driver_a_named_cuda_is_refused_and_the_status_says_why(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def missing(name: str, *_: Any, **__: Any) -> None:
        raise OSError(f"{name}: cannot open shared object file")

    monkeypatch.setattr(ctypes, "CDLL", missing)
    device.problem.cache_clear()
    try:
        with pytest.raises(BackendUnavailable, match=r"libcuda.so.1 was not found\); pip install") as caught:
            dispatch.choose("op", "cuda", np.zeros(2))
        assert caught.value.backend == "cuda"
        assert "cuda   off: cuda: no driver" in str(status())
        assert dispatch.choose("op", "auto", np.zeros(2)) == "cpu"
    finally:
        device.problem.cache_clear()


def test_host_arrays_go_to_the_device_only_where_that_was_measured_to_be_quicker(
    works: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    slow_start, slow_bytes = costs.Line(50e-6, 1e-11), costs.Line(1e-6, 1e-9)
    monkeypatch.setitem(costs._known, "op", {"cpu": slow_bytes, "cuda": slow_start})
    assert dispatch.choose("op", "auto", np.zeros(10)) == "cpu"
    assert dispatch.choose("op", "auto", np.zeros(1_000_000)) == "cuda"
    assert dispatch.choose("other", "auto", np.zeros(1_000_000)) == "cpu"


def test_a_line_is_fitted_through_times_that_span_decades() -> None:
    truth = costs.Line(20e-6, 2e-10)
    points = [(size, truth.at(size)) for size in (100, 10_000, 1_000_000, 100_000_000)]
    found = costs.fitted(points)
    assert found.fixed_s == pytest.approx(truth.fixed_s)
    assert found.per_byte_s == pytest.approx(truth.per_byte_s)
    assert costs.fitted([(1, 3e-6), (1000, 2e-6), (2000, 1e-6)]) == costs.Line(2e-6, 0.0)
