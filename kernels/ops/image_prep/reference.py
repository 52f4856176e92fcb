"""The truth of image_prep: two small matrices of weights, one for rows and one for columns, in float64."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = ["image_prep"]

LUMA = np.array([0.299, 0.587, 0.114])  # R, G, B; ITU-R BT.601-7, section 2.5.1


def weights(source: int, target: int, antialias: bool) -> NDArray[np.float64]:
    """Return how much each source pixel counts in each target pixel, [target, source]; rows add up to 1."""
    scale = source / target
    centres = (np.arange(target) + 0.5) * scale
    support = max(scale, 1.0) if antialias else 1.0
    if not antialias:  # beyond the edge is the edge
        centres = np.clip(centres, 0.5, source - 0.5)
    pixels = np.arange(source) + 0.5
    triangle = np.maximum(0.0, 1.0 - np.abs(pixels[None, :] - centres[:, None]) / support)
    total: NDArray[np.float64] = triangle / triangle.sum(axis=1, keepdims=True)
    return total


def image_prep(
    images: NDArray[np.uint8],
    size: tuple[int, int],
    *,
    grey: bool = False,
    mean: ArrayLike = 0.0,
    std: ArrayLike = 1.0,
    antialias: bool = False,
) -> NDArray[np.float64]:
    """Return float64 [..., channels, height, width] for uint8 [..., h, w, 3]."""
    levels = images.astype(np.float64)
    levels = (levels @ LUMA)[..., None] if grey else levels
    rows = weights(images.shape[-3], size[0], antialias)
    columns = weights(images.shape[-2], size[1], antialias)
    resized = np.einsum("yh,...hwc,xw->...cyx", rows, levels, columns, optimize=True)
    channels = resized.shape[-3]
    centre = np.broadcast_to(np.asarray(mean, np.float64), (channels,))[:, None, None]
    spread = np.broadcast_to(np.asarray(std, np.float64), (channels,))[:, None, None]
    return np.asarray((resized / 255.0 - centre) / spread)
