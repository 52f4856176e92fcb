"""Pruning after training: analyse, take away what scores least, train again for a while."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from tailrace.kernels._checks import describe
from tailrace.kernels.compress import train
from tailrace.kernels.compress._arrays import Floats, check_features, check_finite
from tailrace.kernels.compress._scores import masked, without_units
from tailrace.kernels.compress.measure import Data, Metric, check_data
from tailrace.kernels.compress.model import Model
from tailrace.kernels.compress.result import Compressed, compared

__all__ = ["STRATEGIES", "prune"]

STRATEGIES = ("magnitude", "structured", "unstructured")
FineTune = tuple[Floats, Any] | Callable[[Model], Model]


def prune(
    model: Model,
    strategy: str = "magnitude",
    sparsity: float = 0.5,
    *,
    calibration: Floats | None = None,
    fine_tune: FineTune | None = None,
    pattern: str | None = None,
    data: Data | None = None,
    metric: Metric | None = None,
    batch: int | None = None,
) -> Compressed:
    """Return `model` without the weights or units that matter least, and what that costs and wins on `data`.

    * "magnitude": the smallest weights of each layer become 0.
    * "unstructured": the weights of each unit that do least on the `calibration` inputs become 0: their size
      times that of what they are multiplied by.
    * "structured": units of hidden layers go, so the layers are smaller and faster. With `calibration`
      they are scored by what they do, and what follows is fitted to do without them.

    Zeros in a layer make neither the file smaller nor a call faster: they are for hardware that skips them
    (`pattern="2:4"`), or for a packer. Half of all units gone without fine-tuning costs much.

    Args:
        model: Of float32 layers.
        strategy: One of the above.
        sparsity: The share of weights, or of each hidden layer's units, to take: above 0 and below 1.
        calibration: float32 [rows, features] of typical inputs.
        fine_tune: (inputs, targets) to train on afterwards, as `fine_tune` does, or a function that takes the
            pruned model and returns it trained. Zeros stay.
        pattern: "2:4": of every 4 successive inputs of a unit 2 stay; for the strategies that make zeros.
        data: What to measure on, as of `quantize`.
        metric: As of `quantize`.
        batch: As of `quantize`.

    Raises:
        TypeError, ValueError: for arrays that do not fit, a quantised model, missing calibration of
            "unstructured", a model without hidden layers for "structured".

    Source: Han et al., 2015, for magnitude; Sun et al., 2024, for scores with activations; He et al., 2017,
    for the fit after units are gone; Mishra et al., 2021, for 2:4.

    >>> from tailrace.kernels.compress import new_mlp
    >>> prune(new_mlp([64, 128, 10], seed=0), "structured", 0.5).model
    Model(64 -> 64 relu -> 10, float32, 19240 bytes)
    """
    _check(model, strategy, sparsity, pattern)
    if calibration is not None:
        check_features("prune", "calibration", calibration, model.inputs)
        check_finite("prune", "calibration", calibration)
        calibration = calibration if len(calibration) else None
    if strategy == "unstructured" and calibration is None:
        raise ValueError(
            "prune: strategy 'unstructured' scores weights by what they do and needs "
            f"calibration=float32 [rows, {model.inputs}] of typical inputs; strategy='magnitude' needs none"
        )
    test = check_data("prune", model, data, metric, batch)
    if strategy == "structured":
        pruned, report = without_units(model, sparsity, calibration)
    else:
        scoring = calibration if strategy == "unstructured" else None
        pruned, report = masked(model, sparsity, scoring, pattern)
    if fine_tune is not None:
        pruned = _tuned(pruned, fine_tune)
    return compared(model, pruned, strategy, test, report)


def _check(model: Model, strategy: str, sparsity: float, pattern: str | None) -> None:
    if not isinstance(model, Model):
        raise TypeError(f"prune: model must be a Model, got {describe(model)}")
    if model.kind != "float32":
        raise ValueError(
            f"prune: model must be of float32 layers, got {model.kind}: prune first, then quantise"
        )
    if strategy not in STRATEGIES:
        raise ValueError(f"prune: strategy must be one of {', '.join(STRATEGIES)}; got {strategy!r}")
    if isinstance(sparsity, bool) or not isinstance(sparsity, int | float) or not 0 < sparsity < 1:
        raise ValueError(f"prune: sparsity must be above 0 and below 1, got {sparsity!r}")
    if pattern not in (None, "2:4"):
        raise ValueError(f"prune: pattern must be None or '2:4', got {pattern!r}")
    if pattern and (strategy == "structured" or sparsity != 0.5):
        raise ValueError("prune: pattern '2:4' goes with sparsity=0.5 of 'magnitude' or 'unstructured'")
    if strategy == "structured" and len(model.layers) < 2:
        raise ValueError("prune: strategy 'structured' takes units of hidden layers; the model has none")


def _tuned(pruned: Model, fine_tune: FineTune) -> Model:
    if callable(fine_tune):
        tuned = fine_tune(pruned)
        if not isinstance(tuned, Model) or [_shape(a) for a in tuned.layers] != [
            _shape(a) for a in pruned.layers
        ]:
            raise ValueError(f"prune: fine_tune must return a Model like {pruned}; got {tuned!r}")
        for place, (before, after) in enumerate(zip(pruned.layers, tuned.layers, strict=True)):
            if np.any(after.dense()[before.dense() == 0]):
                raise ValueError(
                    f"prune: fine_tune must keep the zeros of layer {place}: train(keep_zeros=True)"
                )
        return tuned
    if not isinstance(fine_tune, tuple) or len(fine_tune) != 2:
        raise TypeError(
            f"prune: fine_tune must be (inputs, targets) or a function, got {describe(fine_tune)}"
        )
    return train.fine_tune(pruned, *fine_tune)


def _shape(layer: Any) -> tuple[int, int, str, str]:
    return layer.inputs, layer.outputs, layer.activation, layer.kind
