"""The truth of sample_tokens: float64, by sorting."""

from __future__ import annotations

from typing import Any

import numpy as np

__all__ = ["kept_tokens", "philox", "sample_tokens"]

_LOW = 0xFFFFFFFF
_LEAST = 2.0**-41  # beside the likeliest token's 1: what is not above it weighs nothing


def philox(seed: int, step: int, row: int) -> int:
    """Return 64 random bits for a row at a step: Philox4x32-10 of Salmon et al., 2011.

    >>> hex(philox(0, 0, 0))
    '0xe169c58d6627e8d5'
    """
    key = [seed & _LOW, seed >> 32]
    counter = [row & _LOW, row >> 32, step & _LOW, step >> 32]
    for _ in range(10):
        first, second = 0xD2511F53 * counter[0], 0xCD9E8D57 * counter[2]
        counter = [
            (second >> 32) ^ counter[1] ^ key[0],
            second & _LOW,
            (first >> 32) ^ counter[3] ^ key[1],
            first & _LOW,
        ]
        key = [(key[0] + 0x9E3779B9) & _LOW, (key[1] + 0xBB67AE85) & _LOW]
    return counter[0] | counter[1] << 32


def kept_tokens(
    logits: np.ndarray, *, temperature: Any = 1.0, top_k: Any = 0, top_p: Any = 1.0, min_p: Any = 0.0
) -> np.ndarray:
    """Return which tokens of each row can be drawn, bool [rows, tokens]."""
    kept = np.zeros(logits.shape, bool)
    limits = (_per_row(value, len(logits)) for value in (temperature, top_k, top_p, min_p))
    for row, (given, degree, k, p, least) in enumerate(zip(logits, *limits, strict=True)):
        kept[row] = _row(given.astype(np.float64), degree, k, p, least)[1]
    return kept


def sample_tokens(
    logits: np.ndarray,
    *,
    temperature: Any = 1.0,
    top_k: Any = 0,
    top_p: Any = 1.0,
    min_p: Any = 0.0,
    seed: Any,
    step: Any = 0,
) -> np.ndarray:
    """Return the token drawn for each row, int32 [rows]."""
    out = np.zeros(len(logits), np.int32)
    limits = (_per_row(value, len(logits)) for value in (temperature, top_k, top_p, min_p, seed, step))
    for row, (given, degree, k, p, least, key, at) in enumerate(zip(logits, *limits, strict=True)):
        weights, kept = _row(given.astype(np.float64), degree, k, p, least)
        sums = np.cumsum(np.where(kept, weights, 0.0))
        share = philox(int(key), int(at), row) / 2**64
        out[row] = np.argmax(sums > share * sums[-1])  # the first at which the sum passes the share
    return out


def _per_row(value: Any, rows: int) -> list[Any]:
    return [value] * rows if np.ndim(value) == 0 else list(value)


def _row(
    logits: np.ndarray, temperature: float, top_k: int, top_p: float, min_p: float
) -> tuple[np.ndarray, np.ndarray]:
    """The weights of one row beside the likeliest token's 1, and which of them are kept."""
    highest = logits.max()
    order = np.argsort(-logits, kind="stable")  # the likeliest first, of equals the lower index
    kept = np.zeros(len(logits), bool)
    if temperature == 0:
        kept[order[0]] = True
        return kept.astype(np.float64), kept
    weights = np.exp((logits - highest) / temperature)
    weights[weights <= _LEAST] = 0
    if top_k:
        order = order[:top_k]
    if top_p < 1:
        sums = np.cumsum(weights[order])
        order = order[: int(np.searchsorted(sums, top_p * sums[-1])) + 1]
    kept[order] = True
    kept &= weights > 0
    if min_p > 0:
        kept &= logits >= highest + temperature * np.log(min_p)
    return weights, kept
