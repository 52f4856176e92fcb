"""Projection of 256 rows of 784 numbers onto 64 components."""

from __future__ import annotations

import importlib

import numpy as np

from tailrace._bench.kernels.common import Call, Close, installed, kernel_work
from tailrace._bench.timing import Work
from tailrace.kernels import Pca
from tailrace.kernels.ops.pca_project import OP, reference

_FEATURES, _COMPONENTS = 784, 64


def works() -> list[Work]:
    """Return one work per number of rows."""
    return [_work(1, 50), _work(256, 2)]


def _work(rows: int, calls: int) -> Work:
    rng = np.random.default_rng(7)
    vectors = np.linalg.qr(rng.normal(size=(_FEATURES, _COMPONENTS)))[0].T
    components = np.ascontiguousarray(vectors, np.float32)
    mean = rng.normal(size=_FEATURES).astype(np.float32)
    x = (mean + rng.normal(size=(rows, _FEATURES))).astype(np.float32)
    pca, out = Pca(components, mean), np.empty((rows, _COMPONENTS), np.float32)
    engines: dict[str, Call | None] = {
        "tailrace": lambda: pca(x, out=out),
        "NumPy": lambda: (x - mean) @ components.T,
        "sklearn": _sklearn(x, components, mean),
    }
    case = {"x": x, "components": components}
    return kernel_work(
        f"pca.{rows}",
        f"PCA of {rows} x {_FEATURES} float32 onto {_COMPONENTS}",
        Close(reference.pca_project(x, components, mean), 1e-5),
        engines,
        calls=calls,
        flops=OP.flops(**case),
        nbytes=OP.bytes(**case),
    )


def _sklearn(x: np.ndarray, components: np.ndarray, mean: np.ndarray) -> Call | None:
    if installed("sklearn") is None:
        return None
    pca = importlib.import_module("sklearn.decomposition").PCA(len(components))
    pca.components_, pca.mean_, pca.n_components_ = components, mean, len(components)
    pca.explained_variance_ = np.ones(len(components), np.float32)

    def call() -> object:
        return pca.transform(x)

    return call
