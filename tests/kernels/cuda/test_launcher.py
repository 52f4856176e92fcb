"""The seam: arrays cross once and only from one side, arguments have C types, what is missing is named."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tailrace.kernels import device, dispatch
from tailrace.kernels.cuda import launcher, sources

SCALE = """
extern "C" __global__ void scale(const float* x, float* out, float by, int n) {
  const int i = static_cast<int>(blockIdx.x * blockDim.x + threadIdx.x);
  if (i < n) out[i] = x[i] * by;
}
"""


@pytest.fixture
def scaling(host_device_of: Any) -> Any:
    with launcher.using(host_device_of(SCALE, 0)) as engine:
        yield engine


def scale(x: Any, by: float, out: Any = None) -> Any:
    crossing = launcher.Crossing("scale", x)
    x = crossing.take(x, "x", ("float32",), ("items",), least=1)
    result = crossing.result(out, x.shape)
    args = [x, result, np.float32(by), np.int32(x.size)]
    launcher.launch("scale", "scale", (-(-x.size // 32),), (32,), args)
    return crossing.give(result)


def test_host_arrays_are_copied_in_and_the_result_out(scaling: Any) -> None:
    x = np.arange(33, dtype=np.float32)
    out = np.full(33, np.nan, np.float32)
    assert np.array_equal(scale(x, 2), 2 * x)
    assert scale(x, 3, out) is out
    assert np.array_equal(out, 3 * x)


def test_device_arrays_stay_where_they_are(scaling: Any) -> None:
    x, out = scaling.to_device(np.arange(33, dtype=np.float32)), scaling.empty((33,), np.float32)
    result = scale(x, 2)
    assert type(result) is type(x)
    assert np.array_equal(result.get(), 2 * x.get())
    assert scale(x, 3, out) is out
    assert np.array_equal(out.get(), 3 * x.get())


def test_arrays_of_both_sides_in_one_call_are_refused(scaling: Any) -> None:
    host = np.ones(3, np.float32)
    with pytest.raises(
        ValueError, match="scale: out is on the host, the first on the device: pass all arrays"
    ):
        scale(scaling.to_device(host), 2, np.ones(3, np.float32))
    with pytest.raises(ValueError, match="scale: out is on the device, the first on the host"):
        scale(host, 2, scaling.to_device(host))
    with pytest.raises(ValueError, match="scale: y is on the host, the first on the device"):
        launcher.Crossing("scale", scaling.to_device(host)).take(host, "y", ("float32",), ("items",))


@pytest.mark.parametrize(
    ("given", "error", "said"),
    [
        (
            np.ones(3),
            TypeError,
            r"x must be float32 \[items\], C-contiguous; got float64 \[3\] on the device",
        ),
        (np.ones((3, 2), np.float32), ValueError, r"x must be float32 \[items\].*got float32 \[3, 2\]"),
        (np.ones(0, np.float32), ValueError, "of at least 1 items"),
    ],
)
def test_a_device_array_of_the_wrong_kind_is_told_what_is_wanted(
    scaling: Any, given: np.ndarray, error: type[Exception], said: str
) -> None:
    with pytest.raises(error, match=said):
        scale(scaling.to_device(given), 2)


def test_a_device_array_with_gaps_is_refused(scaling: Any) -> None:
    with pytest.raises(ValueError, match=r"with strides \(8,\): pass cupy.ascontiguousarray\(x\)"):
        scale(scaling.to_device(np.ones(8, np.float32))[::2], 2)


def test_a_number_without_a_c_type_is_refused(scaling: Any) -> None:
    x = scaling.empty((3,), np.float32)
    with pytest.raises(
        TypeError, match=r"argument 3 of scale is 3, a Python int: say its C type, as in np.int32\(3\)"
    ):
        launcher.launch("scale", "scale", (1,), (32,), [x, x, np.float32(1), 3])
    with pytest.raises(TypeError, match="argument 0 of scale is an array of the host"):
        launcher.launch(
            "scale", "scale", (1,), (32,), [np.ones(3, np.float32), x, np.float32(1), np.int32(3)]
        )


def test_a_grid_without_blocks_is_not_launched(scaling: Any) -> None:
    launcher.launch("scale", "scale", (0,), (32,), [])
    assert scaling.launches == []


def test_the_stand_in_is_gone_after_its_block(scaling: Any, host_device_of: Any) -> None:
    with launcher.using(host_device_of(SCALE, 1)) as other:
        assert launcher.engine() is other
        device.require()
    assert launcher.engine() is scaling


def test_headers_are_put_into_the_text_once_and_lines_keep_their_numbers(tmp_path: Path) -> None:
    (tmp_path / "own.cuh").write_text('#include "device.cuh"\nint own;\n')
    (tmp_path / "a.cu").write_text('#include "own.cuh"\n#include "device.cuh"\nint here;\n')
    text = sources.expand(tmp_path / "a.cu")
    assert text.count("using u8 =") == 1
    assert '#line 3 "a.cu"\nint here;' in text
    (tmp_path / "b.cu").write_text('#include "none.cuh"\n')
    with pytest.raises(FileNotFoundError, match="neither beside it nor in kernels/cuda"):
        sources.expand(tmp_path / "b.cu")


class Status(RuntimeError):
    def __init__(self, status: int) -> None:
        super().__init__(f"cudaError {status}\nmore")
        self.status = status


class Fake(device.Host):
    """A machine on which everything is there, but for what a test takes away."""

    def __init__(self, **answers: Any) -> None:
        self.answers = answers

    def _answer(self, name: str, usual: Any) -> Any:
        value = self.answers.get(name, usual)
        if isinstance(value, Exception):
            raise value
        return value

    def driver(self) -> bool:
        return bool(self._answer("driver", True))

    def wheels(self) -> list[str]:
        return list(self._answer("wheels", ["cupy-cuda13x"]))

    def cupy(self) -> Any:
        return self._answer("cupy", object())

    def nvrtc(self) -> None:
        self._answer("nvrtc", None)

    def versions(self) -> tuple[int, int]:
        return 12040, 13020

    def devices(self) -> int:
        return int(self._answer("devices", 1))

    def device(self) -> tuple[str, int]:
        name, capability = self._answer("device", ("NVIDIA H200", 90))
        return str(name), int(capability)


@pytest.mark.parametrize(
    ("answers", "reason", "remedy"),
    [
        ({"driver": False}, "no driver", 'pip install "tailrace[cuda13]" on a host with an NVIDIA GPU'),
        ({"cupy": ImportError("No module named 'cupy'")}, "no toolkit (CuPy: No module", "tailrace[cuda13]"),
        ({"nvrtc": RuntimeError("libnvrtc.so.13\nx")}, "no toolkit (NVRTC, the run-time", "tailrace[cuda13]"),
        ({"nvrtc": RuntimeError("x"), "wheels": ["cupy-cuda12x"]}, "no toolkit (NVRTC", "tailrace[cuda12]"),
        (
            {"devices": Status(35)},
            "driver too old (it speaks CUDA 12.4, CuPy was built for 13.2)",
            "update the driver",
        ),
        ({"devices": Status(100)}, "no device", "CUDA_VISIBLE_DEVICES"),
        ({"devices": 0}, "no device", "CUDA_VISIBLE_DEVICES"),
        ({"devices": Status(999)}, "no device (cudaError 999)", "nvidia-smi"),
        (
            {"device": ("Tesla V100", 70)},
            "device too old (Tesla V100 has compute capability 7.0)",
            "7.5 or newer",
        ),
        (
            {"wheels": ["cupy-cuda12x", "cupy-cuda13x"]},
            "two toolkits",
            "pip uninstall cupy-cuda12x cupy-cuda13x",
        ),
    ],
)
def test_what_is_missing_is_named_with_what_to_type(
    answers: dict[str, Any], reason: str, remedy: str
) -> None:
    found = device.look(Fake(**answers))
    assert found is not None
    assert found.reason.startswith(reason)
    assert remedy in found.remedy
    assert "\n" not in str(found)


def test_a_machine_with_everything_has_no_problem() -> None:
    assert device.look(Fake()) is None


def test_this_machine_answers_without_importing_cupy_unless_there_is_a_driver() -> None:
    before = "cupy" in sys.modules
    found = device.look(device.Host())
    if found is not None and found.reason.startswith("no driver"):
        assert ("cupy" in sys.modules) == before


def test_a_stand_in_is_taken_for_a_device(scaling: Any) -> None:
    x = scaling.to_device(np.ones(3, np.float32))
    assert dispatch.choose("scale", "cuda", np.ones(3)) == "cuda"
    assert dispatch.choose("scale", "auto", x) == "cuda"
