"""The networks on a device, as far as a machine without one can tell: launches, barriers, errors."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from tailrace.kernels import mlp_forward, quantize_int4, quantize_int8, to_bfloat16
from tailrace.kernels.cuda import launcher
from tailrace.kernels.ops.mlp_forward import reference

MAKERS: dict[str, Callable[[np.ndarray], Any]] = {
    "float32": lambda w: w,
    "float16": lambda w: w.astype(np.float16),
    "bfloat16": to_bfloat16,
    "int8": quantize_int8,
    "int4": quantize_int4,
}
WITHIN = {"float32": 2e-6, "float16": 2e-3, "bfloat16": 1e-2, "int8": 1e-3, "int4": 2e-6}


def network(rng: np.random.Generator, widths: tuple[int, ...], *kinds: str) -> tuple[list[Any], list[Any]]:
    weights = [
        MAKERS[kinds[i % len(kinds)]]((rng.normal(size=(a, b)) / np.sqrt(a)).astype(np.float32))
        for i, (a, b) in enumerate(pairwise(widths))
    ]
    return weights, [rng.normal(size=b).astype(np.float32) for b in widths[1:]]


def error(x: np.ndarray, weights: Any, biases: Any, activation: str = "relu") -> float:
    y = mlp_forward(x, weights, biases, activation=activation, backend="cuda")
    truth = reference.mlp_forward(x, weights, biases, activation=activation)
    return float(np.linalg.norm(y - truth) / np.linalg.norm(truth))


@pytest.mark.parametrize("kind", MAKERS)
def test_a_network_of_one_kind_is_one_launch(kind: str, host_device: Any, rng: np.random.Generator) -> None:
    weights, biases = network(rng, (48, 96, 64, 80, 16), kind)
    assert error(rng.normal(size=(20, 48)).astype(np.float32), weights, biases) < WITHIN[kind]
    assert host_device.launches == [f"mlp_{kind}_16"]


@pytest.mark.parametrize("kind", MAKERS)
def test_many_rows_take_blocks_of_64(kind: str, host_device: Any, rng: np.random.Generator) -> None:
    weights, biases = network(rng, (40, 72, 24), kind)
    assert error(rng.normal(size=(150, 40)).astype(np.float32), weights, biases) < WITHIN[kind]
    assert host_device.launches == [f"mlp_{kind}_64"]


def test_kinds_that_differ_take_a_launch_each(host_device: Any, rng: np.random.Generator) -> None:
    weights, biases = network(rng, (32, 48, 32, 16), "float32", "int8")
    assert error(rng.normal(size=(5, 32)).astype(np.float32), weights, biases, "tanh") < 1e-3
    assert host_device.launches == ["mlp_float32_16", "mlp_int8_16", "mlp_float32_16"]


def test_more_layers_than_one_launch_takes(host_device: Any, rng: np.random.Generator) -> None:
    weights, biases = network(rng, (8,) * 19, "float32")
    assert error(rng.normal(size=(3, 8)).astype(np.float32), weights, biases, "gelu") < 1e-5
    assert host_device.launches == ["mlp_float32_16"] * 2


def test_what_does_not_fit_into_shared_memory_takes_more_launches(
    host_device: Any, rng: np.random.Generator
) -> None:
    weights, biases = network(rng, (9, 2000, 2000, 11), "float32")
    weights[1][:] = 0  # the middle would take the shim long to check by values
    weights[1][:11, :11] = np.eye(11)
    assert error(rng.normal(size=(2, 9)).astype(np.float32), weights, biases, "silu") < WITHIN["float32"]
    assert host_device.launches == ["mlp_float32_16"] * 2


@pytest.mark.parametrize("kind", ["float32", "int8"])
def test_a_small_old_device_gets_launches_that_fit(
    kind: str, host_device: Any, rng: np.random.Generator
) -> None:
    host_device.arch = 75
    weights, biases = network(rng, (16, 400, 400, 4), kind)
    assert error(rng.normal(size=(3, 16)).astype(np.float32), weights, biases) < WITHIN[kind]
    assert len(host_device.launches) == 2


@pytest.mark.parametrize("kind", ["float16", "bfloat16"])
def test_the_path_of_devices_without_this_tensor_core_agrees(
    kind: str, mutant_of: Any, rng: np.random.Generator
) -> None:
    plain = mutant_of("mlp_forward", "#define HAS_MMA 1", "#define HAS_MMA 0", 0)
    weights, biases = network(rng, (33, 70, 9), kind)
    with launcher.using(plain):
        assert error(rng.normal(size=(17, 33)).astype(np.float32), weights, biases) < WITHIN[kind]


@pytest.mark.parametrize("kind", MAKERS)
@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_row_with_nan_is_nan_and_the_others_are_not(
    kind: str, bad: float, host_device: Any, rng: np.random.Generator
) -> None:
    weights, biases = network(rng, (20, 12, 5), kind)
    x = rng.normal(size=(4, 20)).astype(np.float32)
    x[2, 7] = bad
    y = mlp_forward(x, weights, biases, activation="tanh", backend="cuda")
    assert np.isfinite(y[[0, 1, 3]]).all()
    assert kind != "int8" or np.isnan(y[2]).all()
    assert np.isinf(bad) or np.isnan(y[2]).all()


def test_weights_that_are_no_arrays_are_copied_once(
    host_device: Any, rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    weights, biases = network(rng, (16, 16, 16), "int8")
    x = rng.normal(size=(2, 16)).astype(np.float32)
    copied: list[tuple[int, ...]] = []
    before = host_device.to_device
    monkeypatch.setattr(host_device, "to_device", lambda a: copied.append(a.shape) or before(a))
    for _ in range(2):
        mlp_forward(x, weights, biases, backend="cuda")
    assert copied.count((16, 16)) == 2
    assert copied.count((2, 16)) == 2


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(("kind", "nth"), [("float32", 0), ("float32", 1), ("float16", 2), ("float16", 3)])
def test_a_barrier_removed_from_a_tile_is_caught_with_every_seed(
    kind: str, nth: int, seed: int, mutant_of: Any, rng: np.random.Generator
) -> None:
    weights, biases = network(rng, (96, 128, 80, 40), kind)
    x = rng.normal(size=(32, 96)).astype(np.float32)
    with launcher.using(mutant_of("mlp_forward", "__syncthreads();", "", seed, nth)):
        assert not error(x, weights, biases) < WITHIN[kind]


@pytest.mark.parametrize("seed", range(3))
def test_a_barrier_removed_before_rows_are_codes_is_caught_with_every_seed(
    seed: int, mutant_of: Any, rng: np.random.Generator
) -> None:
    weights, biases = network(rng, (64, 32), "int8")
    x = rng.normal(size=(32, 64)).astype(np.float32)
    with launcher.using(mutant_of("mlp_forward", "__syncthreads();", "", seed, 4)):
        assert not error(x, weights, biases) < WITHIN["int8"]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda w, b: (w[:1], b), "one weight and one bias"),
        (
            lambda w, b: ([w[0], w[0]], [b[0], None]),
            r"weights\[1\] must take the 12 outputs of weights\[0\]; it takes 20",
        ),
        (lambda w, b: ([w[0].astype(np.float64), w[1]], b), r"weights\[0\] must be float32 or float16"),
        (lambda w, b: (w, [b[0][:-1], b[1]]), r"biases\[0\] must be float32 \[12\]"),
    ],
)
def test_layers_that_do_not_fit_are_told_so(
    change: Any, said: str, host_device: Any, rng: np.random.Generator
) -> None:
    weights, biases = change(*network(rng, (20, 12, 5), "float32"))
    with pytest.raises((TypeError, ValueError), match=said):
        mlp_forward(rng.normal(size=(4, 20)).astype(np.float32), weights, biases, backend="cuda")
