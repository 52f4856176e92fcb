"""log_mel's device kernel in the shim: every radix, both paddings, frames that do not fill a block."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from tailrace.kernels import LogMel, log_mel
from tailrace.kernels.cuda import launcher
from tailrace.kernels.ops.log_mel import OP, launch, reference

# n_fft 400 = 4 4 5 5, 200 = 4 5 5 2, 480 = 4 4 5 3 2, 1024 = 4^5, 54 = 3 3 3 2, 1620: one pair a block.
CASES = [
    {"sample_rate": 16000},
    {"sample_rate": 8000, "n_mels": 40},
    {"sample_rate": 16000, "n_fft": 480, "mel": "htk", "norm": None},
    {"sample_rate": 16000, "n_fft": 1024, "pad_mode": "constant"},
    {"sample_rate": 2000, "n_fft": 54, "n_mels": 5, "center": False},
    {"sample_rate": 64000, "n_fft": 1620, "hop_ms": 3.0},
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: str(case.get("n_fft", case["sample_rate"])))
def test_transforms_of_every_radix_agree_in_every_order_of_threads(
    rng: np.random.Generator, host_device: Any, case: dict[str, Any]
) -> None:
    x = rng.normal(size=(2, case["sample_rate"] // 10 + 37)).astype(np.float32)
    truth = reference.log_mel(x, **case)
    for seed in range(3):
        host_device.seed = seed
        out = np.full(truth.shape, np.nan, np.float32)
        assert log_mel(x, **case, backend="cuda", out=out) is out
        assert OP.error(out, truth) < 1e-5


def test_the_tables_of_a_transform_are_made_once(rng: np.random.Generator, host_device: Any) -> None:
    launch._tables.cache_clear()
    bound = LogMel(sample_rate=8000, n_mels=40)
    x = rng.normal(size=900).astype(np.float32)
    first = bound(host_device.to_device(x))
    again = bound(host_device.to_device(x))
    assert host_device.view(first) is first
    assert np.array_equal(first.get(), again.get())
    assert OP.error(first.get(), bound(x)) < 1e-4
    assert launch._tables.cache_info().misses == 1


def test_a_sample_that_is_nan_makes_nan_of_its_frames_and_at_most_of_those_transformed_with_them(
    rng: np.random.Generator, host_device: Any
) -> None:
    x = rng.normal(size=16000).astype(np.float32)
    x[8000] = np.nan
    truth = np.isnan(log_mel(x, sample_rate=16000, backend="cpu")).any(axis=0)
    found = np.isnan(log_mel(x, sample_rate=16000, backend="cuda")).any(axis=0)
    assert truth.any()
    pairs = np.arange(len(truth)) // 2
    np.testing.assert_array_equal(found, np.isin(pairs, pairs[truth]))


def test_silence_is_the_floor(host_device: Any) -> None:
    result = log_mel(np.zeros(800, np.float32), sample_rate=8000, n_mels=40, floor=1e-7, backend="cuda")
    assert np.allclose(result, -7)


def test_what_the_device_does_not_take_is_refused(host_device: Any) -> None:
    with pytest.raises(ValueError, match="on the device n_fft is at most 6144; got 6250"):
        log_mel(np.zeros(8000, np.float32), sample_rate=8000, n_fft=6250, backend="cuda")
    with pytest.raises(ValueError, match="x must have at least 101 samples; got 60"):
        log_mel(np.zeros(60, np.float32), sample_rate=8000, n_mels=40, backend="cuda")


@pytest.mark.parametrize(
    ("text", "instead", "nth"),
    [
        ("__syncthreads();", "", 0),
        ("__syncthreads();", "", 1),
        ("__syncthreads();", "", 2),
        ("(k == 0 ? 0 : n - k)", "(n - k - 1)", 0),
        ("kSin2 * c - kSin1 * d", "kSin2 * c + kSin1 * d", 0),
        ("if (frame >= frames) continue;", "", 0),
    ],
)
def test_a_mutant_is_found(
    rng: np.random.Generator, mutant_of: Any, text: str, instead: str, nth: int
) -> None:
    x = rng.normal(size=(2, 700)).astype(np.float32)
    truth = reference.log_mel(x, sample_rate=8000, n_mels=20)

    def agrees(seed: int) -> bool:
        with launcher.using(mutant_of("log_mel", text, instead, seed, nth)):
            try:
                return OP.error(log_mel(x, sample_rate=8000, n_mels=20, backend="cuda"), truth) < 1e-5
            except RuntimeError:
                return False

    assert not all(agrees(seed) for seed in range(8))
