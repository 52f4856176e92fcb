"""log_mel: log mel spectrograms, many frames at a time."""

from __future__ import annotations

import functools
import math
import warnings
from typing import Any

import numpy as np
from tailrace.kernels import _checks, _cpu, device, dispatch
from tailrace.kernels.native import NativeOp, native_op
from tailrace.kernels.ops.log_mel import reference
from tailrace.kernels.ops.log_mel.settings import Settings, settings, whole
from tailrace.kernels.registry import Op

__all__ = ["OP", "LogMel", "log_mel"]

_NAME = "log_mel"


def log_mel(
    x: Any,
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
    backend: str = "auto",
    out: Any = None,
) -> Any:
    """Return log10 of the power in mel bands, frame by frame.

    A frame is windowed (periodic Hann), transformed, squared and summed by triangular filters; then the
    logarithm is taken of what is at least `floor`. A NaN among the samples makes NaN of its frames (on a
    device also of the frame that is transformed with each), one above 1e16 infinity. Bands that are a
    ten-millionth of the loudest, or less, show the rounding of float32.

    Args:
        x: float32 [samples], or [n, samples]. Samples of 16 bits: pass x.astype(np.float32) / 32768.
        sample_rate: of x, in Hz: 8000 for telephone speech, 16000 for most speech models.
        window_ms: length of the window in ms, rounded to whole samples.
        hop_ms: from one frame to the next in ms, rounded to whole samples.
        n_mels: bands.
        n_fft: samples of the transform, even, of prime factors 2, 3 and 5 only; one longer than the window
            has zeros on both sides of it. By default the next that is not shorter than the window.
        f_min: lower end of the lowest band, in Hz.
        f_max: upper end of the highest band, in Hz; by default half the sample rate.
        mel: "slaney" (linear below 1 kHz; librosa, Whisper) or "htk" (torchaudio).
        norm: "slaney", where each filter has area one, or None, where each has peak one.
        center: frame t is around sample t * hop; otherwise it begins there.
        pad_mode: what center finds beyond the ends: "reflect" or "constant", zeros.
        floor: the least power, in units of x squared.
        backend: "auto", "cpu", "cuda" or "numpy".
        out: float32 [n_mels, frames], or [n, n_mels, frames], that is written to and returned.

    Returns:
        float32 [n_mels, frames], or [n, n_mels, frames]; with center there are 1 + samples // hop frames.

    Raises:
        TypeError, ValueError: for arrays of another dtype, shape or layout, a signal that is too short, or
            arguments that make no sense; the message says what is wanted.
        BackendUnavailable: for a named backend that cannot be had here.

    Source: Davis and Mermelstein, 1980, for the bands; Slaney, Auditory Toolbox, 1998, and the HTK Book,
    section 5.6, for the scales.

    >>> import numpy as np
    >>> from tailrace.kernels import log_mel
    >>> tone = np.sin(2 * np.pi * 440 * np.arange(8000) / 8000).astype(np.float32)
    >>> bands = log_mel(tone, sample_rate=8000, n_mels=40)
    >>> bands.shape, int(bands[:, 50].argmax())
    ((40, 101), 7)
    """
    wanted = settings(
        sample_rate=sample_rate, window_ms=window_ms, hop_ms=hop_ms, n_mels=n_mels, n_fft=n_fft, f_min=f_min,
        f_max=f_max, mel=mel, norm=norm, center=center, pad_mode=pad_mode, floor=floor,
    )  # fmt: skip
    chosen = dispatch.choose(_NAME, backend, x, out, offers=OP.backends)
    run = _bound(wanted)
    if chosen == "cuda":
        return _on_device(wanted, run, x, out)
    x, out = _arrays(wanted, run, x, out)
    if chosen == "numpy":
        dispatch.reference_into(
            reference.log_mel(
                x, sample_rate=wanted.sample_rate, window_ms=float(window_ms), hop_ms=float(hop_ms),
                n_mels=wanted.n_mels, n_fft=wanted.n_fft, f_min=wanted.f_min, f_max=wanted.f_max, mel=mel,
                norm=norm, center=center, pad_mode=pad_mode, floor=wanted.floor,
            ),
            out,
        )  # fmt: skip
    else:
        _into(run, x, out)
    return out


class LogMel:
    """`log_mel` with its tables worked out: a callable for steps and native steps.

    The arguments, and the errors for them, are those of `log_mel`. Any number of threads may call one object.

    >>> import numpy as np
    >>> from tailrace.kernels import LogMel
    >>> bands = LogMel(sample_rate=16000)
    >>> bands(np.zeros((2, 16000), np.float32)).shape
    (2, 80, 101)
    """

    def __init__(
        self,
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
    ) -> None:
        self.settings = settings(
            sample_rate=sample_rate, window_ms=window_ms, hop_ms=hop_ms, n_mels=n_mels, n_fft=n_fft,
            f_min=f_min, f_max=f_max, mel=mel, norm=norm, center=center, pad_mode=pad_mode, floor=floor,
        )  # fmt: skip
        self._run = _bound(self.settings)

    def __call__(self, x: Any, *, out: Any = None) -> Any:
        """Return float32 [n_mels, frames] for float32 [samples], or [n, n_mels, frames] for [n, samples].

        Signals on a device are transformed there.
        """
        if type(x) is not np.ndarray and _checks.is_device_array(x):
            device.require()
            return _on_device(self.settings, self._run, x, out)
        signals, result = _arrays(self.settings, self._run, x, out)
        _into(self._run, signals, result)
        return result

    def frames(self, samples: int) -> int:
        """Return how many frames a signal of so many samples gives.

        Raises:
            TypeError, ValueError: if it is no whole number, or too short for one frame.
        """
        return _frames(self.settings, self._run, whole("samples", samples))

    def native(self, batch: int = 1, *, samples: int) -> NativeOp:
        """Return what tr.native_step takes: its record has the fields `x` and `out` of `batch` signals."""
        samples = whole("samples", samples)
        shape = (batch, self.settings.n_mels, self.frames(samples))
        fields = [("x", "float32", (batch, samples)), ("out", "float32", shape)]
        return native_op(_NAME, self._run._bound(samples), batch, fields)

    def __repr__(self) -> str:
        s = self.settings
        sizes = f"window {s.length}, hop {s.hop}, n_fft {s.n_fft}, {s.n_mels} bands"
        return f"<LogMel {s.sample_rate:g} Hz, {sizes}>"


@functools.lru_cache(maxsize=64)
def _bound(wanted: Settings) -> _cpu.LogMel:
    bank = wanted.mel_filters()
    empty = int((~bank.any(axis=1)).sum())
    if empty:
        warnings.warn(
            f"{_NAME}: {empty} of {wanted.n_mels} bands lie between two bins of n_fft={wanted.n_fft} and are"
            " always the floor: take fewer bands, or a larger n_fft",
            stacklevel=3,
        )
    return _cpu.LogMel(
        wanted.window(), bank.ravel(), wanted.n_mels, wanted.hop, wanted.center, wanted.pad_mode == "reflect",
        wanted.floor,
    )  # fmt: skip


def _on_device(wanted: Settings, run: _cpu.LogMel, x: Any, out: Any) -> Any:
    from tailrace.kernels.ops.log_mel import launch

    return launch.run(x, wanted, functools.partial(_frames, wanted, run), out)


def _arrays(wanted: Settings, run: _cpu.LogMel, x: Any, out: Any) -> tuple[np.ndarray, np.ndarray]:
    one = getattr(x, "ndim", 1) == 1
    x = _checks.host_array(_NAME, "x", x, ("float32",), ("samples",) if one else ("n", "samples"), least=1)
    shape = (*x.shape[:-1], wanted.n_mels, _frames(wanted, run, x.shape[-1]))
    return x, _checks.output(_NAME, out, shape)


def _into(run: _cpu.LogMel, x: np.ndarray, out: np.ndarray) -> None:
    if x.ndim == 1:
        run(x[None], out[None])
    else:
        run(x, out)


def _frames(wanted: Settings, run: _cpu.LogMel, samples: int) -> int:
    frames = run.frames(samples) if 0 < samples < 1 << 48 else 0
    if frames == 0:
        least, remedy = wanted.n_fft, "pass center=True or a longer signal"
        if wanted.center:
            least, remedy = wanted.n_fft // 2 + 1, 'pass pad_mode="constant" or a longer signal'
        if wanted.center and wanted.pad_mode == "constant":
            least, remedy = 1, "pass a longer signal"
        raise ValueError(f"{_NAME}: x must have at least {least} samples; got {samples}: {remedy}")
    return frames


def _cases(rng: np.random.Generator, n: int, dtype: str) -> dict[str, Any]:
    rate = 16000 if n % 2 else 8000
    shape: tuple[int, ...] = (rate // 80 + 1 + 40 * n,)
    case: dict[str, Any] = {"sample_rate": rate, "n_mels": 40 if rate == 8000 else 80}
    if n % 3 == 0:
        case |= {"mel": "htk", "norm": None, "n_fft": 480, "pad_mode": "constant"}
    if n % 3 == 1:
        shape = (2, *shape)
    return case | {"x": rng.normal(size=shape).astype(dtype)}


def _error(result: np.ndarray, truth: np.ndarray) -> float:
    """Return the largest difference of the logarithms."""
    if result.shape != truth.shape:
        return math.inf
    return float(np.abs(np.asarray(result, np.float64) - truth).max())


def _frames_of(x: Any, sample_rate: float, hop_ms: float = 10.0) -> int:
    return int((x.size // x.shape[-1]) * (1 + x.shape[-1] // round(sample_rate * hop_ms / 1000)))


def _bytes(*, x: Any, sample_rate: float, n_mels: int = 80, **_: Any) -> int:
    return int(x.nbytes + 4 * n_mels * _frames_of(x, sample_rate))


def _flops(*, x: Any, sample_rate: float, n_fft: int | None = None, **_: Any) -> int:
    """Return those of a real transform, 2.5 n log2 n, and three per bin for power and filters."""
    n = n_fft or round(sample_rate * 0.025)
    return int(_frames_of(x, sample_rate) * (2.5 * n * math.log2(n) + n + 3.5 * n))


OP = Op(
    name=_NAME,
    call=log_mel,
    reference=reference.log_mel,
    cases=_cases,
    dtypes=("float32",),
    tolerance={"float32": 1e-4},
    bytes=_bytes,
    flops=_flops,
    error=_error,
    backends=("cpu", "cuda"),
)
