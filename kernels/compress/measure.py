"""What a compressed model lost and won: its score and its time beside those of the original."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from tailrace.kernels._checks import describe
from tailrace.kernels.compress._arrays import Floats, check_features, check_finite
from tailrace.kernels.compress.model import Model

__all__ = ["Data", "Metric", "TestData", "accuracy", "check_data", "speedup"]

Metric = Callable[[Floats, Any], float]
Data = Floats | tuple[Floats, Any]
_PASSES, _PASS_S = 7, 0.01


@dataclass(frozen=True, slots=True, eq=False)
class TestData:
    """Rows to measure on, what is right for them, and how to score what a model makes of them."""

    __test__ = False  # not a test of pytest's

    inputs: Floats
    labels: Any
    metric: Metric
    timed: Floats  # the rows of a call whose time is taken

    def score(self, model: Model) -> float:
        """Return the score of `model`: higher is better."""
        return float(self.metric(model(self.inputs), self.labels))


def check_data(
    where: str, model: Model, data: Data | None, metric: Metric | None, batch: int | None
) -> TestData | None:
    """Return `data` with the metric that fits its labels, None for None, else raise.

    Without labels the classes that `model` gives are taken for right: the score is how often both agree.
    """
    if data is None:
        if metric is not None or batch is not None:
            raise ValueError(f"{where}: metric and batch need data=(inputs, labels) to be measured on")
        return None
    inputs, labels = data if isinstance(data, tuple) and len(data) == 2 else (data, None)
    if isinstance(inputs, tuple | list):
        raise TypeError(f"{where}: data must be inputs or (inputs, labels), got {len(inputs)} values")
    inputs = check_features(where, "data", inputs, model.inputs)
    if not len(inputs):
        raise ValueError(f"{where}: data must have rows, got float32 [0, {model.inputs}]")
    check_finite(where, "data", inputs)
    if batch is not None and (type(batch) is not int or not 1 <= batch <= len(inputs)):
        raise ValueError(
            f"{where}: batch must be an int from 1 to the {len(inputs)} rows of data, got {batch!r}"
        )
    labels, metric = _truth(where, model, inputs, labels, metric)
    return TestData(inputs, labels, metric, inputs[:batch])


def _truth(
    where: str, model: Model, inputs: Floats, labels: Any, metric: Metric | None
) -> tuple[Any, Metric]:
    """Return the labels and the metric that fits them."""
    if metric is not None:
        if not callable(metric):
            raise TypeError(f"{where}: metric must be a function of (outputs, labels), got {metric!r}")
        return labels, metric
    if labels is None:
        outputs = model(inputs)
        return (outputs, r_squared) if model.outputs == 1 else (outputs.argmax(axis=1), accuracy)
    labels = np.asarray(labels)
    if labels.ndim == 0 or len(labels) != len(inputs):
        raise ValueError(f"{where}: labels must be [{len(inputs)}], one for each row; got {describe(labels)}")
    if labels.dtype.kind in "iub" and labels.ndim == 1:
        if model.outputs > 1 and (labels.min() < 0 or labels.max() >= model.outputs):
            raise ValueError(
                f"{where}: labels must be classes from 0 to {model.outputs - 1}; "
                f"got {labels.min()} to {labels.max()}"
            )
        return labels, accuracy
    if labels.dtype.kind == "f" and labels.size == len(inputs) * model.outputs:
        check_finite(where, "labels", labels)
        return labels, r_squared
    raise ValueError(
        f"{where}: labels must be int [{len(inputs)}] (classes) or float [{len(inputs)}, {model.outputs}] "
        f"(values); got {describe(labels)}: pass metric=a function of (outputs, labels)"
    )


def accuracy(outputs: Floats, labels: npt.NDArray[Any]) -> float:
    """Return the share of rows whose largest output (or, of one output, whose side of 0.5) is their class."""
    classes = outputs[:, 0] > 0.5 if outputs.shape[1] == 1 else outputs.argmax(axis=1)
    return float((classes == labels).mean())


def r_squared(outputs: Floats, labels: npt.NDArray[Any]) -> float:
    """Return the share of the variance of `labels` that `outputs` explain."""
    wanted = labels.reshape(outputs.shape).astype(np.float64)
    spread = ((wanted - wanted.mean(axis=0)) ** 2).sum()
    missed = ((wanted - outputs) ** 2).sum()
    return float(1 - missed / spread) if spread > 0 else float(missed == 0)


def speedup(before: Model, after: Model, inputs: Floats) -> float:
    """Return the time of `before` divided by that of `after` on `inputs`: minima of passes in turns."""
    best = [float("inf"), float("inf")]
    calls = [_calls(model, inputs) for model in (before, after)]
    for _ in range(_PASSES):
        for place, model in enumerate((before, after)):
            start = time.perf_counter()
            for _ in range(calls[place]):
                model(inputs)
            best[place] = min(best[place], (time.perf_counter() - start) / calls[place])
    return best[0] / best[1]


def _calls(model: Model, inputs: Floats) -> int:
    """Warm `model` up; return how many calls make a pass that a clock can time."""
    model(inputs)
    start = time.perf_counter()
    model(inputs)
    return int(np.clip(_PASS_S / _PASSES / max(time.perf_counter() - start, 1e-7), 1, 1000))
