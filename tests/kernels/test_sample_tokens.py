"""A token is drawn with the probability of its logit, among exactly those kept, the same everywhere."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tailrace.kernels import Sampler, _cpu, force_isa, sample_tokens
from tailrace.kernels.ops.sample_tokens import kept_tokens, reference

LEVELS = ["baseline", "avx2", "avx512", "vnni"]
HERE = LEVELS[: LEVELS.index(_cpu.best_isa()) + 1]


def logits_of(kind: str, rng: np.random.Generator, rows: int, tokens: int) -> np.ndarray:
    made = {
        "normal": lambda: rng.normal(scale=3, size=(rows, tokens)),
        "few values": lambda: rng.integers(-3, 4, (rows, tokens)),
        "close together": lambda: rng.uniform(0, 0.01, (rows, tokens)),
        "far apart": lambda: rng.normal(scale=1e4, size=(rows, tokens)),
        "halves": lambda: rng.normal(scale=4, size=(rows, tokens)).astype(np.float16),
        "mostly ruled out": lambda: np.where(
            rng.random((rows, tokens)) < 0.9, -np.inf, rng.normal(size=(rows, tokens))
        ),
        "equal": lambda: np.full((rows, tokens), rng.normal()),
    }[kind]().astype(np.float32)  # fmt: skip
    made[:, rng.integers(tokens)] = 1  # at least one that is finite
    return made


KINDS = ("normal", "few values", "close together", "far apart", "halves", "mostly ruled out", "equal")


def same_kept(logits: np.ndarray, **limits: Any) -> None:
    """What is kept lies between what the reference keeps for a top_p 1e-5 below and one 1e-5 above."""
    found = kept_tokens(logits, **limits)
    p = limits.pop("top_p", 1.0)
    least = reference.kept_tokens(logits, **limits, top_p=p * (1 - 1e-5))
    most = reference.kept_tokens(logits, **limits, top_p=min(p * (1 + 1e-5), 1.0))
    weights = np.exp((logits.astype(np.float64) - logits.max(axis=1, keepdims=True)) / limits["temperature"])
    sure = weights > 2.0**-40.9  # the others are about to vanish
    assert not (least & ~found & sure).any()
    assert not (found & ~most & sure).any()
    assert not (found & (weights < 2.0**-41.1)).any()


@settings(deadline=None, max_examples=200)
@given(
    kind=st.sampled_from(KINDS),
    tokens=st.integers(1, 1500),
    temperature=st.sampled_from([0.05, 0.7, 1.0, 3.0]),
    top_k=st.sampled_from([0, 1, 2, 7, 50, 1000]),
    top_p=st.one_of(st.just(1.0), st.floats(1e-6, 1.0)),
    min_p=st.sampled_from([0.0, 1e-9, 0.01, 0.3, 1.0]),
    seed=st.integers(0, 2**31),
)
def test_what_is_kept_is_what_sorting_keeps(kind, tokens, temperature, top_k, top_p, min_p, seed) -> None:
    logits = logits_of(kind, np.random.default_rng(seed), 3, tokens)
    same_kept(logits, temperature=temperature, top_k=top_k, top_p=top_p, min_p=min_p)


@settings(deadline=None, max_examples=100)
@given(
    kind=st.sampled_from(KINDS),
    tokens=st.integers(1, 1500),
    top_k=st.integers(0, 60),
    top_p=st.sampled_from([0.3, 0.9, 0.999, 1.0]),
    min_p=st.sampled_from([0.0, 0.05]),
    seed=st.integers(0, 2**31),
)
def test_every_level_keeps_and_draws_the_same(kind, tokens, top_k, top_p, min_p, seed) -> None:
    logits = logits_of(kind, np.random.default_rng(seed), 5, tokens)
    limits = {"temperature": 0.9, "top_k": top_k, "top_p": top_p, "min_p": min_p}
    results = []
    for level in HERE:
        with force_isa(level):
            drawn = [sample_tokens(logits, **limits, seed=seed, step=step) for step in range(4)]
            results.append((kept_tokens(logits, **limits), np.array(drawn)))
    for kept, drawn in results[1:]:
        np.testing.assert_array_equal(kept, results[0][0])
        np.testing.assert_array_equal(drawn, results[0][1])
    for tokens_of_step in results[0][1]:
        assert results[0][0][np.arange(5), tokens_of_step].all()


@pytest.mark.parametrize("kind", KINDS)
def test_the_draws_are_the_references(kind: str, isa: str, rng: np.random.Generator) -> None:
    logits = logits_of(kind, rng, 200, 333)
    for limits in ({}, {"top_p": 0.8, "top_k": 100}, {"min_p": 0.01, "temperature": 0.5}):
        for step in range(5):
            found = sample_tokens(logits, **limits, seed=11, step=step)  # type: ignore[arg-type]
            truth = reference.sample_tokens(logits, **limits, seed=11, step=step)  # type: ignore[arg-type]
            # A random share within 1e-6 of the edge between two tokens may go to either.
            assert np.count_nonzero(found != truth) <= 1


def weights_of(logits: np.ndarray, temperature: float) -> np.ndarray:
    out = np.empty(len(logits), np.int64)
    _cpu.token_weights(logits, temperature, out)
    return out


@pytest.mark.parametrize("temperature", [0.1, 0.7, 1.0, 5.0])
def test_weights_are_the_same_bits_at_every_level_and_near_the_truth(
    temperature: float, rng: np.random.Generator
) -> None:
    logits = (-temperature * rng.uniform(0, 30, 300_000)).astype(np.float32)
    logits[:1000] = np.linspace(0, -temperature, 1000)
    logits[17], logits[-3:] = 0, (-np.inf, -3e38, -1e-30)
    exponents = logits.astype(np.float64) / temperature
    truth = np.exp(exponents) * 2.0**40
    # 1e-7 of the polynomial, two roundings of its argument, the rounding to a whole number
    allowed = truth * (1.2e-7 - 1.3e-7 * np.log2(np.e) * np.maximum(exponents, -50)) + 0.5001
    of_level = []
    for level in HERE:
        with force_isa(level):
            of_level.append(weights_of(logits, temperature))
        assert (np.abs(of_level[-1] - truth) <= allowed).all()
        np.testing.assert_array_equal(of_level[-1], of_level[0])
    assert of_level[0][[17, -1]].tolist() == [2**40, 2**40]
    assert of_level[0][[-3, -2]].tolist() == [0, 0]


def test_equal_probabilities_are_kept_from_the_lower_index_on(isa: str) -> None:
    equal = np.zeros((1, 10), np.float32)
    for kept, limits in (
        (3, {"top_k": 3}),
        (1, {"top_p": 0.1}),
        (2, {"top_p": 0.11}),
        (9, {"top_p": 0.9}),
        (10, {"min_p": 1}),
    ):
        np.testing.assert_array_equal(kept_tokens(equal, **limits)[0], np.arange(10) < kept)  # type: ignore[arg-type]
    steps = np.array([[0, 2, 1, 2, 0, 2]], np.float32)
    np.testing.assert_array_equal(np.flatnonzero(kept_tokens(steps, top_k=2)), [1, 3])
    np.testing.assert_array_equal(np.flatnonzero(kept_tokens(steps, top_k=4)), [1, 2, 3, 5])
    np.testing.assert_array_equal(np.flatnonzero(kept_tokens(steps, top_k=5)), [0, 1, 2, 3, 5])


def test_top_p_counts_what_top_k_has_left_and_min_p_what_both_have() -> None:
    probabilities = np.array([[0.4, 0.3, 0.2, 0.1]])
    logits = np.log(probabilities).astype(np.float32)
    assert kept_tokens(logits, top_p=0.6).sum() == 2
    assert kept_tokens(logits, top_p=0.55, top_k=2).sum() == 1  # 0.4 of 0.7 is more than 0.55
    assert kept_tokens(logits, min_p=0.49).sum() == 3
    assert kept_tokens(logits, min_p=0.49, top_k=2).sum() == 2


def test_at_temperature_zero_the_likeliest_is_taken_and_of_equals_the_first(
    isa: str, rng: np.random.Generator
) -> None:
    for tokens in (1, 3, 17, 64, 1000):
        logits = rng.integers(-3, 4, (20, tokens)).astype(np.float32)
        np.testing.assert_array_equal(sample_tokens(logits, temperature=0, seed=1), logits.argmax(axis=1))
        np.testing.assert_array_equal(kept_tokens(logits, temperature=0).sum(axis=1), 1)


def test_each_row_can_have_its_own_parameters(isa: str, rng: np.random.Generator) -> None:
    logits = logits_of("normal", rng, 6, 500)
    each: dict[str, np.ndarray] = {
        "temperature": np.array([0, 0.5, 1, 1, 2, 1]),
        "top_k": np.array([0, 3, 0, 500, 9, 1]),
        "top_p": np.array([1, 0.5, 0.9, 0.2, 1, 1]),
        "min_p": np.array([0, 0, 0.1, 0, 0.5, 0]),
        "seed": np.array([1, 2, 2**64 - 1, 4, 5, 6], np.uint64),
        "step": np.array([9, 8, 7, 6, 5, 2**63], np.uint64),
    }
    found = sample_tokens(logits, **each)
    np.testing.assert_array_equal(found, reference.sample_tokens(logits, **each))
    np.testing.assert_array_equal(found, sample_tokens(logits, **each, backend="numpy"))
    step = each.pop("step")
    np.testing.assert_array_equal(found, Sampler(500, **each)(logits, step=step))


def test_a_row_is_drawn_the_same_beside_other_rows(isa: str, rng: np.random.Generator) -> None:
    logits = logits_of("normal", rng, 40, 700)
    every = sample_tokens(logits, top_p=0.9, seed=5, step=6)
    np.testing.assert_array_equal(sample_tokens(logits[:7], top_p=0.9, seed=5, step=6), every[:7])
    assert len({tuple(sample_tokens(logits, seed=5, step=step)) for step in range(20)}) == 20


def chi_square(counts: np.ndarray, probabilities: np.ndarray) -> float:
    expected = probabilities * counts.sum()
    return float(((counts - expected) ** 2 / expected).sum())


def critical(freedom: int) -> float:
    """What a chi-square of this freedom exceeds once in a thousand times (Wilson and Hilferty, 1931)."""
    share = 2 / (9 * freedom)
    return float(freedom * (1 - share + 3.0902 * np.sqrt(share)) ** 3)


def test_a_million_draws_have_the_probabilities_of_the_logits() -> None:
    seed = 20_261_122
    print(f"seed {seed}")
    logits = np.random.default_rng(seed).normal(scale=1.5, size=(1, 60)).astype(np.float32)
    limits = {"temperature": 0.8, "top_k": 40, "top_p": 0.97, "min_p": 0.005}
    rows = np.repeat(logits, 10_000, axis=0)
    sampler = Sampler(60, **limits, seed=seed)
    drawn = np.concatenate([sampler(rows, step=step) for step in range(100)])
    kept = reference.kept_tokens(logits, **limits)[0]
    weights = np.exp(logits[0].astype(np.float64) / limits["temperature"]) * kept
    counts = np.bincount(drawn, minlength=60)
    assert counts.sum() == 1_000_000
    assert 5 < kept.sum() < 40
    assert not counts[~kept].any()
    probabilities = weights[kept] / weights.sum()
    found, limit = chi_square(counts[kept], probabilities), critical(int(kept.sum()) - 1)
    assert found < limit
    skewed = probabilities * np.where(np.arange(len(probabilities)) % 2, 1.01, 0.99)
    assert chi_square(counts[kept], skewed / skewed.sum()) > limit


def test_draws_of_neighbouring_rows_steps_and_seeds_are_independent() -> None:
    logits = np.zeros((1000, 4), np.float32)
    draws = [sample_tokens(logits, seed=seed, step=step) for seed in (0, 1) for step in (0, 1, 2**32)]
    pairs = [(a[:-1], a[1:]) for a in draws] + list(pairwise(draws))
    for first, second in pairs:
        counts = np.bincount(4 * first + second, minlength=16)
        assert chi_square(counts, np.full(16, 1 / 16)) < critical(15)


def test_the_generator_has_the_known_answers_of_its_authors() -> None:
    assert reference.philox(0, 0, 0) == 0xE169C58D6627E8D5
    ones = 2**64 - 1
    assert reference.philox(ones, ones, ones) == 0x41C83B0E408F276D
    assert reference.philox(0x299F31D0A4093822, 0x0370734413198A2E, 0x85A308D3243F6A88) == 0x94FDCCEBD16CFE09


LOGITS = np.zeros((4, 70), np.float32)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (np.nan, r"logits\[2, 33\] is NaN"),
        (np.inf, r"logits\[2, 33\] is \+inf"),
        (-np.inf, r"logits\[2\] is all -inf"),
    ],
)
@pytest.mark.parametrize("temperature", [0.0, 1.0])
@pytest.mark.parametrize("backend", ["cpu", "numpy"])
def test_invalid_logits_are_refused_by_their_row(
    value: float, message: str, temperature: float, backend: str, isa: str
) -> None:
    logits = LOGITS.copy()
    logits[2, 33 if message.endswith(("NaN", "inf")) and "all" not in message else slice(None)] = value
    with pytest.raises(ValueError, match=message):
        sample_tokens(logits, temperature=temperature, seed=1, backend=backend)


def test_nan_is_found_at_every_place(isa: str) -> None:
    for at in range(70):
        logits = LOGITS.copy()
        logits[1, at] = np.nan
        with pytest.raises(ValueError, match=rf"logits\[1, {at}\] is NaN"):
            sample_tokens(logits, seed=1)


@pytest.mark.parametrize(
    ("options", "kind", "message"),
    [
        (
            {"temperature": -1},
            ValueError,
            r"temperature must be 0 or above, finite, one number or float64 \[4\]; got -1",
        ),
        ({"temperature": np.nan}, ValueError, "got nan"),
        ({"temperature": np.inf}, ValueError, "got inf"),
        ({"temperature": "warm"}, TypeError, "got str"),
        ({"temperature": np.ones(3)}, ValueError, r"got float64 \[3\]"),
        ({"top_k": -1}, ValueError, r"top_k must be a whole number from 0 .*got -1"),
        ({"top_k": 2.5}, TypeError, r"top_k must be a whole number.*got float"),
        ({"top_k": np.array([1, 2, -3, 4])}, ValueError, "got -3"),
        ({"top_p": 0}, ValueError, "top_p must be above 0, at most 1, .*got 0"),
        ({"top_p": 1.1}, ValueError, "got 1.1"),
        ({"min_p": 2}, ValueError, "min_p must be 0 to 1"),
        ({"seed": -5}, ValueError, "seed must be a whole number from 0 to 18446744073709551615, or uint64"),
        ({"seed": 2**64}, ValueError, "got 18446744073709551616"),
        ({"step": np.zeros((4, 1), int)}, ValueError, r"step must be .*got int64 \[4, 1\]"),
        ({"out": np.empty(4, np.int64)}, TypeError, "out must be int32"),
    ],
)
def test_a_wrong_parameter_is_named_with_what_is_wanted(options, kind, message) -> None:
    with pytest.raises(kind, match=message):
        sample_tokens(LOGITS, **({"seed": 1} | options))


def test_wrong_logits_are_named_with_what_is_wanted() -> None:
    for logits, kind, message in (
        (LOGITS[0], ValueError, r"logits must be float32 \[rows, tokens\].*it has 1 dim"),
        (LOGITS.astype(np.float64), TypeError, "got float64"),
        (LOGITS[:0], ValueError, "nothing to compute"),
        (LOGITS[:, :0], ValueError, "must have 1 to 4194304 tokens"),
        (LOGITS[:, ::2], ValueError, "C-contiguous"),
    ):
        with pytest.raises(kind, match=message):
            sample_tokens(logits, seed=1)
    with pytest.raises(ValueError, match=r"logits must be float32 \[rows, 69\]"):
        Sampler(69, seed=1)(LOGITS)
    with pytest.raises(ValueError, match=r"logits must be float32 \[3, 70\]"):
        Sampler(70, seed=np.arange(3))(LOGITS)
    with pytest.raises(ValueError, match="tokens must be a whole number from 1"):
        Sampler(0, seed=1)
    with pytest.raises(ValueError, match="for 3 rows; got batch 4"):
        Sampler(70, seed=np.arange(3)).native(4)
