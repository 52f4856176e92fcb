"""features_prep as the definition has it: float64, a row at a time where that is clearer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

_MASK = 2**64 - 1
_PRIMES = (
    11400714785074694791,
    14029467366897019727,
    1609587929392839161,
    9650029242287828579,
    2870177450012600261,
)


def _rotated(value: int, by: int) -> int:
    return ((value << by) | (value >> (64 - by))) & _MASK


def xxh64(value: int, seed: int) -> int:
    """XXH64 of the eight bytes of an int64, little-endian."""
    p1, p2, p3, p4, p5 = _PRIMES
    h = (seed + p5 + 8) & _MASK
    h ^= _rotated((value & _MASK) * p2 & _MASK, 31) * p1 & _MASK
    h = (_rotated(h, 27) * p1 + p4) & _MASK
    h = (h ^ (h >> 33)) * p2 & _MASK
    h = (h ^ (h >> 29)) * p3 & _MASK
    return h ^ (h >> 32)


def valid_rows(data: Any, nan_is_valid: bool, valid_range: tuple[Any, Any] | None = None) -> Any:
    """True for each row of finite values within the range; a NaN as asked."""
    x = np.asarray(data, np.float64)
    wrong = np.isinf(x)
    if not nan_is_valid:
        wrong |= np.isnan(x)
    if valid_range is not None:
        # A limit of 0.1 is the data's 0.1.
        low, high = (np.asarray(limit).astype(data.dtype).astype(np.float64) for limit in valid_range)
        wrong |= (x < low) | (x > high)
    return ~wrong.any(axis=1)


def distinct_rows(data: Any, categories: Any = None) -> Any:
    """Indices of the first of each set of equal rows; NaN equals NaN, and -0 equals 0."""
    seen: set[tuple[Any, ...]] = set()
    kept = []
    for i, row in enumerate(data):
        key: tuple[Any, ...] = tuple("missing" if np.isnan(v) else float(v) for v in row)
        if categories is not None:
            key += tuple(int(v) for v in categories[i])
        if key not in seen:
            seen.add(key)
            kept.append(i)
    return np.array(kept, np.int64)


def learn(
    data: Any,
    impute: str | None = "mean",
    fill: Any = 0.0,
    clip: tuple[Any, Any] | None = None,
    clip_quantiles: tuple[float, float] | None = None,
    scale: str | None = "standard",
) -> Any:
    """Rows fill, low, high, centre, spread, one number a column each."""
    x = np.asarray(data, np.float64)
    learnt = np.empty((5, x.shape[1]))
    learnt[0] = np.nan if impute is None else fill
    learnt[1:3] = [[-np.inf], [np.inf]]
    if clip is not None:
        learnt[1], learnt[2] = clip
    for c, column in enumerate(x.T):
        observed = column[np.isfinite(column)]
        if impute == "mean":
            learnt[0, c] = observed.mean()
        elif impute == "median":
            learnt[0, c] = np.median(observed)
        if clip_quantiles is not None:
            learnt[1:3, c] = np.quantile(observed, clip_quantiles)
        seen = np.clip(np.where(np.isnan(column), learnt[0, c], column), learnt[1, c], learnt[2, c])
        seen = seen[np.isfinite(seen)]
        if scale == "standard":
            learnt[3:, c] = seen.mean(), seen.std()
        elif scale == "minmax":
            learnt[3:, c] = seen.min(), np.ptp(seen)
        else:
            learnt[3:, c] = 0, 1
        if learnt[4, c] <= max(1.2e-38, 16 * np.finfo(np.float64).eps * abs(learnt[3, c])):
            learnt[4, c] = 1  # a constant column
    return learnt


def scaled(data: Any, learnt: Any) -> Any:
    """Impute, clip, scale."""
    fill, low, high, centre, spread = learnt
    x = np.asarray(data, np.float64)
    return (np.clip(np.where(np.isnan(x), fill, x), low, high) - centre) / spread


def encoded(categories: Any, encodings: Sequence[Any], buckets: int) -> Any:
    """One column for each learnt value; then the buckets that all hashed columns share."""
    rows = len(categories)
    blocks = []
    hashed = np.zeros((rows, buckets))
    for c, encoding in enumerate(encodings):
        column = categories[:, c]
        if isinstance(encoding, int):
            for r, value in enumerate(column):
                h = xxh64(int(value), encoding)
                hashed[r, h % buckets] += -1 if h >> 63 else 1
        else:
            blocks.append((column[:, None] == np.asarray(encoding)[None, :]).astype(np.float64))
    if any(isinstance(e, int) for e in encodings):
        blocks.append(hashed)
    return np.concatenate(blocks, axis=1) if blocks else np.zeros((rows, 0))


def features_prep(
    data: Any,
    *,
    categories: Any = None,
    invalid: str = "drop",
    duplicates: str = "drop",
    valid_range: tuple[Any, Any] | None = None,
    impute: str | None = "mean",
    fill: Any = 0.0,
    clip: tuple[Any, Any] | None = None,
    clip_quantiles: tuple[float, float] | None = None,
    scale: str | None = "standard",
    encode: str | Sequence[str] = "one_hot",
    unknown: str = "zeros",
    buckets: int = 64,
    seed: int = 0,
) -> tuple[Any, Any]:
    """Clean, deduplicate, learn, prepare: features and the indices of their rows."""
    del unknown  # every category has been learnt
    kept = np.arange(len(data))
    if invalid == "drop":
        kept = kept[valid_rows(data, impute is not None, valid_range)]
    if duplicates == "drop":
        kept = kept[distinct_rows(data[kept], None if categories is None else categories[kept])]
    x = data[kept]
    features = scaled(x, learn(x, impute, fill, clip, clip_quantiles, scale))
    if categories is None:
        return features, kept
    codes = categories[kept]
    each = [encode] * codes.shape[1] if isinstance(encode, str) else encode
    encodings = [(seed + c) % 2**64 if e == "hash" else np.unique(codes[:, c]) for c, e in enumerate(each)]
    return np.concatenate([features, encoded(codes, encodings, buckets)], axis=1), kept
