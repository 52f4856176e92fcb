"""Which weights and units matter least, and the model without them."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from tailrace.kernels.compress._arrays import Floats
from tailrace.kernels.compress.model import Layer, Model
from tailrace.kernels.compress.result import LayerPruning

__all__ = ["masked", "without_units"]

_RIDGE = 1e-2  # how much a fit is held to the weights that there were, as a share of the mean square input


def masked(
    model: Model, sparsity: float, calibration: Floats | None, pattern: str | None
) -> tuple[Model, tuple[LayerPruning, ...]]:
    """Return `model` with the weights of the lowest scores 0, and what was done."""
    layers, report, x = [], [], calibration
    for place, layer in enumerate(model.layers):
        weight = layer.dense()
        scores = np.abs(weight)
        if x is not None:
            scores = scores * _strength(x)[:, None]
            x = Model([layer])(x)
        if pattern == "2:4":
            keep = _two_of_four(scores)
        else:  # with activations each unit keeps its own best, else the layer keeps its best
            keep = _best_of(scores, sparsity) if x is None else _best_of_each(scores, sparsity)
        layers.append(Layer(np.where(keep, weight, np.float32(0)), layer.bias, layer.activation))
        share = float(scores[keep].sum() / max(scores.sum(), np.float32(1e-30)))
        report.append(LayerPruning(place, int(keep.sum()), keep.size, share))
    return Model(layers), tuple(report)


def without_units(
    model: Model, sparsity: float, calibration: Floats | None
) -> tuple[Model, tuple[LayerPruning, ...]]:
    """Return `model` without the hidden units of the lowest scores, and what was done."""
    weights = [layer.dense() for layer in model.layers]
    biases = [layer.offset.copy() for layer in model.layers]
    report = []
    original, pruned = calibration, calibration  # what goes into the layer: before, and after pruning
    for place in range(len(weights) - 1):
        activation = model.layers[place].activation
        following = model.layers[place + 1]
        scores = np.linalg.norm(following.dense(), axis=1)
        if original is None or pruned is None:
            scores = scores * np.linalg.norm(weights[place], axis=0)
        else:
            original = Model([model.layers[place]])(original)
            scores = scores * original.std(axis=0)  # what is constant goes into the bias
        units = len(scores)
        keep = np.sort(np.argsort(-scores, kind="stable")[: max(1, units - round(units * sparsity))])
        weights[place], biases[place] = weights[place][:, keep], biases[place][keep]
        weights[place + 1] = weights[place + 1][keep]
        if original is not None and pruned is not None:
            pruned = Model([Layer(weights[place], biases[place], activation)])(pruned)
            wanted = original @ following.dense() + following.offset
            weights[place + 1], biases[place + 1] = _fitted(pruned, wanted, weights[place + 1])
        share = float(scores[keep].sum() / max(scores.sum(), np.float32(1e-30)))
        report.append(LayerPruning(place, len(keep), units, share))
    names = [layer.activation for layer in model.layers]
    layers = [Layer(w, b, name) for w, b, name in zip(weights, biases, names, strict=True)]
    return Model(layers), tuple(report)


def _strength(x: Floats) -> Floats:
    """Return the root of the mean square of each feature."""
    strength: Floats = np.sqrt(np.mean(x * x, axis=0))
    return strength


def _best_of(scores: Floats, sparsity: float) -> npt.NDArray[np.bool_]:
    flat = scores.ravel()
    keep = np.ones(flat.size, np.bool_)
    keep[np.argsort(flat, kind="stable")[: round(flat.size * sparsity)]] = False
    return keep.reshape(scores.shape)


def _best_of_each(scores: Floats, sparsity: float) -> npt.NDArray[np.bool_]:
    keep = np.ones(scores.shape, np.bool_)
    lowest = np.argsort(scores, axis=0, kind="stable")[: round(len(scores) * sparsity)]
    np.put_along_axis(keep, lowest, False, axis=0)
    return keep


def _two_of_four(scores: Floats) -> npt.NDArray[np.bool_]:
    """Return where the 2 best of each 4 successive inputs of a unit are; of a rest below 4, half."""
    keep = np.zeros(scores.shape, np.bool_)
    for begin in range(0, len(scores), 4):
        four = scores[begin : begin + 4]
        best = np.argsort(-four, axis=0, kind="stable")[: (len(four) + 1) // 2]
        np.put_along_axis(keep[begin : begin + 4], best, True, axis=0)
    return keep


def _fitted(x: Floats, wanted: Floats, weight: Floats) -> tuple[Floats, Floats]:
    """Return weight and bias that make of `x` nearly `wanted`, held to `weight` where `x` says little."""
    inputs, outputs = x.astype(np.float64), wanted.astype(np.float64)
    middle, aim = inputs.mean(axis=0), outputs.mean(axis=0)
    inputs, outputs = inputs - middle, outputs - aim
    square: npt.NDArray[Any] = inputs.T @ inputs
    ridge = _RIDGE * max(float(np.trace(square)) / len(square), 1e-12)
    square[np.diag_indices(len(square))] += ridge
    fitted = np.linalg.solve(square, inputs.T @ outputs + ridge * weight)
    return fitted.astype(np.float32), (aim - middle @ fitted).astype(np.float32)
