"""The truth of lora_bgmv: float64, one row after the other."""

from __future__ import annotations

import numpy as np

__all__ = ["lora_bgmv"]


def lora_bgmv(
    x: np.ndarray,
    a: np.ndarray,
    b: np.ndarray,
    adapters: np.ndarray,
    *,
    scale: float = 1.0,
    accumulate: bool = False,
    out: np.ndarray | None = None,
) -> np.ndarray:
    """Return scale * (x a[i]) b[i] for each row, zeros for -1; what `out` holds is added to if asked."""
    y = np.zeros((len(x), b.shape[2]))
    for row, adapter in enumerate(adapters):
        if adapter >= 0:
            low = x[row].astype(np.float64) @ a[adapter].astype(np.float64)
            y[row] = scale * (low @ b[adapter].astype(np.float64))
    if accumulate:
        assert out is not None
        y += out
    return y
