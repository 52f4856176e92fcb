"""The truth of pca_project and fit_pca: float64, by the singular values of the centred table."""

from __future__ import annotations

import numpy as np

__all__ = ["fit_pca", "pca_project"]


def pca_project(
    x: np.ndarray, components: np.ndarray, mean: np.ndarray, *, whiten: np.ndarray | None = None
) -> np.ndarray:
    """Return the coordinates of the rows, [batch, components]."""
    y = (x.astype(np.float64) - mean.astype(np.float64)) @ components.astype(np.float64).T
    return y if whiten is None else y / np.sqrt(whiten.astype(np.float64))


def fit_pca(data: np.ndarray, components: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return components, mean, and the variance that each explains."""
    x = data.astype(np.float64)
    mean = x.mean(axis=0)
    _, singular, rows = np.linalg.svd(x - mean, full_matrices=False)
    largest = rows[np.arange(len(rows)), np.abs(rows).argmax(axis=1)]
    return (rows * np.sign(largest)[:, None])[:components], mean, (singular**2 / (len(x) - 1))[:components]
