"""The truth of log_mel: frames, window, np.fft, filters and logarithm, in float64."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray
from tailrace.kernels.ops.log_mel.filters import hann, mel_filters
from tailrace.kernels.ops.log_mel.settings import transform_length

__all__ = ["log_mel"]


def log_mel(
    x: ArrayLike,
    *,
    sample_rate: float,
    window_ms: float = 25.0,
    hop_ms: float = 10.0,
    n_mels: int = 80,
    n_fft: int | None = None,
    f_min: float = 0.0,
    f_max: float | None = None,
    mel: str = "slaney",
    norm: str | None = "slaney",
    center: bool = True,
    pad_mode: str = "reflect",
    floor: float = 1e-10,
) -> NDArray[np.float64]:
    """Return log10 of the power in mel bands, float64 [..., n_mels, frames], for [..., samples]."""
    x = np.asarray(x, np.float64)
    length, hop = round(sample_rate * window_ms / 1000), round(sample_rate * hop_ms / 1000)
    n = transform_length(length) if n_fft is None else n_fft
    window = np.zeros(n)
    window[(n - length) // 2 : (n - length) // 2 + length] = hann(length)
    if center:
        sides = [(0, 0)] * (x.ndim - 1) + [(n // 2, n // 2)]
        x = np.pad(x, sides, mode="reflect") if pad_mode == "reflect" else np.pad(x, sides)
    frames = np.lib.stride_tricks.sliding_window_view(x, n, axis=-1)[..., ::hop, :]
    power = np.abs(np.fft.rfft(frames * window, axis=-1)) ** 2
    top = sample_rate / 2 if f_max is None else f_max
    bands = mel_filters(sample_rate, n, n_mels, f_min, top, mel, norm) @ np.swapaxes(power, -1, -2)
    return np.asarray(np.log10(np.maximum(bands, floor)))
