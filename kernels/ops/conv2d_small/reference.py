"""The truth of conv2d_small: float64, a product for each place of the window."""

from __future__ import annotations

import numpy as np

__all__ = ["conv2d_small"]


def conv2d_small(
    x: np.ndarray,
    weights: np.ndarray,
    bias: np.ndarray | None = None,
    *,
    stride: int = 1,
    padding: int = 0,
    activation: str = "none",
    max_pool: int = 1,
) -> np.ndarray:
    """Return the convolution, activated, then the largest of each max_pool x max_pool window."""
    pad = ((0, 0), (0, 0), (padding, padding), (padding, padding))
    image, kernel = np.pad(x.astype(np.float64), pad), weights.astype(np.float64)
    kh, kw = kernel.shape[2:]
    h, w = ((image.shape[2] - kh) // stride + 1, (image.shape[3] - kw) // stride + 1)
    y = np.zeros((len(x), len(kernel), h, w))
    for i in range(kh):
        for j in range(kw):
            part = image[:, :, i : i + stride * (h - 1) + 1 : stride, j : j + stride * (w - 1) + 1 : stride]
            y += np.einsum("nchw,oc->nohw", part, kernel[:, :, i, j])
    if bias is not None:
        y += bias.astype(np.float64)[:, None, None]
    if activation == "relu":
        y = np.maximum(y, 0)
    h, w = h // max_pool, w // max_pool
    y = y[:, :, : h * max_pool, : w * max_pool].reshape(*y.shape[:2], h, max_pool, w, max_pool)
    pooled: np.ndarray = y.max(axis=(3, 5))
    return pooled
