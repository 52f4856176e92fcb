"""conv2d_small on a device: strides, padding and pooling at every edge, weights in shared memory or not."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from tailrace.kernels import conv2d_small
from tailrace.kernels.cuda import launcher
from tailrace.kernels.ops.conv2d_small import reference


def case_of(rng: np.random.Generator, channels: int, outputs: int, kernel: tuple[int, int]) -> dict[str, Any]:
    return {
        "x": rng.normal(size=(2, channels, 19, 23)).astype(np.float32),
        "weights": rng.normal(size=(outputs, channels, *kernel)).astype(np.float32),
        "bias": rng.normal(size=outputs).astype(np.float32),
    }


def off(case: dict[str, Any], **options: Any) -> float:
    y = conv2d_small(**case, **options, backend="cuda")
    truth = reference.conv2d_small(**case, **options)
    return float(np.linalg.norm(y - truth) / np.linalg.norm(truth))


@pytest.mark.parametrize("stride", [1, 2, 3])
@pytest.mark.parametrize("padding", [0, 2])
@pytest.mark.parametrize("max_pool", [1, 2, 3])
def test_every_edge_is_the_references(
    stride: int, padding: int, max_pool: int, host_device: Any, rng: np.random.Generator
) -> None:
    case = case_of(rng, 3, 11, (3, 2))
    options: dict[str, Any] = {"stride": stride, "padding": padding, "max_pool": max_pool}
    assert off(case, **options, activation="relu") < 2e-6
    assert host_device.launches == ["conv2d_small_8"]


def test_one_output_channel_has_a_kernel_of_its_own(host_device: Any, rng: np.random.Generator) -> None:
    assert off(case_of(rng, 2, 1, (5, 5)) | {"bias": None}) < 2e-6
    assert host_device.launches == ["conv2d_small_1"]


def test_weights_that_do_not_fit_into_shared_memory_are_read_where_they_lie(
    host_device: Any, rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tailrace.kernels.ops.conv2d_small import launch

    monkeypatch.setattr(launch, "most_shared_bytes", lambda: 100)
    assert off(case_of(rng, 3, 5, (3, 3)), padding=1, max_pool=2) < 2e-6


@pytest.mark.parametrize("seed", range(4))
def test_a_removed_barrier_is_caught_with_every_seed(
    seed: int, mutant_of: Any, rng: np.random.Generator
) -> None:
    case = case_of(rng, 4, 24, (5, 5))
    with launcher.using(mutant_of("conv2d_small", "__syncthreads();", "", seed)):
        assert not off(case) < 2e-6
