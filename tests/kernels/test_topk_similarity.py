"""Top-k is exact: every key is seen, ties go to the lower index, and what is not a number is refused."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tailrace.kernels import Retriever, topk_similarity
from tailrace.kernels.ops.topk_similarity import MOST_K, reference


def whole(rng: np.random.Generator, shape: tuple[int, ...], most: int = 3) -> np.ndarray:
    """Small whole numbers: their scores are exact in float32, and many of them are equal."""
    return rng.integers(-most, most + 1, shape).astype(np.float32)


def same(found: tuple[np.ndarray, np.ndarray], truth: tuple[np.ndarray, np.ndarray]) -> None:
    np.testing.assert_array_equal(found[1], truth[1])
    np.testing.assert_array_equal(found[0], truth[0])


@pytest.mark.parametrize("batch", [1, 2, 3, 5, 7, 9, 11, 12, 13, 17, 22, 27, 63, 64, 65, 130])
def test_every_number_of_queries_finds_the_same_keys(batch: int, isa: str, rng: np.random.Generator) -> None:
    queries, keys = whole(rng, (batch, 9)), whole(rng, (101, 9))
    truth = reference.topk_similarity(queries, keys, 12)
    same(topk_similarity(queries, keys, 12), truth)
    same(Retriever(keys, k=12)(queries), truth)


@pytest.mark.parametrize("count", [1, 15, 16, 17, 31, 32, 33, 47, 48, 49, 1000])
@pytest.mark.parametrize("k", [1, 10, None])
def test_ties_go_to_the_lower_index_for_any_number_of_keys(
    count: int, k: int | None, isa: str, rng: np.random.Generator
) -> None:
    k = min(k or count, count)
    queries, keys = whole(rng, (3, 2), 1), whole(rng, (count, 2), 1)
    truth = reference.topk_similarity(queries, keys, k)
    same(topk_similarity(queries, keys, k), truth)
    same(Retriever(keys, k=k)(queries), truth)


@pytest.mark.parametrize("order", ["rising", "falling", "equal"])
def test_the_order_of_the_scores_does_not_matter(order: str, isa: str) -> None:
    keys = np.zeros((3000, 1), np.float32)
    keys[:, 0] = {"rising": np.arange(3000), "falling": -np.arange(3000), "equal": np.ones(3000)}[order]
    queries = np.array([[1], [-1], [0]], np.float32)
    for k in (1, 7, 1000):
        same(topk_similarity(queries, keys, k), reference.topk_similarity(queries, keys, k))


def test_a_score_does_not_depend_on_what_else_is_in_the_batch(isa: str, rng: np.random.Generator) -> None:
    queries = rng.normal(size=(33, 77)).astype(np.float32)
    keys = rng.normal(size=(500, 77)).astype(np.float32)
    for metric in ("dot", "cosine"):
        scores, found = topk_similarity(queries, keys, 20, metric=metric)
        bound = Retriever(keys, k=20, metric=metric)
        same(bound(queries), (scores, found))
        for i in (0, 13, 32):
            same(
                topk_similarity(queries[i : i + 1], keys, 20, metric=metric),
                (scores[i : i + 1], found[i : i + 1]),
            )
            same(bound(queries[i : i + 1]), (scores[i : i + 1], found[i : i + 1]))


@settings(deadline=None, max_examples=80)
@given(
    batch=st.integers(1, 20),
    count=st.integers(1, 200),
    dim=st.integers(0, 40),
    k=st.integers(1, 200),
    store=st.sampled_from(["float32", "float16", "int8"]),
    seed=st.integers(0, 2**31),
)
def test_whole_numbers_are_scored_exactly_in_every_store(batch, count, dim, k, store, seed) -> None:
    rng = np.random.default_rng(seed)
    queries, keys, k = whole(rng, (batch, dim)), whole(rng, (count, dim)).astype(store), min(k, count)
    scales = np.full(count, 0.5, np.float32) if store == "int8" else None
    truth = reference.topk_similarity(queries, keys, k, scales=scales)
    same(topk_similarity(queries, keys, k, scales=scales), truth)
    same(Retriever(keys, k=k, scales=scales)(queries), truth)


@pytest.mark.usefixtures("isa")
def test_a_key_whose_length_has_no_inverse_counts_as_zero() -> None:
    keys = np.array([[1e-40, 0], [1, 0.5], [0.9, 0.1]], np.float32)
    query = np.array([[1, 0.2]], np.float32)
    for found in (
        topk_similarity(query, keys, 3, metric="cosine"),
        Retriever(keys, k=3, metric="cosine")(query),
    ):
        assert found[1].tolist() == [[2, 1, 0]]
        assert found[0][0, 2] == 0


def test_cosine_is_the_dot_product_of_rows_of_length_one(isa: str, rng: np.random.Generator) -> None:
    queries = (rng.normal(size=(5, 33)) * 10.0 ** rng.integers(-15, 15, (5, 1))).astype(np.float32)
    keys = (rng.normal(size=(90, 33)) * 10.0 ** rng.integers(-18, 18, (90, 1))).astype(np.float32)
    queries[1], keys[7] = 0, 0
    truth = reference.topk_similarity(queries, keys, 90, metric="cosine")
    for scores, found in (
        topk_similarity(queries, keys, 90, metric="cosine"),
        Retriever(keys, k=90, metric="cosine")(queries),
    ):
        np.testing.assert_allclose(scores, truth[0], atol=1e-6)
        np.testing.assert_array_equal(found[1], np.arange(90))
        np.testing.assert_array_equal(found[[0, 2, 3, 4]], truth[1][[0, 2, 3, 4]])


def test_a_negative_scale_turns_a_key_round(isa: str) -> None:
    keys, scales = np.array([[3, 4], [3, 4]], np.int8), np.array([2, -2], np.float32)
    queries = np.array([[3, 4]], np.float32)
    for metric, best in (("dot", 50.0), ("cosine", 1.0)):
        for scores, found in (
            topk_similarity(queries, keys, 2, metric=metric, scales=scales),
            Retriever(keys, k=2, metric=metric, scales=scales)(queries),
        ):
            np.testing.assert_allclose(scores, [[best, -best]], rtol=1e-6)
            np.testing.assert_array_equal(found, [[0, 1]])


@pytest.mark.parametrize("store", ["float16", "int8"])
def test_a_smaller_store_finds_the_same_nearest_keys(store: str, isa: str, rng: np.random.Generator) -> None:
    keys = rng.normal(size=(2000, 64)).astype(np.float32)
    queries = keys[:50] + 0.3 * rng.normal(size=(50, 64)).astype(np.float32)
    truth = topk_similarity(queries, keys, 10, metric="cosine")
    scores, found = Retriever(keys, metric="cosine", store=store)(queries)
    np.testing.assert_array_equal(found[:, 0], np.arange(50))
    np.testing.assert_allclose(scores[:, 0], truth[0][:, 0], atol=5e-3)
    recall = np.mean([len(np.intersect1d(a, b)) / 10 for a, b in zip(found, truth[1], strict=True)])
    assert recall > 0.93


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("where", [0, 15, 16, 40, 99])
def test_a_score_that_is_not_a_number_is_refused_by_its_place(bad: float, where: int, isa: str) -> None:
    keys, queries = np.ones((100, 5), np.float32), np.ones((9, 5), np.float32)
    keys[where, 2] = bad
    queries[6] = 0  # infinity times zero; NaN reaches query 0 already
    with pytest.raises(
        ValueError, match=rf"queries\[{0 if np.isnan(bad) else 6}\] and keys\[{where}\] is not a number"
    ):
        topk_similarity(queries, keys, 3)
    if np.isnan(bad):
        with pytest.raises(ValueError, match=rf"Retriever: keys\[{where}\] holds NaN"):
            Retriever(keys, k=3)
    queries[:] = 1
    queries[8, 4] = np.nan
    with pytest.raises(ValueError, match=r"queries\[8\] and keys\[\d+\] is not a number"):
        topk_similarity(queries, np.ones((100, 5), np.float32), 3)


def test_infinite_scores_have_their_place() -> None:
    keys = np.array([[1.0], [np.inf], [-np.inf], [2.0]], np.float32)
    scores, found = topk_similarity(np.ones((1, 1), np.float32), keys, 4)
    np.testing.assert_array_equal(found, [[1, 3, 0, 2]])
    np.testing.assert_array_equal(scores, [[np.inf, 2, 1, -np.inf]])


KEYS, QUERIES = np.ones((8, 4), np.float32), np.ones((2, 4), np.float32)


@pytest.mark.parametrize(
    ("arguments", "options", "kind", "message"),
    [
        ((QUERIES, KEYS, 0), {}, ValueError, r"k must be a whole number from 1 to 8 .*got 0"),
        ((QUERIES, KEYS, 9), {}, ValueError, r"from 1 to 8 \(8 keys, at most 1024\); got 9"),
        ((QUERIES, KEYS, True), {}, ValueError, "got True"),
        ((QUERIES, KEYS, 2.0), {}, ValueError, "got 2.0"),
        ((QUERIES, KEYS, 2), {"metric": "l2"}, ValueError, "metric must be one of dot, cosine; got 'l2'"),
        (
            (QUERIES[:, :3], KEYS, 2),
            {},
            ValueError,
            r"queries must be float32 \[batch, 4\].*got float32 \[2, 3\]",
        ),
        ((QUERIES[:0], KEYS, 2), {}, ValueError, r"of at least 1 batch; .* there is nothing to compute"),
        ((QUERIES, KEYS[:0], 2), {}, ValueError, r"of at least 1 count"),
        ((QUERIES, KEYS.astype(np.float64), 2), {}, TypeError, r"keys must be float32 or float16 or int8"),
        ((QUERIES, KEYS.astype(np.int8), 2), {}, ValueError, r"int8 keys need scales, float32 \[8\]"),
        ((QUERIES, KEYS, 2), {"scales": np.ones(7, np.float32)}, ValueError, r"scales must be float32 \[8\]"),
        (
            (QUERIES, KEYS, 2),
            {"out": np.empty((2, 2), np.float32)},
            TypeError,
            r"out must be \(float32 \[2, 2\], int64",
        ),
        (
            (QUERIES, KEYS, 2),
            {"out": (np.empty((2, 2), np.float32), np.empty((2, 2), np.int32))},
            TypeError,
            r"out\[1\] must be int64",
        ),
    ],
)
def test_a_wrong_argument_is_named_with_what_is_wanted(arguments, options, kind, message) -> None:
    with pytest.raises(kind, match=message):
        topk_similarity(*arguments, **options)


def test_k_has_a_limit_that_is_said() -> None:
    keys = np.arange(2000, dtype=np.float32)[:, None]
    same(
        topk_similarity(np.ones((1, 1), np.float32), keys, MOST_K),
        reference.topk_similarity(np.ones((1, 1), np.float32), keys, MOST_K),
    )
    with pytest.raises(ValueError, match="from 1 to 1024"):
        topk_similarity(np.ones((1, 1), np.float32), keys, MOST_K + 1)
    for options, message in (
        ({"store": "int4"}, "store must be one of float32, float16, int8 or None; got 'int4'"),
        ({"store": "int8", "scales": np.ones(2000, np.float32)}, "converts float32 keys without scales"),
    ):
        with pytest.raises(ValueError, match=message):
            Retriever(keys, **options)  # type: ignore[arg-type]
