"""The way of a fitted FeaturesPrep to the device."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from tailrace.kernels.cuda import launcher

_NAME = "FeaturesPrep"
_THREADS = 256
_SHARED_BYTES = 48 * 1024
_ROWS_OF_THREAD = 8
NONE_UNKNOWN = np.iinfo(np.int64).max


class DevicePrep:
    """What a FeaturesPrep has learnt, laid out for the kernel and kept on the device.

    Args:
        learnt: float64 [5, columns]: fill, low, high, centre, spread.
        encodings: for each category column its values, int64, sorted, or its seed.
        buckets: features that the hashed columns share; 0 without any.
        unknown_is_error: whether a value that was not learnt is told.
    """

    def __init__(
        self, learnt: np.ndarray, encodings: Sequence[Any], buckets: int, unknown_is_error: bool
    ) -> None:
        if 4 * buckets > _SHARED_BYTES:
            raise ValueError(
                f"{_NAME}: the device has room for {_SHARED_BYTES // 4} buckets; got {buckets}: take fewer"
            )
        self._columns = learnt.shape[1]
        self._categories = len(encodings)
        self._buckets = buckets
        self._unknown_is_error = unknown_is_error
        one_hot = [(c, e) for c, e in enumerate(encodings) if not isinstance(e, int)]
        hashed = [(c, e) for c, e in enumerate(encodings) if isinstance(e, int)]
        ends = np.cumsum([0, *(len(values) for _, values in one_hot)])
        values = [np.asarray(values, np.int64) for _, values in one_hot]
        self._width = self._columns + int(ends[-1]) + buckets
        self._tables = (
            np.concatenate([np.full(len(v), c, np.int32) for c, v in one_hot] or [np.zeros(0, np.int32)]),
            np.concatenate(values or [np.zeros(0, np.int64)]),
            np.array([(c, ends[i], ends[i + 1]) for i, (c, _) in enumerate(one_hot)], np.int32).reshape(
                -1, 3
            ),
            np.array([c for c, _ in hashed], np.int32),
            np.array([seed for _, seed in hashed], np.uint64),
        )
        self._packed = {name: _packed(learnt, np.dtype(name)) for name in ("float32", "float64")}
        self._there: dict[tuple[int, int, str], tuple[Any, ...]] = {}

    def __call__(self, data: Any, categories: Any, out: Any) -> tuple[Any, tuple[int, int, int] | None]:
        """Prepare rows; return the features, or None and the unknown value, its row and its column.

        Raises:
            TypeError, ValueError: for arrays of another dtype, shape or side.
        """
        from tailrace.kernels.ops.features_prep import cuda

        call = launcher.Crossing(_NAME, data)
        data = call.take(data, "data", ("float32", "float64"), ("rows", self._columns))
        rows = len(data)
        if self._categories:
            categories = call.take(categories, "categories", ("int64",), (rows, self._categories))
        else:
            categories = launcher.empty((0, 0), np.int64)
        features = call.result(out, (rows, self._width))
        packed, *tables = self._on_device(data)
        unknown = launcher.to_device(np.full(int(self._unknown_is_error), NONE_UNKNOWN, np.int64))
        across = min(_THREADS, 1 << max(self._width - 1, 0).bit_length())
        down = _THREADS // across
        rows_of_block = down * _ROWS_OF_THREAD
        if self._buckets:
            rows_of_block = max(1, min(rows_of_block, _SHARED_BYTES // (4 * self._buckets)))
        launcher.launch_numba(
            cuda.prepare_rows,
            (-(-rows // rows_of_block),),
            (across, down),
            (data, categories, packed, *tables, self._buckets, rows_of_block, unknown, features),
            4 * self._buckets * rows_of_block,
        )
        if self._unknown_is_error:
            first = int(launcher.to_host(unknown)[0])
            if first != NONE_UNKNOWN:
                row, column = divmod(first, self._categories)
                return None, (int(launcher.to_host(categories[row])[column]), row, column)
        return call.give(features), None

    def _on_device(self, data: Any) -> tuple[Any, ...]:
        device = int(getattr(getattr(data, "device", None), "id", 0))
        key = (id(launcher.engine()), device, data.dtype.name)
        if key not in self._there:
            there = tuple(launcher.to_device(t) for t in (self._packed[data.dtype.name], *self._tables))
            launcher.to_host(there[0])  # they are used on other streams than the one that copies them
            self._there[key] = there
        return self._there[key]


def _packed(learnt: np.ndarray, dtype: np.dtype[Any]) -> np.ndarray:
    """What stands for a missing value, low, high, centre, inverse, shift: [6, columns], as in prep.hpp.

    The centre in `dtype` is not the one that was learnt; the shift makes up for what is lost.
    """
    fill, low, high, centre, spread = learnt
    inverse = 1 / spread
    held = centre.astype(dtype)
    missing = np.where(np.isnan(fill), fill, (np.clip(fill, low, high) - centre) * inverse)
    limits = (low - centre) * inverse, (high - centre) * inverse
    shift = (held.astype(np.float64) - centre) * inverse
    return np.stack([missing, *limits, held, inverse, shift]).astype(dtype)
