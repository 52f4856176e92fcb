"""Windows and mel filters, in float64: what reference and kernels of log_mel share."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["hann", "mel_filters", "to_hz", "to_mel"]

_HZ_PER_MEL = 200.0 / 3.0  # Slaney: linear below 1 kHz,
_LOG_FROM_HZ = 1000.0
_LOG_STEP = np.log(6.4) / 27.0  # 27 steps from there to 6.4 kHz


def hann(length: int) -> NDArray[np.float64]:
    """Return the periodic Hann window, [length]: one whole period of a raised cosine."""
    return np.asarray(0.5 - 0.5 * np.cos(2 * np.pi * np.arange(length) / length))


def to_mel(hz: NDArray[np.float64], scale: str) -> NDArray[np.float64]:
    """Return frequencies in Hz as mel, "slaney" (Auditory Toolbox, 1998) or "htk" (HTK Book, section 5.6).

    >>> to_mel(np.array([1000.0]), "slaney")
    array([15.])
    """
    hz = np.asarray(hz, np.float64)
    if scale == "htk":
        return np.asarray(2595.0 * np.log10(1.0 + hz / 700.0))
    start = _LOG_FROM_HZ / _HZ_PER_MEL
    above = start + np.log(np.maximum(hz, _LOG_FROM_HZ) / _LOG_FROM_HZ) / _LOG_STEP
    return np.where(hz < _LOG_FROM_HZ, hz / _HZ_PER_MEL, above)


def to_hz(mel: NDArray[np.float64], scale: str) -> NDArray[np.float64]:
    """Return what `to_mel` was given, in Hz."""
    mel = np.asarray(mel, np.float64)
    if scale == "htk":
        return np.asarray(700.0 * (10.0 ** (mel / 2595.0) - 1.0))
    start = _LOG_FROM_HZ / _HZ_PER_MEL
    above = _LOG_FROM_HZ * np.exp(_LOG_STEP * (np.maximum(mel, start) - start))
    return np.where(mel < start, mel * _HZ_PER_MEL, above)


def mel_filters(
    sample_rate: float, n_fft: int, n_mels: int, f_min: float, f_max: float, scale: str, norm: str | None
) -> NDArray[np.float64]:
    """Return triangles between neighbouring mel frequencies, [n_mels, n_fft // 2 + 1]."""
    bins = np.arange(n_fft // 2 + 1) * (sample_rate / n_fft)
    ends = to_mel(np.array([f_min, f_max]), scale)
    corners = to_hz(np.linspace(ends[0], ends[1], n_mels + 2), scale)
    width = np.diff(corners)[:, None]
    rising = (bins[None, :] - corners[:-2, None]) / width[:-1]
    falling = (corners[2:, None] - bins[None, :]) / width[1:]
    filters = np.maximum(0.0, np.minimum(rising, falling))
    if norm == "slaney":
        filters *= (2.0 / (corners[2:] - corners[:-2]))[:, None]
    return np.asarray(filters)
