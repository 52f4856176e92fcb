"""What simulated.py does with features_prep: rows of a device, prepared there."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from tailrace.kernels import FeaturesPrep
from tailrace.kernels.ops.features_prep import reference
from tailrace.kernels.registry import relative_l2

SIZES = [(1, 1), (31, 3), (33, 5), (7, 33), (260, 2)]
BUCKETS = 11


def _table(rng: np.random.Generator, rows: int, columns: int, dtype: str) -> tuple[Any, Any]:
    data = rng.normal(rng.normal(scale=20, size=columns), rng.uniform(0.1, 9, columns), (rows, columns))
    data[rng.random(data.shape) < 0.2] = np.nan
    categories = rng.integers(-4, 5, (rows, 3))
    categories[0] = -(2**63), 2**63 - 1, -1
    return data.astype(dtype), categories


def _fitted(rng: np.random.Generator, columns: int, categories: Any, **more: Any) -> tuple[FeaturesPrep, Any]:
    learnt = np.stack(
        [
            rng.normal(size=columns),
            np.full(columns, -15.0),
            np.where(np.arange(columns) % 2, 15.0, np.inf),
            rng.normal(scale=20, size=columns),
            rng.uniform(0.5, 2, columns),
        ]
    )
    encodings = [np.unique(categories[:-3, 0]), int(rng.integers(2**63)), np.unique(categories[:, 2])]
    return FeaturesPrep(learnt, encodings, buckets=BUCKETS, **more), encodings


def _poisoned(engine: Any, rows: int, width: int) -> Any:
    out = engine.empty((rows, width), "float32")
    out._array[...] = np.nan
    return out


def numbers_and_categories(engine: Any, rng: np.random.Generator) -> None:
    for dtype in ("float32", "float64"):
        for rows, columns in SIZES[:3]:
            data, categories = _table(rng, rows, columns, dtype)
            prep, encodings = _fitted(rng, columns, np.concatenate([categories] * 4))
            out = _poisoned(engine, rows, prep.width)
            there = prep(engine.to_device(data), engine.to_device(categories), out=out)
            assert there is out
            truth = np.concatenate(
                [
                    reference.scaled(data, prep.learnt),
                    reference.encoded(categories, encodings, BUCKETS),
                ],
                axis=1,
            )
            assert relative_l2(there.get(), truth) < 1e-6
            assert np.array_equal(there.get()[:, columns:], truth[:, columns:])
            assert np.array_equal(there.get()[:, columns:], prep(data, categories)[:, columns:])


def numbers_alone(engine: Any, rng: np.random.Generator) -> None:
    for rows, columns in SIZES:
        data, _ = _table(rng, rows, columns, "float32")
        prep = FeaturesPrep(_fitted(rng, columns, np.zeros((9, 3), np.int64))[0].learnt)
        out = _poisoned(engine, rows, columns)
        assert relative_l2(prep(engine.to_device(data), out=out).get(), prep(data)) < 1e-6


def unknown_categories(engine: Any, rng: np.random.Generator) -> None:
    data, categories = _table(rng, 20, 2, "float32")
    prep, _ = _fitted(rng, 2, categories, unknown="error")
    assert prep(engine.to_device(data[:17]), engine.to_device(categories[:17])).shape == (17, prep.width)
    categories[[9, 13], [2, 0]] = 77
    with pytest.raises(ValueError, match="row 9 has category 77 in category column 2"):
        prep(engine.to_device(data[:17]), engine.to_device(categories[:17]))
