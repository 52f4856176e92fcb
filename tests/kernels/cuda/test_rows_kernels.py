"""Rows with a matrix of their own on a device: whose is whose, what is nobody's, and no barrier too few."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from tailrace.kernels import lora_bgmv, mlp_forward_grouped
from tailrace.kernels.cuda import launcher
from tailrace.kernels.ops.lora_bgmv import reference as lora_reference
from tailrace.kernels.ops.mlp_forward_grouped import reference as grouped_reference

SEEDS = range(4)


def networks(
    rng: np.random.Generator, agents: int, *widths: int
) -> tuple[list[np.ndarray], list[np.ndarray]]:
    pairs = list(pairwise(widths))
    weights = [(rng.normal(size=(agents, a, b)) / np.sqrt(a)).astype(np.float32) for a, b in pairs]
    return weights, [rng.normal(size=(agents, b)).astype(np.float32) for _, b in pairs]


def off(y: np.ndarray, truth: np.ndarray) -> float:
    return float(np.linalg.norm(y - truth) / np.linalg.norm(truth))


@pytest.mark.parametrize("widths", [(3, 2), (64, 96, 40), (20, 300, 7), (128, 1040)])
@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_every_row_goes_through_its_own_agents_layers(
    widths: tuple[int, ...], dtype: str, host_device: Any, rng: np.random.Generator
) -> None:
    weights, biases = networks(rng, 5, *widths)
    weights = [w.astype(dtype) for w in weights]
    x, agents = rng.normal(size=(9, widths[0])).astype(np.float32), rng.integers(0, 5, 9).astype(np.int32)
    y = mlp_forward_grouped(x, weights, biases, agents=agents, activation="tanh", backend="cuda")
    truth = grouped_reference.mlp_forward_grouped(x, weights, biases, agents=agents, activation="tanh")
    assert off(y, truth) < 2e-6
    assert host_device.launches == [f"grouped_{dtype}"]


def test_a_row_of_no_agent_is_nan_and_the_others_are_not(host_device: Any, rng: np.random.Generator) -> None:
    weights, biases = networks(rng, 3, 8, 4)
    x = rng.normal(size=(4, 8)).astype(np.float32)
    y = mlp_forward_grouped(x, weights, biases, agents=np.array([0, 3, -1, 2], np.int32), backend="cuda")
    assert np.isnan(y[1:3]).all()
    assert np.isfinite(y[[0, 3]]).all()


def test_long_rows_take_more_launches(host_device: Any, rng: np.random.Generator) -> None:
    host_device.arch = 75
    weights, biases = networks(rng, 1, 8, 7000, 2)
    x = rng.normal(size=(1, 8)).astype(np.float32)
    with pytest.raises(ValueError, match="a row of 7000 inputs does not fit"):
        mlp_forward_grouped(x, weights, biases, backend="cuda")
    weights, biases = networks(rng, 1, *(2,) * 20)
    truth = grouped_reference.mlp_forward_grouped(x[:, :2], weights, biases)
    host_device.launches.clear()
    assert (
        off(mlp_forward_grouped(np.ascontiguousarray(x[:, :2]), weights, biases, backend="cuda"), truth)
        < 1e-5
    )
    assert host_device.launches == ["grouped_float32"] * 2


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("nth", range(3))
def test_a_barrier_removed_from_a_row_is_caught_with_every_seed(
    nth: int, seed: int, mutant_of: Any, rng: np.random.Generator
) -> None:
    weights, biases = networks(rng, 4, 160, 128, 1100)
    x = rng.normal(size=(4, 160)).astype(np.float32)
    truth = grouped_reference.mlp_forward_grouped(x, weights, biases)
    with launcher.using(mutant_of("mlp_forward_grouped", "__syncthreads();", "", seed, nth)):
        y = mlp_forward_grouped(x, weights, biases, backend="cuda")
    assert not off(y, truth) < 2e-6


def adapters_of(rng: np.random.Generator, hidden: int, rank: int, out: int, dtype: str) -> dict[str, Any]:
    return {
        "x": rng.normal(size=(6, hidden)).astype(np.float32),
        "a": rng.normal(size=(3, hidden, rank)).astype(dtype),
        "b": rng.normal(size=(3, rank, out)).astype(dtype),
        "adapters": np.array([2, -1, 0, 0, 1, 2], np.int32),
    }


@pytest.mark.parametrize("sizes", [(1, 1, 1), (65, 8, 130), (256, 16, 1100)])
@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_an_adapter_is_added_to_what_out_holds(
    sizes: tuple[int, int, int], dtype: str, host_device: Any, rng: np.random.Generator
) -> None:
    case = adapters_of(rng, *sizes, dtype)
    held = rng.normal(size=(6, sizes[2])).astype(np.float32)
    truth = lora_reference.lora_bgmv(**case, scale=0.25, accumulate=True, out=held)
    out = held.copy()
    assert lora_bgmv(**case, scale=0.25, accumulate=True, out=out, backend="cuda") is out
    assert off(out, truth) < 2e-6
    assert np.array_equal(out[1], held[1])
    there = {key: host_device.to_device(value) for key, value in case.items()}
    onto = host_device.to_device(held)
    assert lora_bgmv(**there, scale=0.25, accumulate=True, out=onto) is onto
    assert off(onto.get(), truth) < 2e-6
    assert host_device.launches == [f"lora_bgmv_{dtype}"] * 2


def test_a_row_of_no_adapter_is_nan_but_minus_one_is_zeros(
    host_device: Any, rng: np.random.Generator
) -> None:
    case = adapters_of(rng, 8, 2, 5, "float32") | {"adapters": np.array([0, 3, -1, -2, 1, 2], np.int32)}
    there = {key: host_device.to_device(value) for key, value in case.items()}
    y = lora_bgmv(**there).get()
    assert np.isnan(y[[1, 3]]).all()
    assert (y[2] == 0).all()
    assert np.isfinite(y[[0, 4, 5]]).all()


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("nth", range(3))
def test_a_barrier_removed_from_an_adapter_is_caught_with_every_seed(
    nth: int, seed: int, mutant_of: Any, rng: np.random.Generator
) -> None:
    case = adapters_of(rng, 160, 128, 1100, "float32")
    with launcher.using(mutant_of("lora_bgmv", "__syncthreads();", "", seed, nth)):
        y = lora_bgmv(**case, backend="cuda")
    assert not off(y, lora_reference.lora_bgmv(**case)) < 2e-6
