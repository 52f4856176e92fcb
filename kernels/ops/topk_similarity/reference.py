"""The truth of topk_similarity: every score in float64, sorted."""

from __future__ import annotations

import numpy as np

__all__ = ["topk_similarity"]


def topk_similarity(
    queries: np.ndarray,
    keys: np.ndarray,
    k: int,
    *,
    metric: str = "dot",
    scales: np.ndarray | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Return the k highest scores of each query and their keys, best first, ties by the lower index."""
    left, right = queries.astype(np.float64), keys.astype(np.float64)
    if scales is not None:
        right = right * scales.astype(np.float64)[:, None]
    if metric == "cosine":
        left, right = _unit(left), _unit(right)
    scores = left @ right.T
    order = np.argsort(-scores, axis=1, kind="stable")[:, :k]
    return np.take_along_axis(scores, order, axis=1), order


def _unit(rows: np.ndarray) -> np.ndarray:
    length = np.linalg.norm(rows, axis=1, keepdims=True)
    return rows / np.where(length == 0, 1.0, length)  # a row of zeros stays one
