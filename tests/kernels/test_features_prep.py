"""features_prep and FeaturesPrep: what is learnt, what is dropped, and the one pass, against float64."""

from __future__ import annotations

import numpy as np
import pytest
import tailrace as tr
from tailrace import kernels
from tailrace.kernels import FeaturesPrep, _cpu, distinct_rows, features_prep, valid_rows
from tailrace.kernels.ops.features_prep import reference

CODES = np.zeros((3, 1), np.int64)
SIZES = (1, 2, 5, 15, 16, 17, 31, 33, 63, 64, 65, 100)


def hashed(data, **options):
    return FeaturesPrep.fit(data, categories=CODES, encode="hash", **options)


def changed(row, value):
    learnt = np.array([[0.0], [-1], [1], [1], [1]])
    learnt[row] = value
    return FeaturesPrep(learnt)


def table(rng, rows, columns, dtype=np.float32, missing=0.1):
    data = rng.normal(rng.normal(scale=30, size=columns), rng.uniform(0.1, 9, columns), (rows, columns))
    data[rng.random(data.shape) < missing] = np.nan
    data[0] = rng.normal(size=columns)
    return data.astype(dtype)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("columns", SIZES)
def test_a_row_is_imputed_clipped_and_scaled_as_in_float64(isa, columns, dtype):
    rng = np.random.default_rng(columns)
    data = table(rng, 200, columns, dtype)
    prep = FeaturesPrep.fit(data, impute="median", clip_quantiles=(0.05, 0.9))
    truth = reference.scaled(data, reference.learn(data, "median", 0.0, None, (0.05, 0.9)))
    for rows in (1, 7, 8, 9, 31, 33, 200):
        out = np.full((rows, columns), np.nan, np.float32)
        assert prep(data[:rows], out=out) is out
        assert np.abs(out - truth[:rows]).max() <= 1e-6 * max(1, np.abs(truth).max())


def test_a_large_mean_costs_no_accuracy(isa):
    rng = np.random.default_rng(1)
    data = (1e6 + rng.normal(size=(500, 20))).astype(np.float32)  # float32 holds it in steps of 1/16
    prep = FeaturesPrep.fit(data)
    assert np.abs(prep(data) - reference.scaled(data, prep.learnt)).max() < 2e-6
    exact = 1.7e9 + rng.normal(size=(500, 20))
    prep = FeaturesPrep.fit(exact)
    assert np.abs(prep(exact) - reference.scaled(exact, prep.learnt)).max() < 2e-6


@pytest.mark.parametrize("impute", ["mean", "median", "constant", None])
@pytest.mark.parametrize("scale", ["standard", "minmax", None])
@pytest.mark.parametrize("limits", [{}, {"clip": (-2, [9, 8, 7])}, {"clip_quantiles": (0.1, 0.8)}])
def test_what_is_learnt_is_what_the_reference_learns(impute, scale, limits):
    rng = np.random.default_rng(2)
    data = table(rng, 150, 3)
    data[3, 1] = np.inf
    learnt = FeaturesPrep.fit(data, impute=impute, fill=3, scale=scale, **limits).learnt
    truth = reference.learn(data, impute, 3, limits.get("clip"), limits.get("clip_quantiles"), scale)
    np.testing.assert_allclose(learnt, truth, rtol=1e-13, atol=1e-13)


@pytest.mark.parametrize("columns", [1, 3])
def test_learning_leaves_the_table_as_it_was(columns):
    data = table(np.random.default_rng(6), 50, columns, np.float64)
    before = data.copy()
    FeaturesPrep.fit(data, clip_quantiles=(0.3, 0.6))
    assert np.array_equal(data, before, equal_nan=True)


def test_a_value_stays_missing_if_nothing_is_imputed(isa):
    data = table(np.random.default_rng(3), 40, 5)
    assert np.array_equal(np.isnan(FeaturesPrep.fit(data, impute=None)(data)), np.isnan(data))


def test_a_constant_column_becomes_zeros_whatever_its_value():
    data = np.repeat(np.array([[0.1, 1e9, 0.0]]), 77, axis=0)
    assert np.abs(FeaturesPrep.fit(data)(data)).max() < 1e-6


@pytest.mark.parametrize("columns", [1, 7, 33])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_row_is_valid_as_long_as_no_value_is_wrong(isa, columns, dtype):
    rng = np.random.default_rng(columns)
    data = table(rng, 120, columns, dtype, missing=0.3 / columns)
    data[rng.integers(0, 120, 20), rng.integers(0, columns, 20)] = np.inf
    data[rng.integers(0, 120, 20), rng.integers(0, columns, 20)] = -np.inf
    for nan_is_valid in (True, False):
        for wanted in (None, (-20.0, 25.0), (np.full(columns, -30.0), np.inf)):
            result = valid_rows(data, nan_is_valid=nan_is_valid, valid_range=wanted)
            truth = reference.valid_rows(data, nan_is_valid, wanted)
            assert np.array_equal(result, truth)
            assert truth.any()
            assert not truth.all()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("rows", [0, 1, 33, 500])
def test_of_equal_rows_the_first_is_kept(rows, dtype):
    rng = np.random.default_rng(rows)
    data = rng.integers(-1, 2, (rows, 4)).astype(dtype) * dtype(-0.5)  # so that there are zeros of both signs
    data[rng.random(data.shape) < 0.2] = np.nan
    codes = rng.integers(0, 2, (rows, 1))
    assert np.array_equal(distinct_rows(data), reference.distinct_rows(data))
    assert np.array_equal(distinct_rows(data, codes), reference.distinct_rows(data, codes))


def test_the_hash_is_xxh64():
    # (value, seed): the digest that the xxhash package gives for its eight bytes.
    published = {(0, 0): 3803688792395291579, (1, 0): 11468921228449061269, (-1, 7): 8675408972835071817}
    for (value, seed), digest in published.items():
        assert reference.xxh64(value, seed) == digest
        prep = FeaturesPrep(np.array([[0.0], [-1], [1], [0], [1]]), [seed], buckets=1000)
        features = prep(np.zeros((1, 1), np.float32), np.array([[value]]))[0, 1:]
        assert np.flatnonzero(features).tolist() == [digest % 1000]
        assert features.sum() == (-1 if digest >> 63 else 1)


@pytest.mark.parametrize("spread", [3, 10**15])  # values side by side, and too far apart for a table
def test_categories_are_encoded_as_by_the_reference(spread):
    rng = np.random.default_rng(4)
    data, codes = table(rng, 90, 5), rng.integers(-9, 9, (90, 4)) * spread
    prep = FeaturesPrep.fit(
        data, categories=codes, encode=["hash", "one_hot", "hash", "one_hot"], buckets=7, seed=2**64 - 2
    )
    new = rng.integers(-12, 12, (50, 4)) * spread + rng.integers(0, 2, (50, 4))
    new[0] = [-(2**63), 2**63 - 1, 2**63 - 1, -(2**63)]
    features = prep(data[:50], new)
    assert features.shape == (50, prep.width)
    assert np.array_equal(features[:, 5:], reference.encoded(new, prep.encodings, 7))
    again = FeaturesPrep(prep.learnt, prep.encodings, buckets=7)
    assert np.array_equal(again(data[:50], new), features)


def test_an_unknown_category_is_named_where_it_is_an_error():
    codes = np.array([[1, 5], [2, 6], [1, 7]])
    data = np.ones((3, 2), np.float32)
    prep = FeaturesPrep.fit(data, categories=codes, unknown="error")
    with pytest.raises(ValueError, match=r"row 1 has category 9 in category column 1, .*learnt: 5, 6, 7\)"):
        prep(data, np.array([[1, 5], [2, 9], [3, 7]]))
    prep(data, codes)


def test_the_rows_that_are_kept_are_named_and_fill_the_front_of_out():
    data = np.array([[1, 2], [np.inf, 2], [1, 2], [7, np.nan], [5, 9]], np.float32)
    out = np.full((5, 2), 77, np.float32), np.full(5, 77)
    features, kept = features_prep(data, out=out)
    assert kept.tolist() == out[1].tolist()[:3] == [0, 3, 4]
    assert np.shares_memory(features, out[0])
    assert (out[0][3:] == 77).all()
    assert (out[1][3:] == 77).all()
    truth, rows = reference.features_prep(data)
    assert np.array_equal(kept, rows)
    np.testing.assert_allclose(features, truth, atol=1e-6)
    assert features_prep(data, duplicates="keep").kept.tolist() == [0, 2, 3, 4]
    assert features_prep(data, invalid="keep").kept.tolist() == [0, 1, 3, 4]
    assert features_prep(data, impute=None).kept.tolist() == [0, 4]
    assert features_prep(data, valid_range=(0, 8)).kept.tolist() == [0, 3]


def test_other_libraries_learn_the_same():
    pipeline = pytest.importorskip("sklearn.pipeline")
    from sklearn.impute import SimpleImputer
    from sklearn.preprocessing import StandardScaler

    data = table(np.random.default_rng(5), 300, 9, np.float64)
    theirs = pipeline.make_pipeline(SimpleImputer(strategy="median"), StandardScaler()).fit_transform(data)
    np.testing.assert_allclose(FeaturesPrep.fit(data, impute="median")(data), theirs, atol=1e-6)


@pytest.mark.parametrize(
    ("error", "message", "call"),
    [
        (TypeError, r"float32 or float64 \[rows, columns\].*int64 \[3, 2\]: pass data.astype\(np.float32\)",
         lambda d: features_prep(d.astype(int))),
        (ValueError, "has 1 dimensions instead of 2", lambda d: features_prep(d[0])),
        (ValueError, "np.ascontiguousarray", lambda d: features_prep(np.asfortranarray(np.ones((4, 3))))),
        (ValueError, "nothing to compute", lambda d: features_prep(d[:0])),
        (ValueError, "every row has an invalid value", lambda d: features_prep(d * np.inf)),
        (ValueError, "row 0 has an invalid value", lambda d: features_prep(d * np.inf, invalid="error")),
        (ValueError, "column 0 has no finite value", lambda d: features_prep(d * np.nan)),
        (ValueError, "impute must be one of", lambda d: features_prep(d, impute="mode")),
        (ValueError, "scale must be one of", lambda d: FeaturesPrep.fit(d, scale="robust")),
        (ValueError, "low <= high", lambda d: FeaturesPrep.fit(d, clip=(2, 1))),
        (ValueError, "not both", lambda d: FeaturesPrep.fit(d, clip=(1, 2), clip_quantiles=(0, 1))),
        (ValueError, "0 <= low <= high <= 1", lambda d: FeaturesPrep.fit(d, clip_quantiles=(5, 95))),
        (ValueError, "not NaN", lambda d: FeaturesPrep.fit(d, impute="constant", fill=np.nan)),
        (ValueError, r"\[rows, 2\].*got float32 \[3, 1\]",
         lambda d: FeaturesPrep.fit(d)(np.ascontiguousarray(d[:, :1]))),
        (TypeError, "categories must be int64", lambda d: FeaturesPrep.fit(d, categories=CODES.astype("i4"))),
        (ValueError, "fitted without any", lambda d: FeaturesPrep.fit(d)(d, CODES)),
        (TypeError, "data must be float32 or float64", lambda d: FeaturesPrep.fit(d)(5)),
        (TypeError, "data must be float32 or float64", lambda d: FeaturesPrep.fit(d)([[1, 2]])),
        (ValueError, "encode must be", lambda d: FeaturesPrep.fit(d, categories=CODES, encode="label")),
        (ValueError, r"out must be float32 \[3, 2\]", lambda d: FeaturesPrep.fit(d)(d, out=d[:2])),
        (ValueError, "valid_range must be", lambda d: valid_rows(d, valid_range=5)),
        (ValueError, "valid_range must be", lambda d: valid_rows(d, valid_range=(1, 2, 3))),
        (ValueError, "valid_range must be", lambda d: valid_rows(d, valid_range=([1, 2, 3], 5))),
        (TypeError, r"out must be \(features, kept\)", lambda d: features_prep(d, out=d)),
        (ValueError, "clip must be", lambda d: FeaturesPrep.fit(d, clip=5)),
        (ValueError, "fill must be", lambda d: FeaturesPrep.fit(d, impute="constant", fill="x")),
        (ValueError, "seed must be", lambda d: hashed(d, seed=1.5)),
        (ValueError, "buckets must be", lambda d: hashed(d, buckets=10**30)),
        (ValueError, "scale the column before", lambda d: FeaturesPrep.fit(d.astype("d") * 1e200)),
        (ValueError, "column 0 has centre inf", lambda d: changed(3, np.inf)),
        (ValueError, "spread 1e-320", lambda d: changed(4, 1e-320)),
        (ValueError, "low <= high; column 0 has -1.0, -9.0", lambda d: changed(2, -9)),
        (ValueError, "out", lambda d: FeaturesPrep.fit(d)(d[1:], out=d[:-1])),
        (ValueError, "spread 0", lambda d: FeaturesPrep(np.zeros((5, 2)))),
    ],
)  # fmt: skip
def test_a_wrong_call_says_what_is_wanted(error, message, call):
    with pytest.raises(error, match=message):
        call(np.array([[1, 2], [3, 4], [5, 7]], np.float32))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_table_may_have_no_numbers(isa, dtype):
    empty = np.zeros((3, 0), dtype)
    assert FeaturesPrep.fit(empty)(empty).shape == (3, 0)
    codes = np.array([[4], [7], [4]])
    prep = FeaturesPrep.fit(empty, categories=codes)
    assert prep(empty, codes).tolist() == [[1, 0], [0, 1], [1, 0]]
    assert features_prep(empty, categories=codes).kept.tolist() == [0, 1]


@pytest.mark.parametrize("seed", [3, np.int64(3)])
def test_a_seed_may_be_a_number_of_numpy(seed):
    data = np.ones((3, 1), np.float32)
    assert FeaturesPrep.fit(data, categories=CODES, encode="hash", seed=seed).encodings == (3,)


def test_a_limit_is_as_the_data_has_it():
    data = np.array([[0.1], [0.2]], np.float32)
    assert valid_rows(data, valid_range=(0, 0.1)).tolist() == [True, False]
    assert reference.valid_rows(data, True, (0, 0.1)).tolist() == [True, False]


@pytest.mark.parametrize(
    "call",
    [
        lambda: _cpu.features_prep_check("x", "x", "x", True, "x"),
        lambda: _cpu.features_prep_check(np.zeros((9, 2)), np.zeros(2), np.zeros(2), True, np.zeros(1, bool)),
        lambda: _cpu.features_prep_check(np.zeros((9, 2)), np.zeros(1), np.zeros(2), True, np.zeros(9, bool)),
        lambda: _cpu.features_prep_distinct(-1, None, np.zeros(2, np.int64)),
        lambda: _cpu.features_prep_distinct(np.zeros((1, 2)), None, np.zeros(2, np.int64)),
        lambda: _cpu.lora_bgmv(None, None, None, None, 1.0, False, None),
    ],
)
def test_the_crossing_lets_nothing_through_that_does_not_fit(call):
    with pytest.raises((TypeError, ValueError)):
        call()


def test_a_native_step_prepares_rows():
    codes = np.array([[1, 5], [2, 6], [1, 7]])
    data = np.array([[1, np.nan], [3, 4], [5, 9]], np.float32)
    prep = FeaturesPrep.fit(data, categories=codes, encode=["one_hot", "hash"], buckets=8, unknown="error")
    step = tr.native_step(prep.native(3))

    @tr.workflow
    def prepared(record):
        return step(record)

    record = np.zeros((), prep.native(3).payload)
    record["data"], record["categories"] = data, codes
    assert np.array_equal(prepared(record)["features"], prep(data, codes))
    record["categories"][1, 0] = 3
    with pytest.raises(tr.StepFailed):
        prepared(record)


def test_rows_may_be_prepared_where_they_lie():
    data = table(np.random.default_rng(8), 100, 20)
    prep = FeaturesPrep.fit(data)
    expected = prep(data)
    assert prep(data, out=data) is data
    assert np.array_equal(data, expected)


def test_the_public_names_are_those_of_the_op():
    assert kernels.features_prep is features_prep
    assert kernels.FeaturesPrep is FeaturesPrep
