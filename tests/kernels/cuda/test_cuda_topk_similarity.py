"""topk_similarity's device kernels in the shim: every form, ties, passes, scores that are no numbers."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from tailrace.kernels import Retriever, topk_similarity
from tailrace.kernels.cuda import launcher
from tailrace.kernels.ops.topk_similarity import OP, reference

SHAPES = [
    (1, 70, 64, 5),
    (3, 31, 33, 31),
    (9, 133, 16, 10),
    (2, 260, 48, 70),
    (1, 200, 7, 140),
    (4, 40, 5, 3),
]


def a_case(rng: np.random.Generator, dtype: str, shape: tuple[int, int, int, int]) -> dict[str, Any]:
    batch, count, dim, k = shape
    keys = rng.normal(size=(count, dim)).astype(dtype)
    if dtype == "int8":
        keys = rng.integers(-127, 128, (count, dim)).astype(np.int8)
    scales = rng.uniform(0.01, 0.1, count).astype(np.float32)
    queries = rng.normal(size=(batch, dim)).astype(np.float32)
    return {"queries": queries, "keys": keys, "k": k, "scales": scales}


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("dtype", ["float32", "float16", "int8"])
def test_every_form_agrees_in_every_order_of_threads(
    rng: np.random.Generator, host_device: Any, dtype: str, shape: tuple[int, int, int, int]
) -> None:
    metric = "dot" if shape[0] % 2 == 0 else "cosine"
    case = a_case(rng, dtype, shape) | {"metric": metric}
    truth = reference.topk_similarity(**case)
    for seed in range(3):
        host_device.seed = seed
        out = (np.full(truth[0].shape, np.nan, np.float32), np.full(truth[1].shape, -7, np.int64))
        found = topk_similarity(**case, backend="cuda", out=out)
        assert found[0] is out[0]
        assert found[1] is out[1]
        assert OP.error(found, truth) < 2e-6
    width = "wide" if shape[2] * case["keys"].itemsize % 16 == 0 else "narrow"
    form = "one" if shape[0] == 1 else "many"
    scans = [kernel for kernel in host_device.launches if "scan" in kernel]
    assert {kernel.split("_", 3)[3] for kernel in scans} == {f"{width}_{form}"}
    assert len(scans) == 3 * -(-shape[3] // (128 if form == "one" else 32))


@pytest.mark.parametrize("batch", [1, 5])
@pytest.mark.parametrize("k", [1, 31, 33, 200])
def test_of_equal_scores_the_lower_index_goes_first(
    rng: np.random.Generator, host_device: Any, batch: int, k: int
) -> None:
    keys = rng.integers(-1, 2, (600, 4)).astype(np.float32)
    queries = rng.integers(-1, 2, (batch, 4)).astype(np.float32)
    for seed in range(3):
        host_device.seed = seed
        _, indices = topk_similarity(queries, keys, k, backend="cuda")
        assert np.array_equal(indices, reference.topk_similarity(queries, keys, k)[1])


@pytest.mark.parametrize("batch", [1, 3])
def test_scores_that_are_no_numbers_come_last_and_are_told(
    rng: np.random.Generator, host_device: Any, batch: int
) -> None:
    keys = rng.normal(size=(40, 8)).astype(np.float32)
    keys[10:] = np.nan
    queries = rng.normal(size=(batch, 8)).astype(np.float32)
    scores, indices = topk_similarity(queries, keys, 40, backend="cuda")
    want = reference.topk_similarity(queries, keys[:10], 10)[1]
    assert np.array_equal(indices[:, :10], want)
    assert (indices[:, 10:] == -1).all()
    assert np.isnan(scores[:, 10:]).all()


@pytest.mark.parametrize("metric", ["dot", "cosine"])
def test_a_retriever_searches_keys_of_the_device_there(
    rng: np.random.Generator, host_device: Any, metric: str
) -> None:
    case = a_case(rng, "int8", (3, 90, 32, 7))
    there = {name: host_device.to_device(case[name]) for name in ("queries", "keys", "scales")}
    retriever = Retriever(there["keys"], k=7, metric=metric, scales=there["scales"])
    scores, indices = retriever(there["queries"])
    assert host_device.view(scores) is scores
    truth = reference.topk_similarity(**case, metric=metric)
    assert OP.error((scores.get(), indices.get()), truth) < 2e-6
    lengths = [kernel for kernel in host_device.launches if kernel == "topk_lengths_i8"]
    retriever(there["queries"])
    assert [k for k in host_device.launches if k == "topk_lengths_i8"] == lengths  # made once
    with pytest.raises(ValueError, match="its keys lie on the device and the queries on the host"):
        retriever(case["queries"])
    with pytest.raises(ValueError, match="store converts keys of the host"):
        Retriever(there["keys"], store="float16")
    with pytest.raises(ValueError, match="a native step runs on the CPU"):
        retriever.native(3)


def test_infinite_scores_are_scores(host_device: Any) -> None:
    keys = np.array([[1.0], [-np.inf], [np.inf], [-2.0]], np.float32)
    scores, indices = topk_similarity(np.ones((1, 1), np.float32), keys, 4, backend="cuda")
    assert indices.tolist() == [[2, 0, 3, 1]]
    assert scores.tolist() == [[np.inf, 1.0, -2.0, -np.inf]]


@pytest.mark.parametrize("metric", ["dot", "cosine"])
def test_rows_of_zeros_score_nothing(rng: np.random.Generator, host_device: Any, metric: str) -> None:
    keys = rng.normal(size=(20, 8)).astype(np.float32)
    keys[::3] = 0
    queries = np.stack([np.zeros(8), rng.normal(size=8)]).astype(np.float32)
    found = topk_similarity(queries, keys, 20, metric=metric, backend="cuda")
    assert np.array_equal(found[1][0], np.arange(20))
    assert OP.error(found, reference.topk_similarity(queries, keys, 20, metric=metric)) < 2e-6


def ties(rng: np.random.Generator) -> tuple[Any, Any, int]:
    return (
        rng.integers(-1, 2, (3, 4)).astype(np.float32),
        rng.integers(-1, 2, (600, 4)).astype(np.float32),
        40,
    )


def work_for_the_first_warp_only(rng: np.random.Generator) -> tuple[Any, Any, int]:
    return rng.normal(size=(8, 4)).astype(np.float32), rng.normal(size=(4, 4)).astype(np.float32), 4


def no_numbers_in_the_first_stretch(rng: np.random.Generator) -> tuple[Any, Any, int]:
    keys = rng.normal(size=(1024, 4)).astype(np.float32)
    keys[:128] = np.nan
    return rng.normal(size=(1, 4)).astype(np.float32), keys, 64


# Each with inputs that bring it out: a warp that is early, equal scores, more than one pass.
@pytest.mark.parametrize(
    ("text", "instead", "nth", "inputs"),
    [
        ("__syncthreads();", "", 0, ties),
        ("__syncthreads();", "", 1, work_for_the_first_warp_only),
        ("__syncthreads();", "", 2, no_numbers_in_the_first_stretch),
        ("index < than_index", "index > than_index", 0, ties),
        ("better(bound_score, bound_index, score, key)", "true", 0, ties),
    ],
)
def test_a_mutant_is_found(
    rng: np.random.Generator, mutant_of: Any, text: str, instead: str, nth: int, inputs: Any
) -> None:
    queries, keys, k = inputs(rng)
    truth = reference.topk_similarity(queries, keys, k)

    def agrees(seed: int) -> bool:
        with launcher.using(mutant_of("topk_similarity", text, instead, seed, nth)):
            try:
                scores, indices = topk_similarity(queries, keys, k, backend="cuda")
            except RuntimeError:
                return False
        return np.array_equal(indices, truth[1]) and np.allclose(scores, truth[0])

    assert not all(agrees(seed) for seed in range(8))


def test_more_than_the_device_takes_is_refused(host_device: Any) -> None:
    with pytest.raises(ValueError, match=r"at most .* keys of 16384 values; got 2 of 16385"):
        topk_similarity(np.zeros((1, 16385), np.float32), np.zeros((2, 16385), np.float32), 1, backend="cuda")
    with pytest.raises(ValueError, match=r"int8 keys need scales, float32 \[2\]"):
        topk_similarity(np.zeros((1, 4), np.float32), np.zeros((2, 4), np.int8), 1, backend="cuda")
