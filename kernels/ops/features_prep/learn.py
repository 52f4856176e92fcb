"""What FeaturesPrep.fit learns from a table: five numbers a column, in float64."""

from __future__ import annotations

from typing import Any

import numpy as np

__all__ = ["IMPUTE", "SCALE", "learn_columns"]

IMPUTE = ("mean", "median", "constant", None)
SCALE = ("standard", "minmax", None)

_COLUMNS_AT_ONCE = (
    64  # transposed, so that each lies in one piece; a copy of them all would double the memory
)


def _spread(values: np.ndarray, scale: str | None) -> tuple[float, float]:
    """Centre and spread of one column's values, of which none is missing."""
    if scale is None or len(values) == 0:
        return 0.0, 1.0
    if scale == "minmax":
        centre = float(values.min())
        spread = float(values.max()) - centre
    else:
        centre = float(values.mean())
        with np.errstate(over="ignore"):  # an infinite spread is refused by who knows the column
            spread = float(values.std())
    # Below this, what is left is rounding, or beyond float32: the column is a constant.
    least = max(float(np.finfo(np.float32).tiny), 16 * float(np.finfo(np.float64).eps) * abs(centre))
    return centre, spread if spread > least else 1.0


def learn_columns(
    op: str,
    data: np.ndarray,
    impute: str | None,
    fill: Any,
    clip: tuple[Any, Any] | None,
    clip_quantiles: tuple[float, float] | None,
    scale: str | None,
) -> np.ndarray:
    """Return float64 [5, columns]: fill, low, high, centre, spread; FeaturesPrep.fit has checked the
    arguments.

    Raises:
        ValueError: for a column of which every value is missing, if its fill or limits are to be learnt.
    """
    columns = data.shape[1]
    learnt = np.empty((5, columns))
    learnt[0] = np.nan if impute is None else fill
    learnt[1], learnt[2] = (-np.inf, np.inf) if clip is None else clip
    from_data = impute in ("mean", "median") or clip_quantiles is not None
    for first in range(0, columns, _COLUMNS_AT_ONCE):
        block = np.array(data[:, first : first + _COLUMNS_AT_ONCE].T, np.float64, order="C")
        for c, column in enumerate(block, first):
            if from_data:
                observed = column[np.isfinite(column)]
                if len(observed) == 0:
                    raise ValueError(
                        f"{op}: column {c} has no finite value to learn from: leave it out, or give "
                        "impute='constant' and no clip_quantiles"
                    )
                if impute == "mean":
                    learnt[0, c] = observed.mean()
                elif impute == "median":
                    learnt[0, c] = np.median(observed)
                if clip_quantiles is not None:
                    learnt[1:3, c] = np.quantile(observed, clip_quantiles)
            if scale is None:
                learnt[3:, c] = 0, 1
                continue
            column[np.isnan(column)] = learnt[0, c]
            np.clip(column, learnt[1, c], learnt[2, c], out=column)
            learnt[3:, c] = _spread(column[np.isfinite(column)], scale)
    return learnt
