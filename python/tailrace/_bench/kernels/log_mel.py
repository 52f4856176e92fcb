"""K7: a second of sound at 16 kHz in 80 mel bands."""

from __future__ import annotations

import numpy as np

from tailrace._bench.kernels.common import Call, Close, installed, kernel_work
from tailrace._bench.timing import Work
from tailrace.kernels import LogMel, log_mel
from tailrace.kernels.ops.log_mel import OP, filters, reference

_FLOOR = np.float32(1e-10)


def works() -> list[Work]:
    """Return the row of 16 kHz, and that of telephone speech."""
    found = []
    for row, rate, mels in (("K7", 16000, 80), ("K7.8k", 8000, 40)):
        x = np.random.default_rng(7).normal(size=rate).astype(np.float32)
        bound = LogMel(sample_rate=rate, n_mels=mels)
        out = np.empty((mels, bound.frames(rate)), np.float32)

        def bound_call(x: np.ndarray = x, bound: LogMel = bound, out: np.ndarray = out) -> object:
            return bound(x, out=out)

        def function(x: np.ndarray = x, rate: int = rate, mels: int = mels, out: np.ndarray = out) -> object:
            return log_mel(x, sample_rate=rate, n_mels=mels, out=out)

        length, hop = rate // 40, rate // 100
        bank = filters.mel_filters(rate, length, mels, 0, rate / 2, "slaney", "slaney").astype(np.float32)
        engines: dict[str, Call | None] = {
            "tailrace": bound_call,
            "tailrace, function": function,
            "SciPy": _scipy(x, length, hop, bank),
            "NumPy": _numpy(x, length, hop, bank),
            "torch": _torch(x, length, hop, bank),
        }
        found.append(
            kernel_work(
                row,
                f"log-mel of 1 s at {rate // 1000} kHz, {length} points, {mels} bands",
                Close(reference.log_mel(x, sample_rate=rate, n_mels=mels), 1e-4, OP.error),
                engines,
                calls=4,
                flops=OP.flops(x=x, sample_rate=rate),
                nbytes=OP.bytes(x=x, sample_rate=rate, n_mels=mels),
            )
        )
    return found


def _windowed(x: np.ndarray, hop: int, window: np.ndarray) -> np.ndarray:
    padded = np.pad(x, len(window) // 2, mode="reflect")
    frames = np.lib.stride_tricks.sliding_window_view(padded, len(window))[::hop] * window
    return np.asarray(frames)


def _bands(spectra: np.ndarray, bank: np.ndarray) -> np.ndarray:
    power = spectra.real**2 + spectra.imag**2
    return np.asarray(np.log10(np.maximum(bank @ power.T, _FLOOR)))


def _scipy(x: np.ndarray, length: int, hop: int, bank: np.ndarray) -> Call | None:
    if installed("scipy") is None:
        return None
    fft = installed("scipy.fft")
    window = filters.hann(length).astype(np.float32)
    return lambda: _bands(fft.rfft(_windowed(x, hop, window), axis=1), bank)


def _numpy(x: np.ndarray, length: int, hop: int, bank: np.ndarray) -> Call:
    window = filters.hann(length).astype(np.float32)
    return lambda: _bands(np.fft.rfft(_windowed(x, hop, window), axis=1), bank)


def _torch(x: np.ndarray, length: int, hop: int, bank: np.ndarray) -> Call | None:
    torch = installed("torch")
    if torch is None:
        return None
    window = torch.from_numpy(filters.hann(length).astype(np.float32))
    sound, weights = torch.from_numpy(x), torch.from_numpy(bank)

    def call() -> object:
        with torch.inference_mode():
            spectra = torch.stft(sound, length, hop, window=window, return_complex=True)
            power = spectra.real.square() + spectra.imag.square()
            return torch.log10(torch.clamp(weights @ power, min=float(_FLOOR))).numpy()

    return call
