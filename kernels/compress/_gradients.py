"""What the trainer computes: gradients by back-propagation, and the steps that Adam makes of them."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from tailrace.kernels.compress._activations import activate, slope
from tailrace.kernels.compress._arrays import Floats

__all__ = ["Adam", "gradients"]

_BETA1, _BETA2, _EPSILON = 0.9, 0.999, 1e-8


class Adam:
    """Moments of each array, and the step that changes the arrays in place."""

    def __init__(self, arrays: list[Floats], rate: float) -> None:
        self._arrays, self._rate, self._steps = arrays, rate, 0
        self._first = [np.zeros_like(a) for a in arrays]
        self._second = [np.zeros_like(a) for a in arrays]

    def step(self, gradients: list[Floats]) -> None:
        """Go one step against `gradients`."""
        self._steps += 1
        right1, right2 = 1 - _BETA1**self._steps, 1 - _BETA2**self._steps
        size = np.float32(self._rate * np.sqrt(right2) / right1)
        small = np.float32(_EPSILON * np.sqrt(right2))
        for place, gradient in enumerate(gradients):
            first, second = self._first[place], self._second[place]
            first += np.float32(1 - _BETA1) * (gradient - first)
            second += np.float32(1 - _BETA2) * (gradient * gradient - second)
            self._arrays[place] -= size * first / (np.sqrt(second) + small)


def gradients(
    weights: list[Floats],
    biases: list[Floats],
    names: list[str],
    x: Floats,
    wanted: npt.NDArray[Any],
    loss: str,
) -> tuple[float, list[Floats]]:
    """Return the mean loss of a batch, and its gradients by each weight and then by each bias."""
    values, sums = [x], []
    for weight, bias, name in zip(weights, biases, names, strict=True):
        sums.append(values[-1] @ weight + bias)
        values.append(activate(name, sums[-1]))
    value, back = _loss(sums[-1], values[-1], names[-1], wanted, loss)
    of_weights, of_biases = [], []
    for place in reversed(range(len(weights))):
        of_weights.append(values[place].T @ back)
        of_biases.append(back.sum(axis=0))
        if place:
            back = (back @ weights[place].T) * slope(names[place - 1], sums[place - 1], values[place])
    return value, [*of_weights[::-1], *of_biases[::-1]]


def _loss(
    last: Floats, outputs: Floats, name: str, wanted: npt.NDArray[Any], loss: str
) -> tuple[float, Floats]:
    """Return the mean loss and its gradient by the last layer's sums."""
    rows = len(wanted)
    if loss == "mse":
        miss = outputs - wanted
        back = slope(name, last, outputs) * miss * np.float32(2 / miss.size)
        return float(np.mean(miss * miss)), back
    chances = activate("softmax", last)
    value = -np.log(np.maximum(chances[np.arange(rows), wanted], 1e-30)).mean()
    chances[np.arange(rows), wanted] -= 1
    back = chances / chances.dtype.type(rows)
    return float(value), back
