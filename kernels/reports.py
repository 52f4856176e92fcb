"""How good a classifier is, class by class: accuracy, precision, recall and F1, with a table to print."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["ClassScores", "ClassificationReport", "classification_report"]


@dataclass(frozen=True, slots=True)
class ClassScores:
    """How well one class was told from the others, or the average of several.

    Attributes:
        label: The class as the truth names it; "macro" or "weighted" of an average.
        precision: Of what was predicted to be of the class, the share that is; 0 where nothing was.
        recall: Of what is of the class, the share that was predicted so; 0 where nothing is.
        f1: The harmonic mean of both; 0 where both are 0.
        support: How many rows are of the class.
    """

    label: Any
    precision: float
    recall: float
    f1: float
    support: int


@dataclass(frozen=True, slots=True)
class ClassificationReport:
    """What `classification_report` found; `str` gives its table.

    Attributes:
        accuracy: The share of rows whose class was predicted.
        classes: The scores of each class, in the order of their labels.
        macro: Their plain averages.
        weighted: Their averages weighted by support.
    """

    accuracy: float
    classes: tuple[ClassScores, ...]
    macro: ClassScores
    weighted: ClassScores

    def __str__(self) -> str:
        rows = [*self.classes, self.macro, self.weighted]
        wide = max(8, *(len(str(row.label)) for row in rows))
        lines = [f"{'class':>{wide}}  precision  recall      f1  support"]
        lines += [
            f"{row.label!s:>{wide}}  {row.precision:9.4f}  {row.recall:6.4f}  {row.f1:6.4f}  {row.support:7}"
            for row in rows
        ]
        lines.append(f"{'accuracy':>{wide}}  {'':9}  {'':6}  {self.accuracy:6.4f}  {self.macro.support:7}")
        return "\n".join(lines)


def classification_report(
    truth: npt.ArrayLike, predicted: npt.ArrayLike, *, names: Sequence[str] | None = None
) -> ClassificationReport:
    """Return accuracy, and precision, recall and F1 of each class, of the classes `predicted` for rows.

    A class is any value that stands in `truth` or `predicted`. Figures are as scikit-learn's function of this
    name gives them, with 0 for what is undefined.

    Args:
        truth: The class of each row, [rows]: ints, bools or texts.
        predicted: The class that was predicted for each, [rows], of the same type.
        names: How to call the classes in the report, in the order of their values.

    Raises:
        TypeError, ValueError: for other types, numbers of rows that differ, no rows, wrong `names`.

    >>> print(classification_report([0, 0, 1, 1], [0, 1, 1, 1], names=["cat", "dog"]))
       class  precision  recall      f1  support
         cat     1.0000  0.5000  0.6667        2
         dog     0.6667  1.0000  0.8000        2
       macro     0.8333  0.7500  0.7333        4
    weighted     0.8333  0.7500  0.7333        4
    accuracy                     0.7500        4
    """
    right, guess = _labels("truth", truth), _labels("predicted", predicted)
    if right.shape != guess.shape:
        raise ValueError(
            f"classification_report: predicted must be [{len(right)}], as truth is; got [{len(guess)}]"
        )
    if (right.dtype.kind == "U") != (guess.dtype.kind == "U"):
        raise TypeError(
            f"classification_report: predicted must be of truth's type, {right.dtype}; got {guess.dtype}"
        )
    values, codes = np.unique(np.concatenate([right, guess]), return_inverse=True)
    a, b, n = codes[: len(right)], codes[len(right) :], len(values)
    if names is not None and len(names) != n:
        raise ValueError(
            f"classification_report: names must be {n} texts, for {values.tolist()}; got {names!r}"
        )
    hits = np.bincount(a[a == b], minlength=n)
    support, claimed = np.bincount(a, minlength=n), np.bincount(b, minlength=n)
    precision, recall = hits / np.maximum(claimed, 1), hits / np.maximum(support, 1)
    f1 = 2 * hits / (support + claimed)  # no class has neither
    table = np.stack([precision, recall, f1])
    rows = len(right)
    labels = list(names) if names is not None else [value.item() for value in values]
    return ClassificationReport(
        accuracy=float(hits.sum() / rows),
        classes=tuple(_scores(labels[c], table[:, c], int(support[c])) for c in range(n)),
        macro=_scores("macro", table.mean(axis=1), rows),
        weighted=_scores("weighted", table @ (support / rows), rows),
    )


def _scores(label: Any, row: npt.NDArray[np.float64], support: int) -> ClassScores:
    return ClassScores(label, float(row[0]), float(row[1]), float(row[2]), support)


def _labels(name: str, values: npt.ArrayLike) -> npt.NDArray[Any]:
    """Return `values` as an array [rows] of ints, bools or texts, else raise."""
    labels = np.asarray(values)
    wanted = f"classification_report: {name} must be classes [rows]: ints, bools or texts"
    if labels.ndim != 1:
        raise ValueError(f"{wanted}; got {labels.dtype} {list(labels.shape)}")
    if not len(labels):
        raise ValueError(f"{wanted}, at least one; got none")
    if labels.dtype.kind == "f":
        raise TypeError(f"{wanted}; got {labels.dtype}: pass scores.argmax(axis=1), or classes.astype(int)")
    if labels.dtype.kind not in "biuU":
        raise TypeError(f"{wanted}; got {labels.dtype}")
    return labels
