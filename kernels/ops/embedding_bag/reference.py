"""The truth of embedding_bag: float64, one bag after the other."""

from __future__ import annotations

from itertools import pairwise

import numpy as np

__all__ = ["embedding_bag"]


def embedding_bag(
    table: np.ndarray,
    indices: np.ndarray,
    offsets: np.ndarray,
    *,
    weights: np.ndarray | None = None,
    mode: str = "sum",
    scales: np.ndarray | None = None,
) -> np.ndarray:
    """Return the sum, or the mean, of the rows that each bag names, [bags, dim]."""
    rows = table.astype(np.float64)
    if scales is not None:
        rows = rows * scales.astype(np.float64)[:, None]
    out = np.zeros((len(offsets) - 1, table.shape[1]))
    for bag, (begin, end) in enumerate(pairwise(offsets)):
        chosen = rows[indices[begin:end]]
        if weights is not None:
            chosen = chosen * weights[begin:end].astype(np.float64)[:, None]
        out[bag] = chosen.sum(axis=0)
        if mode == "mean" and end > begin:
            out[bag] /= end - begin
    return out
