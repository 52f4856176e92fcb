"""FeaturesPrep: a preparation of rows that has been fitted to a table."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NoReturn

import numpy as np
from tailrace.kernels import _checks, _cpu, device
from tailrace.kernels.native import NativeOp, native_op
from tailrace.kernels.ops.features_prep.learn import IMPUTE, SCALE, learn_columns

__all__ = ["FeaturesPrep"]

_NAME = "FeaturesPrep"
_DTYPES = ("float32", "float64")


class FeaturesPrep:
    """Turns rows of a table into float32 features: impute, clip and scale numbers, encode categories.

    Made by `fit`. The numeric columns are one pass over the data: a missing value (NaN) becomes its column's
    fill, then each value is clipped to its column's limits, less its centre, divided by its spread. Behind
    them stand one column for each learnt value of each one-hot category column, and the buckets of the
    hashed ones.

    Attributes:
        columns: Numeric columns of a row.
        categories: Category columns of a row.
        width: Features of a row.
        learnt: float64 [5, columns], read-only: fill, low, high, centre, spread.
        encodings: For each category column its learnt values, int64, sorted; or, if it is hashed, its seed.

    Source: Weinberger et al., "Feature hashing for large scale multitask learning", 2009; the hash is XXH64.

    >>> import numpy as np
    >>> from tailrace.kernels import FeaturesPrep
    >>> prep = FeaturesPrep.fit(np.array([[1, 10], [3, np.nan], [5, 30]], np.float32), scale="minmax")
    >>> prep(np.array([[2, np.nan], [5, 10]], np.float32))
    array([[0.25, 0.5 ],
           [1.  , 0.  ]], dtype=float32)
    """

    def __init__(
        self,
        learnt: Any,
        encodings: Sequence[Any] = (),
        *,
        unknown: str = "zeros",
        buckets: int = 64,
    ) -> None:
        """Take what another FeaturesPrep has learnt: its `learnt` and `encodings`."""
        if unknown not in ("zeros", "error"):
            raise ValueError(f"{_NAME}: unknown must be 'zeros' or 'error'; got {unknown!r}")
        self.learnt = _checks.host_array(_NAME, "learnt", learnt, ("float64",), (5, "columns")).copy()
        self.learnt.flags.writeable = False
        _check_learnt(self.learnt)
        self.encodings: tuple[Any, ...] = tuple(
            int(e) % 2**64
            if isinstance(e, int | np.integer)
            else np.unique(_checks.host_array(_NAME, "encodings", e, ("int64",), ("values",)))
            for e in encodings
        )
        hashed = any(isinstance(e, int) for e in self.encodings)
        if hashed and not (isinstance(buckets, int) and 1 <= buckets < 2**31):
            raise ValueError(f"{_NAME}: buckets must be a whole number from 1 to 2**31 - 1; got {buckets!r}")
        self.columns = self.learnt.shape[1]
        self.categories = len(self.encodings)
        self.width = self.columns + sum(len(e) for e in self.encodings if not isinstance(e, int))
        self.width += buckets if hashed else 0
        self._buckets = buckets if hashed else 0
        self._unknown_is_error = unknown == "error"
        self._op = _cpu.FeaturesPrep(self.learnt, list(self.encodings), self._buckets, self._unknown_is_error)
        self._device: Any = None  # made by the first call with arrays of a device

    @classmethod
    def fit(
        cls,
        data: Any,
        *,
        categories: Any = None,
        impute: str | None = "mean",
        fill: Any = 0.0,
        clip: tuple[Any, Any] | None = None,
        clip_quantiles: tuple[float, float] | None = None,
        scale: str | None = "standard",
        encode: str | Sequence[str] = "one_hot",
        unknown: str = "zeros",
        buckets: int = 64,
        seed: int = 0,
    ) -> FeaturesPrep:
        """Learn from a table, and return what prepares others like it.

        Args:
            data: float32 or float64 [rows, columns]; NaN is a missing value. Infinite values teach nothing.
            categories: int64 [rows, category columns], or None.
            impute: what a missing value becomes: "mean" or "median" of its column, "constant" (`fill`), or
                None: it stays NaN.
            fill: a number, or [columns], for impute="constant".
            clip: (low, high), numbers or [columns]; infinite for no limit.
            clip_quantiles: (low, high) in 0..1: the limits are these quantiles of each column.
            scale: "standard": less the mean, by the standard deviation; "minmax": to 0..1; or None. Learnt
                from what imputing and clipping leave. A constant column becomes 0.
            encode: "one_hot" or "hash", for all category columns or for each.
            unknown: a value of a one-hot column that was not learnt gives "zeros" or is an "error".
            buckets: features that all hashed columns share.
            seed: of the hash; column c has seed + c.

        Raises:
            TypeError, ValueError: for arrays of another dtype, shape or layout; for a column without any
                finite value.
        """
        data = _checks.host_array(_NAME, "data", data, _DTYPES, ("rows", "columns"), least=1)
        if impute not in IMPUTE:
            raise ValueError(f"{_NAME}: impute must be one of {IMPUTE}; got {impute!r}")
        if scale not in SCALE:
            raise ValueError(f"{_NAME}: scale must be one of {SCALE}; got {scale!r}")
        clip = _limits(clip, clip_quantiles, data.shape[1])
        if not _numbers(fill, data.shape[1]):
            raise ValueError(
                f"{_NAME}: fill must be a number, or {data.shape[1]} of them, and not NaN; got {fill!r}"
            )
        learnt = learn_columns(_NAME, data, impute, fill, clip, clip_quantiles, scale)
        if not isinstance(seed, int | np.integer):
            raise ValueError(f"{_NAME}: seed must be a whole number; got {seed!r}")
        encodings: list[Any] = []
        if categories is not None:
            categories = _checks.host_array(
                _NAME, "categories", categories, ("int64",), (len(data), "columns")
            )
            count = categories.shape[1]
            each = [encode] * count if isinstance(encode, str) else list(encode)
            if len(each) != count or not set(each) <= {"one_hot", "hash"}:
                raise ValueError(
                    f"{_NAME}: encode must be 'one_hot' or 'hash', or {count} of them; got {encode!r}"
                )
            encodings = [
                (int(seed) + c) % 2**64 if how == "hash" else np.unique(categories[:, c])
                for c, how in enumerate(each)
            ]
        return cls(learnt, encodings, unknown=unknown, buckets=buckets)

    def __call__(self, data: Any, categories: Any = None, *, out: Any = None) -> Any:
        """Prepare rows.

        Args:
            data: float32 or float64 [rows, columns], on the host or on a device.
            categories: int64 [rows, category columns]; needed where it was fitted with some.
            out: float32 [rows, width] that is written to and returned. It may be `data` itself, if that is
                float32 and there are no categories; else nothing of it may lie there.

        Returns:
            float32 [rows, width], where the data is; with unknown="error" a call with arrays of a device
            waits for it.

        Raises:
            TypeError, ValueError: for arrays of another dtype, shape or layout; for an unknown category if it
                was fitted with unknown="error" (`out` then is written in part).
        """
        if not isinstance(data, np.ndarray) and _checks.is_device_array(data):
            return self._on_device(data, categories, out)
        if out is None:
            rows = data.shape[0] if isinstance(data, np.ndarray) and data.ndim else 0
            out = np.empty((rows, self.width), np.float32)
        refused = self._op(data, categories, out)
        if refused is None:
            return out
        if isinstance(refused, tuple):
            self._refuse(categories[refused], *refused)
        data = _checks.host_array(_NAME, "data", data, _DTYPES, ("rows", self.columns))
        if self.categories:
            _checks.host_array(_NAME, "categories", categories, ("int64",), (len(data), self.categories))
        elif categories is not None:
            raise ValueError(f"{_NAME}: categories were given, but it was fitted without any")
        _checks.output(_NAME, out, (len(data), self.width), apart_from=(data, categories))
        raise AssertionError("a kernel refused arrays that its op finds right")

    def _on_device(self, data: Any, categories: Any, out: Any) -> Any:
        device.require()
        from tailrace.kernels.ops.features_prep import launch

        if not self.categories and categories is not None:
            raise ValueError(f"{_NAME}: categories were given, but it was fitted without any")
        if self._device is None:
            self._device = launch.DevicePrep(
                self.learnt, self.encodings, self._buckets, self._unknown_is_error
            )
        features, refused = self._device(data, categories, out)
        if refused is not None:
            self._refuse(*refused)
        return features

    def _refuse(self, value: Any, row: int, column: int) -> NoReturn:
        known = self.encodings[column]
        some = ", ".join(str(v) for v in known[:5]) + (", ..." if len(known) > 5 else "")
        raise ValueError(
            f"{_NAME}: row {row} has category {value} in category column {column}, which "
            f"was not learnt (learnt: {some}); fit with unknown='zeros' to let such rows pass"
        )

    def native(self, batch: int = 1) -> NativeOp:
        """Return what tr.native_step takes, for records of `batch` rows.

        Their fields are data, float32 [batch, columns]; categories, int64, if there are any; features,
        float32 [batch, width]. An unknown category, if it is an error, fails the step.

        Args:
            batch: rows of one record.
        """
        fields: list[tuple[str, str, tuple[int, ...]]] = [("data", "float32", (batch, self.columns))]
        if self.categories:
            fields.append(("categories", "int64", (batch, self.categories)))
        fields.append(("features", "float32", (batch, self.width)))
        return native_op(_NAME, self._op._bound(), batch, fields)

    def __repr__(self) -> str:
        return f"<FeaturesPrep {self.columns} columns, {self.categories} categories -> {self.width} features>"


def _check_learnt(learnt: np.ndarray) -> None:
    _, low, high, centre, spread = learnt
    single = np.finfo(np.float32)
    wrong = ~(
        (np.abs(centre) <= float(single.max)) & (spread >= float(single.tiny)) & (spread <= float(single.max))
    )
    if wrong.any():
        column = int(np.argmax(wrong))
        raise ValueError(
            f"{_NAME}: column {column} has centre {centre[column]} and spread {spread[column]}, and float32 "
            f"holds neither below {single.tiny} nor beyond {single.max}: scale the column before"
        )
    if not (low <= high).all():
        column = int(np.argmin(low <= high))
        raise ValueError(
            f"{_NAME}: learnt must have low <= high; column {column} has {low[column]}, {high[column]}"
        )


def _numbers(value: Any, columns: int) -> bool:
    """Whether it is a number, or one a column, and no NaN."""
    try:
        numbers = np.asarray(value, np.float64)
    except (TypeError, ValueError):
        return False
    return numbers.shape in ((), (columns,)) and not np.isnan(numbers).any()


def is_range(limits: Any, columns: int) -> bool:
    """Whether it is (low, high), each a number or one a column, with low <= high."""
    if not isinstance(limits, tuple | list | np.ndarray) or len(limits) != 2:
        return False
    low, high = limits
    return (
        _numbers(low, columns)
        and _numbers(high, columns)
        and bool((np.asarray(low) <= np.asarray(high)).all())
    )


def _limits(
    clip: tuple[Any, Any] | None, quantiles: tuple[float, float] | None, columns: int
) -> tuple[Any, Any] | None:
    if clip is not None and quantiles is not None:
        raise ValueError(f"{_NAME}: give clip (limits) or clip_quantiles (limits to learn), not both")
    if quantiles is not None:
        if not is_range(quantiles, 1) or not 0 <= np.min(quantiles) <= np.max(quantiles) <= 1:
            raise ValueError(
                f"{_NAME}: clip_quantiles must be (low, high) with 0 <= low <= high <= 1; got {quantiles!r}"
            )
    elif clip is not None and not is_range(clip, columns):
        raise ValueError(
            f"{_NAME}: clip must be (low, high) with low <= high, each a number or {columns} of them, and no "
            f"NaN; got {clip!r}"
        )
    return clip
