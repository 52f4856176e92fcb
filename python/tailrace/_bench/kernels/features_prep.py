"""Impute, clip and standardise: 1,024 rows as a service has them, and 65,536 that no inner cache holds."""

from __future__ import annotations

import importlib

import numpy as np

from tailrace._bench.kernels.common import Call, Close, installed, kernel_work
from tailrace._bench.timing import Work
from tailrace.kernels import FeaturesPrep
from tailrace.kernels.ops.features_prep import reference

_COLUMNS = 64


def works() -> list[Work]:
    """Return one work per number of rows."""
    return [_work(1024, 20), _work(65_536, 1)]


def _work(rows: int, calls: int) -> Work:
    rng = np.random.default_rng(7)
    data = rng.normal(rng.normal(scale=5, size=_COLUMNS), 2.0, (rows, _COLUMNS)).astype(np.float32)
    data[rng.random(data.shape) < 0.05] = np.nan
    prep = FeaturesPrep.fit(data, clip_quantiles=(0.01, 0.99))
    out = np.empty_like(data)
    engines: dict[str, Call | None] = {
        "tailrace": lambda: prep(data, out=out),
        "NumPy": _numpy(data, prep.learnt),
        "NumPy, out=": _numpy_in_place(data, prep.learnt),
        "sklearn": _sklearn(data, prep.learnt),
    }
    return kernel_work(
        f"K8.{rows}",
        f"impute, clip, standardise {rows} x {_COLUMNS} float32",
        Close(reference.scaled(data, prep.learnt), 1e-5),  # NumPy in float32 comes no closer
        engines,
        calls=calls,
        flops=5 * data.size,
        nbytes=8 * data.size,
    )


def _numpy(data: np.ndarray, learnt: np.ndarray) -> Call:
    fill, low, high, centre, spread = learnt.astype(np.float32)

    def call() -> object:
        return (np.clip(np.where(np.isnan(data), fill, data), low, high) - centre) / spread

    return call


def _numpy_in_place(data: np.ndarray, learnt: np.ndarray) -> Call:
    fill, low, high, centre, spread = learnt.astype(np.float32)
    out = np.empty_like(data)

    def call() -> object:
        np.copyto(out, data)
        np.copyto(out, fill, where=np.isnan(data))
        np.clip(out, low, high, out=out)
        np.subtract(out, centre, out=out)
        return np.divide(out, spread, out=out)

    return call


def _sklearn(data: np.ndarray, learnt: np.ndarray) -> Call | None:
    if installed("sklearn") is None:
        return None
    impute, scale, pipelines = (
        importlib.import_module(f"sklearn.{name}") for name in ("impute", "preprocessing", "pipeline")
    )
    low, high = learnt[1:3].astype(np.float32)
    clip = scale.FunctionTransformer(np.clip, kw_args={"a_min": low, "a_max": high})
    steps = impute.SimpleImputer(), clip, scale.StandardScaler(copy=False)
    pipeline = pipelines.make_pipeline(*steps).fit(data)

    def call() -> object:
        return pipeline.transform(data)

    return call
