"""sample_tokens' device kernel in the shim: the very token that the CPU draws, in every order of threads."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from tailrace.kernels import Sampler, sample_tokens
from tailrace.kernels.cuda import launcher
from tailrace.kernels.ops.sample_tokens import reference

LIMITS = [
    {},
    {"temperature": 0},
    {"temperature": 0.7, "top_k": 5},
    {"temperature": 1.3, "top_p": 0.9},
    {"top_k": 40, "top_p": 0.8},
    {"temperature": 0.9, "min_p": 0.05},
    {"top_k": 50, "top_p": 0.95, "min_p": 0.02},
    {"top_k": 3000, "top_p": 0.5},
    {"top_p": 5e-324},
    {"temperature": 1e-30, "top_p": 0.5},
]


def rows_of(rng: np.random.Generator, tokens: int, seed: int) -> Any:
    logits = rng.normal(scale=3, size=(3, tokens)).astype(np.float32)
    logits[1, rng.random(tokens) < 0.3] = -np.inf  # ruled out
    logits[1, tokens // 2] = 0
    return np.round(logits) if seed == 2 else logits  # the last one: many equal logits


@pytest.mark.parametrize("limits", LIMITS, ids=str)
@pytest.mark.parametrize("tokens", [1, 31, 33, 1000, 2500])
def test_the_token_is_the_cpus_in_every_order_of_threads(
    rng: np.random.Generator, host_device: Any, tokens: int, limits: dict[str, Any]
) -> None:
    for seed in range(3):
        host_device.seed = seed
        case = {"logits": rows_of(rng, tokens, seed), "seed": 2**63 + seed, "step": 2**40 + 7, **limits}
        out = np.full(3, -7, np.int32)
        assert sample_tokens(**case, backend="cuda", out=out) is out
        assert np.array_equal(out, sample_tokens(**case, backend="cpu"))
        assert np.array_equal(out, reference.sample_tokens(**case))


def test_every_row_may_have_its_own_parameters_on_either_side(
    rng: np.random.Generator, host_device: Any
) -> None:
    logits = rng.normal(scale=2, size=(4, 300)).astype(np.float32)
    case: dict[str, Any] = {
        "temperature": np.array([0.0, 0.5, 1.0, 2.0]),
        "top_k": np.array([0, 7, 0, 100]),
        "top_p": np.array([1.0, 1.0, 0.7, 0.9]),
        "min_p": np.array([0.0, 0.1, 0.0, 0.01]),
        "seed": np.arange(4, dtype=np.uint64),
        "step": np.arange(9, 13),
    }
    want = reference.sample_tokens(logits, **case)
    assert np.array_equal(sample_tokens(logits, **case, backend="cuda"), want)
    there = {name: host_device.to_device(np.asarray(value)) for name, value in case.items()}
    result = sample_tokens(host_device.to_device(logits), **there)
    assert np.array_equal(result.get(), want)


def test_a_sampler_draws_from_logits_of_the_device_there(rng: np.random.Generator, host_device: Any) -> None:
    logits = rng.normal(size=(3, 50)).astype(np.float32)
    sampler = Sampler(50, top_k=9, temperature=np.array([0.5, 1.0, 2.0]), seed=11)
    there = sampler(host_device.to_device(logits), step=5)
    assert host_device.view(there) is there
    assert np.array_equal(there.get(), sampler(logits, step=5))
    with pytest.raises(ValueError, match=r"logits must be float32 \[3, 50\]"):
        sampler(host_device.to_device(logits[:, :49]))


def test_rows_that_cannot_be_drawn_from_give_minus_one(rng: np.random.Generator, host_device: Any) -> None:
    logits = rng.normal(size=(5, 70)).astype(np.float32)
    want = sample_tokens(logits, top_p=0.9, seed=3)
    logits[0, 69], logits[1, 3], logits[3] = np.nan, np.inf, -np.inf
    found = sample_tokens(logits, top_p=0.9, seed=3, backend="cuda")
    assert found.tolist() == [-1, -1, want[2], -1, want[4]]


def test_two_million_tokens_are_drawn_from_by_wider_stretches(
    rng: np.random.Generator, host_device: Any
) -> None:
    logits = np.full((1, 2**21 + 5), -np.inf, np.float32)
    logits[0, [7, 2**20 + 1100, 2**21 + 3]] = 0
    found = [int(sample_tokens(logits, seed=seed, backend="cuda")[0]) for seed in (1, 2)]
    assert found == [int(sample_tokens(logits, seed=seed)[0]) for seed in (1, 2)] == [2**21 + 3, 2**20 + 1100]


@pytest.mark.parametrize(
    ("text", "instead", "nth"),
    [
        ("__syncthreads();", "", 0),
        ("__syncthreads();", "", 1),
        ("__syncthreads();", "", 2),
        ("0x9e3779b9u", "0x9e3779b8u", 0),
        ("Row::key(logit) == cut.key", "false", 0),
        ("(target + each - 1) / each", "target / each", 0),
    ],
)
def test_a_mutant_is_found(
    rng: np.random.Generator, mutant_of: Any, text: str, instead: str, nth: int
) -> None:
    logits = np.round(rng.normal(scale=3, size=(6, 1500))).astype(np.float32)

    def agrees(seed: int, limits: dict[str, Any]) -> bool:
        case = {"logits": logits, "seed": seed, **limits}
        with launcher.using(mutant_of("sample_tokens", text, instead, seed, nth)):
            try:
                found = sample_tokens(**case, backend="cuda")
            except RuntimeError:
                return False
        return np.array_equal(found, reference.sample_tokens(**case))

    assert not all(agrees(seed, limits) for seed in range(4) for limits in ({"top_k": 20}, {"top_p": 0.6}))


def test_more_tokens_than_a_row_may_have_are_refused(host_device: Any) -> None:
    with pytest.raises(ValueError, match="logits must have 1 to 4194304 tokens; got 4194305"):
        sample_tokens(np.zeros((1, 2**22 + 1), np.float32), seed=1, backend="cuda")
