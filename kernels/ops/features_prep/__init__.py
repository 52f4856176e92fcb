"""features_prep: rows of a table made clean, distinct, complete, bounded, scaled and numeric."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from tailrace.kernels import _checks, _cpu, dispatch
from tailrace.kernels.ops.features_prep import reference
from tailrace.kernels.ops.features_prep.prep import FeaturesPrep, is_range
from tailrace.kernels.registry import Op, relative_l2

__all__ = ["OP", "FeaturesPrep", "PreparedRows", "distinct_rows", "features_prep", "valid_rows"]

_NAME = "features_prep"
_DTYPES = ("float32", "float64")


class PreparedRows(NamedTuple):
    """What features_prep returns.

    Attributes:
        features: float32 [kept rows, features].
        kept: int64 [kept rows]: which rows of the table they are.
    """

    features: Any
    kept: Any


def valid_rows(data: Any, *, nan_is_valid: bool = True, valid_range: tuple[Any, Any] | None = None) -> Any:
    """Return which rows have nothing wrong in them.

    Args:
        data: float32 or float64 [rows, columns].
        nan_is_valid: whether a missing value (NaN) may stand in a valid row; an infinite one never may.
        valid_range: (low, high), numbers or [columns], inclusive, as the dtype of the data has them: what
            lies outside is wrong.

    Returns:
        bool [rows].

    Raises:
        TypeError, ValueError: for an array of another dtype, shape or layout.

    >>> import numpy as np
    >>> from tailrace.kernels import valid_rows
    >>> valid_rows(np.array([[1.0, 2.0], [np.inf, 3.0], [np.nan, -1.0]]), valid_range=(0, 10))
    array([ True, False, False])
    """
    data = _checks.host_array("valid_rows", "data", data, _DTYPES, ("rows", "columns"))
    most = float(np.finfo(data.dtype).max)
    limits = np.empty((2, data.shape[1]), data.dtype)
    if valid_range is not None and not is_range(valid_range, data.shape[1]):
        raise ValueError(
            f"valid_rows: valid_range must be (low, high) with low <= high, each a number or {data.shape[1]} "
            f"of them, and no NaN; got {valid_range!r}"
        )
    low, high = (-most, most) if valid_range is None else valid_range
    limits[0], limits[1] = np.clip(low, -most, most), np.clip(high, -most, most)
    valid = np.empty(len(data), np.bool_)
    _cpu.features_prep_check(data, limits[0], limits[1], nan_is_valid, valid)
    return valid


def distinct_rows(data: Any, categories: Any = None) -> Any:
    """Return the indices of the first of each set of equal rows, in order.

    Rows are equal if all their values are: exactly, but 0 equals -0 and a missing value (NaN) a missing one.

    Args:
        data: float32 or float64 [rows, columns].
        categories: int64 [rows, columns] that belong to the rows, or None.

    Returns:
        int64 [distinct rows].

    Raises:
        TypeError, ValueError: for arrays of another dtype, shape or layout.

    >>> import numpy as np
    >>> from tailrace.kernels import distinct_rows
    >>> distinct_rows(np.array([[1.0, 2.0], [3.0, np.nan], [1.0, 2.0], [3.0, np.nan]]))
    array([0, 1])
    """
    data = _checks.host_array("distinct_rows", "data", data, _DTYPES, ("rows", "columns"))
    if categories is not None:
        categories = _checks.host_array(
            "distinct_rows", "categories", categories, ("int64",), (len(data), "columns")
        )
    if len(data) >= 2**32 - 1:
        raise ValueError(
            f"distinct_rows: data has {len(data)} rows, and the most is 2**32 - 2: take it in parts"
        )
    kept = np.empty(len(data), np.int64)
    return kept[: _cpu.features_prep_distinct(data, categories, kept)]


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
    backend: str = "auto",
    out: Any = None,
) -> PreparedRows:
    """Clean a table, drop repeated rows, learn from what is left and prepare it: float32 features.

    `FeaturesPrep.fit` tells of the arguments that are not told here; it gives what prepares later rows alike.

    Args:
        data: float32 or float64 [rows, columns]; NaN is a missing value.
        categories: int64 [rows, category columns], or None.
        invalid: rows with an infinite value, one outside `valid_range`, or a missing one that impute=None
            leaves: "drop", "keep", or "error".
        duplicates: rows that equal an earlier one: "drop" or "keep".
        valid_range: (low, high), numbers or [columns], inclusive.
        impute, fill, clip, clip_quantiles, scale, encode, unknown, buckets, seed: as for `FeaturesPrep.fit`.
        backend: "auto", "cpu" or "numpy".
        out: (features, kept), float32 [rows, features] and int64 [rows], of as many rows as are kept, or
            more: their first rows are written to and returned.

    Returns:
        features, float32 [kept rows, features], and kept, int64 [kept rows].

    Raises:
        TypeError, ValueError: for arrays of another dtype, shape or layout; for an invalid row with
            invalid="error"; where no row is left.
        BackendUnavailable: for a named backend that cannot be had here.

    >>> import numpy as np
    >>> from tailrace.kernels import features_prep
    >>> rows = np.array([[1, 5], [3, np.nan], [1, 5], [np.inf, 5], [5, 9]], np.float32)
    >>> features, kept = features_prep(rows, scale="minmax")
    >>> kept
    array([0, 1, 4])
    >>> features
    array([[0. , 0. ],
           [0.5, 0.5],
           [1. , 1. ]], dtype=float32)
    """
    if invalid not in ("drop", "keep", "error") or duplicates not in ("drop", "keep"):
        raise ValueError(
            f"{_NAME}: invalid must be 'drop', 'keep' or 'error', and duplicates 'drop' or 'keep'; "
            f"got {invalid!r}, {duplicates!r}"
        )
    chosen = dispatch.choose(_NAME, backend, data, categories, *_pair(out), offers=("cpu",))
    data = _checks.host_array(_NAME, "data", data, _DTYPES, ("rows", "columns"), least=1)
    if categories is not None:
        categories = _checks.host_array(_NAME, "categories", categories, ("int64",), (len(data), "columns"))
    options: dict[str, Any] = {
        "impute": impute,
        "fill": fill,
        "clip": clip,
        "clip_quantiles": clip_quantiles,
        "scale": scale,
        "encode": encode,
        "unknown": unknown,
        "buckets": buckets,
        "seed": seed,
    }
    kept = np.arange(len(data))
    if invalid != "keep":
        valid = valid_rows(data, nan_is_valid=impute is not None, valid_range=valid_range)
        if chosen == "numpy":
            valid = reference.valid_rows(data, impute is not None, valid_range)
        kept = np.flatnonzero(valid)
        if invalid == "error" and len(kept) < len(data):
            row = int(np.argmin(valid))
            raise ValueError(
                f"{_NAME}: row {row} has an invalid value, {data[row]}: mend it, or pass invalid='drop'"
            )
        if len(kept) == 0:
            raise ValueError(f"{_NAME}: every row has an invalid value: nothing is left to learn from")
    data, categories = _chosen(data, kept), _chosen(categories, kept)
    if duplicates == "drop":
        find = reference.distinct_rows if chosen == "numpy" else distinct_rows
        first = find(data, categories)
        data, categories, kept = _chosen(data, first), _chosen(categories, first), kept[first]
    prep = FeaturesPrep.fit(data, categories=categories, **options)
    features, rows = _pair(out) or (None, None)
    features = _front(features, "out[0]", "float32", len(kept), prep.width)
    rows = _front(rows, "out[1]", "int64", len(kept))
    rows[...] = kept
    if chosen == "numpy":
        truth = reference.features_prep(
            data, categories=categories, invalid="keep", duplicates="keep", **options
        )
        dispatch.reference_into(truth[0], features)
    else:
        prep(data, categories, out=features)
    return PreparedRows(features, rows)


def _pair(out: Any) -> tuple[Any, ...]:
    if out is None:
        return ()
    if not isinstance(out, tuple | list) or len(out) != 2:
        raise TypeError(f"{_NAME}: out must be (features, kept), two arrays; got {_checks.describe(out)}")
    return tuple(out)


def _front(buffer: Any, name: str, dtype: str, rows: int, *rest: int) -> np.ndarray:
    """The caller's buffer, if it has just these rows, or a view of its first; a new one for None."""
    if buffer is not None:
        buffer = _checks.host_array(_NAME, name, buffer, (dtype,), ("rows", *rest), least=rows)
        buffer = buffer if len(buffer) == rows else buffer[:rows]
    return _checks.output(_NAME, buffer, (rows, *rest), dtype, name)


def _chosen(table: Any, rows: np.ndarray) -> Any:
    return table if table is None or len(rows) == len(table) else table[rows]


def _cases(rng: np.random.Generator, n: int, dtype: str) -> dict[str, Any]:
    rows, columns = 2 + 3 * n, 1 + n
    data = rng.normal(
        rng.normal(scale=20, size=columns), rng.uniform(0.1, 9, columns), (rows, columns)
    ).astype(dtype)
    data[rng.random(data.shape) < 0.05] = np.nan
    data[:2] = rng.normal(size=(2, columns))  # so that no column lacks all values
    data[rng.integers(2, rows, n // 8), 0] = np.inf
    data[rng.integers(2, rows, n // 4)] = data[0]
    case: dict[str, Any] = {"data": data, "clip_quantiles": (0.02, 0.98)}
    if n % 2:
        case |= {
            "categories": rng.integers(0, 5, (rows, 3)),
            "encode": ["one_hot", "hash", "one_hot"],
            "buckets": 11,
        }
    return case


def _error(result: Any, truth: Any) -> float:
    """Relative L2 of the features; other rows than the reference keeps are infinitely wrong."""
    return relative_l2(result[0], truth[0]) if np.array_equal(result[1], truth[1]) else float("inf")


def _bytes(*, data: Any, **_: Any) -> int:
    return int(data.size * (data.dtype.itemsize + 4))


def _flops(*, data: Any, **_: Any) -> int:
    return int(5 * data.size)


OP = Op(
    name=_NAME,
    call=features_prep,
    reference=reference.features_prep,
    cases=_cases,
    dtypes=_DTYPES,
    tolerance={"float32": 1e-6, "float64": 1e-6},
    bytes=_bytes,
    flops=_flops,
    error=_error,
)
