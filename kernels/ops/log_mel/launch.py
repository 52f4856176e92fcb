"""The way of log_mel to the device."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np
from tailrace.kernels.cuda import launcher
from tailrace.kernels.ops.log_mel.settings import Settings

_NAME = "log_mel"
_THREADS = 256
_SHARED_BYTES = 48 * 1024
_LONGEST = 6144  # samples of a transform: 96 KiB, which every device of the last years has
_MOST_SIGNALS = 65535  # of one launch: blocks along y


def run(x: Any, wanted: Settings, frames_of: Callable[[int], int], out: Any) -> Any:
    """Run log_mel on the device; x as the op has it, on the host or on the device.

    Args:
        x: float32 [samples] or [n, samples].
        wanted: the op's arguments, decided.
        frames_of: how many frames so many samples give; raises where they are too few.
        out: where the result goes, or None.

    Raises:
        TypeError, ValueError: for arrays of another dtype, shape or side; for a transform of more than 6,144.
    """
    if wanted.n_fft > _LONGEST:
        raise ValueError(f"{_NAME}: on the device n_fft is at most {_LONGEST}; got {wanted.n_fft}")
    call = launcher.Crossing(_NAME, x)
    one = getattr(x, "ndim", 1) == 1
    x = call.take(x, "x", ("float32",), ("samples",) if one else ("n", "samples"), least=1)
    samples = int(x.shape[-1])
    frames = frames_of(samples)
    result = call.result(out, (*x.shape[:-1], wanted.n_mels, frames))
    engine: Any = launcher.engine()
    tables = _tables(wanted, engine, int(getattr(getattr(x, "device", None), "id", 0)))
    n = wanted.n_fft
    pairs = next((p for p in (4, 2) if 16 * p * n <= _SHARED_BYTES), 1)
    numbers = (
        np.int64(samples),
        np.int32(frames),
        np.int32(n),
        np.int32(wanted.hop),
        np.int32(n // 2 if wanted.center else 0),
        np.int32(wanted.pad_mode == "reflect"),
        np.int32(len(tables[2])),
        np.int32(wanted.n_mels),
        np.int32(pairs),
        np.float32(wanted.floor),
    )
    count = 1 if one else int(x.shape[0])
    for first in range(0, count, _MOST_SIGNALS):
        part = slice(first, min(first + _MOST_SIGNALS, count))
        launcher.launch(
            _NAME,
            "log_mel",
            (-(-frames // (2 * pairs)), part.stop - first),
            (_THREADS,),
            (x if one else x[part], *tables, result if one else result[part], *numbers),
            16 * pairs * n,
        )
    return call.give(result)


@functools.lru_cache(maxsize=32)
def _tables(wanted: Settings, engine: launcher.Engine, device: int) -> tuple[Any, ...]:
    """Window, turns, radices and filters in the memory of `device`, made once."""
    del engine, device  # they are what the tables are kept by
    n = wanted.n_fft
    turns = np.exp(-2j * np.pi * np.arange(n) / n).astype(np.complex64).view(np.float32)
    bank = wanted.mel_filters()
    spans = [(int(row[0]), int(row[-1]) + 1) if len(row) else (0, 0) for row in map(np.flatnonzero, bank)]
    tables = (
        wanted.window().astype(np.float32),
        turns,
        np.array(radices(n), np.int32),
        np.array([first for first, _ in spans], np.int32),
        np.cumsum([0, *(end - first for first, end in spans)]).astype(np.int32),
        np.concatenate([[0.0], *(row[a:b] for row, (a, b) in zip(bank, spans, strict=True))])[1:].astype(
            np.float32
        ),
    )
    there = tuple(launcher.to_device(table) for table in tables)
    launcher.to_host(there[-1])  # they are used on other streams than the one that copies them
    return there


def radices(n: int) -> list[int]:
    """The radices of the passes of a transform of n, a product of 2, 3 and 5.

    >>> radices(400), radices(480)
    ([4, 4, 5, 5], [4, 4, 5, 3, 2])
    """
    found = []
    for radix in (4, 5, 3, 2):
        while n % radix == 0:
            found.append(radix)
            n //= radix
    return found
