"""What a call of log_mel means in samples and bins, checked once."""

from __future__ import annotations

import contextlib
import functools
import math
import operator
from dataclasses import dataclass
from typing import Any

import numpy as np
from tailrace.kernels.ops.log_mel import filters

__all__ = ["Settings", "settings", "transform_length", "whole"]

_NAME = "log_mel"
_LONGEST = 65536  # samples of a transform


@dataclass(frozen=True)
class Settings:
    """The arguments of log_mel, all of them decided.

    Attributes:
        length: Samples of the window.
        hop: Samples from one frame to the next.
        n_fft: Samples of the transform.
    """

    sample_rate: float
    length: int
    hop: int
    n_fft: int
    n_mels: int
    f_min: float
    f_max: float
    mel: str
    norm: str | None
    center: bool
    pad_mode: str
    floor: float

    def window(self) -> np.ndarray:
        """Return the periodic Hann window in the middle of a transform, float64 [n_fft]."""
        window = np.zeros(self.n_fft)
        before = (self.n_fft - self.length) // 2
        window[before : before + self.length] = filters.hann(self.length)
        return window

    def mel_filters(self) -> np.ndarray:
        """Return the filters, float64 [n_mels, n_fft // 2 + 1]."""
        return filters.mel_filters(
            self.sample_rate, self.n_fft, self.n_mels, self.f_min, self.f_max, self.mel, self.norm
        )


def transform_length(least: int) -> int:
    """Return the smallest even length from `least` on that has no prime factors but 2, 3 and 5.

    >>> transform_length(400), transform_length(551)
    (400, 576)
    """
    length = max(least + least % 2, 4)
    while not _smooth(length):
        length += 2
    return length


def _smooth(length: int) -> bool:
    for factor in (2, 3, 5):
        while length % factor == 0:
            length //= factor
    return length == 1


def settings(
    *,
    sample_rate: float,
    window_ms: float,
    hop_ms: float,
    n_mels: int,
    n_fft: int | None,
    f_min: float,
    f_max: float | None,
    mel: str,
    norm: str | None,
    center: bool,
    pad_mode: str,
    floor: float,
) -> Settings:
    """Check the arguments of log_mel and decide those that were left open.

    Raises:
        TypeError, ValueError: for one that makes no sense; the message says what is wanted.
    """
    return _decided(
        _number("sample_rate", sample_rate),
        _number("window_ms", window_ms),
        _number("hop_ms", hop_ms),
        whole("n_mels", n_mels),
        None if n_fft is None else whole("n_fft", n_fft),
        _number("f_min", f_min),
        None if f_max is None else _number("f_max", f_max),
        _one_of("mel", mel, ("slaney", "htk")),
        None if norm is None else _one_of("norm", norm, ("slaney", None)),
        bool(center),
        _one_of("pad_mode", pad_mode, ("reflect", "constant")),
        _number("floor", floor),
    )


@functools.lru_cache(maxsize=64)
def _decided(
    sample_rate: float,
    window_ms: float,
    hop_ms: float,
    n_mels: int,
    n_fft: int | None,
    f_min: float,
    f_max: float | None,
    mel: str,
    norm: str | None,
    center: bool,
    pad_mode: str,
    floor: float,
) -> Settings:
    for name, value in (("sample_rate", sample_rate), ("window_ms", window_ms), ("hop_ms", hop_ms)):
        if not 0 < value <= 1e9:
            raise ValueError(f"{_NAME}: {name} must be above 0, and 1e9 at most; got {value!r}")
    length, hop = round(sample_rate * window_ms / 1000), round(sample_rate * hop_ms / 1000)
    if length < 4 or hop < 1 or length > _LONGEST or hop > _LONGEST:
        raise ValueError(
            f"{_NAME}: window_ms={window_ms} and hop_ms={hop_ms} at {sample_rate} Hz are {length} and {hop}"
            f" samples; the window must have 4 to {_LONGEST}, the hop 1 to {_LONGEST}"
        )
    transform = transform_length(length) if n_fft is None else n_fft
    if transform < length or transform % 2 or transform > _LONGEST or not _smooth(transform):
        better = transform_length(min(max(transform, length), _LONGEST))
        raise ValueError(
            f"{_NAME}: n_fft must be even, from {length} (the window) to {_LONGEST}, with no prime factors"
            f" but 2, 3 and 5; got {n_fft}: pass n_fft={better}"
        )
    if not 1 <= n_mels <= 4096:
        raise ValueError(f"{_NAME}: n_mels must be from 1 to 4096; got {n_mels!r}")
    top = sample_rate / 2 if f_max is None else f_max
    if not 0 <= f_min < top <= sample_rate / 2:
        raise ValueError(
            f"{_NAME}: 0 <= f_min < f_max <= {sample_rate / 2} Hz, half the sample rate, must hold;"
            f" got f_min={f_min}, f_max={top}"
        )
    if not (math.isfinite(floor) and floor >= 2e-38):
        raise ValueError(
            f"{_NAME}: floor must be at least 2e-38, a power whose logarithm is finite; got {floor!r}"
        )
    return Settings(
        sample_rate, length, hop, transform, n_mels, f_min, top, mel, norm, center, pad_mode, floor
    )


def whole(name: str, value: Any) -> int:
    """Return an integer of any type as Python's own.

    Raises:
        TypeError: if it is none.
    """
    if not isinstance(value, bool | np.bool_):
        with contextlib.suppress(TypeError):
            return operator.index(value)
    raise TypeError(f"{_NAME}: {name} must be a whole number; got {value!r}")


def _number(name: str, value: Any) -> float:
    if isinstance(value, int | float | np.number) and not isinstance(value, bool | np.complexfloating):
        return float(value)
    raise TypeError(f"{_NAME}: {name} must be a number; got {value!r}")


def _one_of(name: str, value: Any, allowed: tuple[str | None, ...]) -> str:
    if isinstance(value, str) and value in allowed:
        return value
    raise ValueError(f"{_NAME}: {name} must be one of {', '.join(map(repr, allowed))}; got {value!r}")
