"""The way of sample_tokens to the device."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from tailrace.kernels.cuda import launcher

_NAME = "sample_tokens"
_THREADS = 1024
_MOST_TOKENS = 2**22
_LOG2_E = 1.4426950408889634
# As struct Draw of cuda.cu.
_DRAW = np.dtype(
    [("parts", "u8"), ("seed", "u8"), ("step", "u8"), ("margin", "f8"), ("scale", "f4"), ("top_k", "u4")]
)


def on_host(value: Any) -> Any:
    """A parameter where it can be read: one that lies on the device is copied, for which the call waits."""
    there = launcher.engine().view(value)
    return value if there is None else launcher.to_host(there)


def run(
    logits: Any,
    temperature: np.ndarray,
    top_k: np.ndarray,
    top_p: np.ndarray,
    min_p: np.ndarray,
    seed: np.ndarray,
    step: np.ndarray,
    out: Any,
    shape: tuple[int | str, int | str] = ("rows", "tokens"),
) -> Any:
    """Run sample_tokens on the device; logits on the host or on the device, parameters on the host.

    A row with NaN, +inf or nothing but -inf gets the token -1: no call waits for the device to raise.

    Args:
        logits: float32 [rows, tokens].
        temperature, top_p, min_p: float64 [1] or [rows].
        top_k: int64 [1] or [rows].
        seed, step: uint64 [1] or [rows].
        out: int32 [rows], or None.
        shape: that the logits must have.

    Raises:
        TypeError, ValueError: for arrays of another dtype, shape or side.
    """
    call = launcher.Crossing(_NAME, logits)
    logits = call.take(logits, "logits", ("float32",), shape, least=1)
    rows, count = (int(extent) for extent in logits.shape)
    if not 1 <= count <= _MOST_TOKENS:
        raise ValueError(f"{_NAME}: logits must have 1 to {_MOST_TOKENS} tokens; got {count}")
    result = call.result(out, (rows,), "int32")
    draws = _draws(temperature, top_k, top_p, min_p, seed, step)
    each = launcher.to_device(draws.view(np.uint8)) if len(draws) > 1 else None
    launcher.launch(
        _NAME, "sample_tokens", (rows,), (_THREADS,), (logits, result, np.int32(count), draws[:1], each)
    )
    return call.give(result)


def _draws(
    temperature: np.ndarray,
    top_k: np.ndarray,
    top_p: np.ndarray,
    min_p: np.ndarray,
    seed: np.ndarray,
    step: np.ndarray,
) -> np.ndarray:
    """One _DRAW for each row, or one for all if nothing differs between them."""
    rows = max(len(values) for values in (temperature, top_k, top_p, min_p, seed, step))
    draws = np.zeros(rows, _DRAW)
    draws["parts"] = np.ceil(top_p * 2.0**53)
    draws["seed"], draws["step"] = seed, step
    with np.errstate(divide="ignore", invalid="ignore"):
        draws["margin"] = np.where(min_p > 0, temperature * np.log(min_p), -math.inf)
        draws["scale"] = np.clip(_LOG2_E / temperature, 2.0**-126, 2.0**127)
    draws["top_k"] = np.minimum(top_k, _MOST_TOKENS)
    greedy = np.broadcast_to(temperature == 0, rows)
    for name, value in (("parts", 2**53), ("margin", -math.inf), ("scale", 1), ("top_k", 1)):
        draws[name][greedy] = value
    return draws
