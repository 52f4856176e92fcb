"""A compact trainer of multilayer perceptrons: Adam on mean squared error or cross-entropy, in NumPy."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from tailrace.kernels._checks import describe
from tailrace.kernels.compress._arrays import Floats, check_features, check_finite
from tailrace.kernels.compress._gradients import Adam, gradients
from tailrace.kernels.compress.model import Layer, Model

__all__ = ["Trained", "fine_tune", "train"]


@dataclass(frozen=True, slots=True, eq=False)
class Trained:
    """What `train` made.

    Attributes:
        model: The trained model; the one that was given is as it was.
        losses: The mean loss of each epoch.
    """

    model: Model
    losses: tuple[float, ...]


def train(
    model: Model,
    inputs: Floats,
    targets: npt.NDArray[Any],
    *,
    loss: str = "mse",
    epochs: int = 10,
    batch: int = 32,
    rate: float = 1e-3,
    decay: float = 0.0,
    keep_zeros: bool = False,
    on_epoch: Callable[[int, float], object] | None = None,
    seed: int,
) -> Trained:
    """Return `model` trained by Adam (Kingma and Ba, 2015) on rows in a new random order each epoch.

    Args:
        model: Of float32 layers, as `new_mlp` makes them.
        inputs: float32 [rows, features].
        targets: float32 [rows, outputs] (or [rows] for one output) for "mse"; int classes [rows] for
            "cross_entropy", whose model ends without activation or with a softmax.
        loss: "mse" or "cross_entropy".
        epochs: How often to go over all rows.
        batch: Rows a step.
        rate: The step size.
        decay: Share of each weight that a step of size 1 takes away (AdamW: Loshchilov and Hutter, 2019).
        keep_zeros: Weights that are 0 stay 0: what was pruned stays so.
        on_epoch: Called after each epoch with its number, from 1, and its mean loss: for a progress bar.
        seed: The same seed gives the same model on the same machine.

    Raises:
        TypeError, ValueError: for a quantised model, arrays that do not fit, numbers that make no sense.
        FloatingPointError: if the loss or a weight is no longer finite: the rate is too large.

    >>> import numpy as np
    >>> from tailrace.kernels.compress import new_mlp
    >>> rng = np.random.default_rng(0)
    >>> x = rng.standard_normal((500, 4), dtype=np.float32)
    >>> found = train(new_mlp([4, 16, 1], seed=0), x, x[:, 0] * x[:, 1], epochs=40, seed=0)
    >>> found.losses[-1] < found.losses[0] / 4
    True
    """
    _check_numbers(model, loss, epochs, batch, rate, decay)
    inputs = check_features("train", "inputs", inputs, model.inputs)
    check_finite("train", "inputs", inputs)
    wanted = _check_targets(model, targets, len(inputs), loss)
    weights = [layer.dense().copy() for layer in model.layers]
    biases = [layer.offset.copy() for layer in model.layers]
    alive = [(w != 0).astype(np.float32) if keep_zeros else None for w in weights]
    names = [layer.activation for layer in model.layers]
    adam = Adam([*weights, *biases], rate)
    rng, losses = np.random.default_rng(seed), []
    for epoch in range(1, epochs + 1):
        total = 0.0
        order = rng.permutation(len(inputs))
        with np.errstate(over="ignore", invalid="ignore"):  # what is not finite is found below
            for begin in range(0, len(order), batch):
                rows = order[begin : begin + batch]
                value, slopes = gradients(weights, biases, names, inputs[rows], wanted[rows], loss)
                for weight, slope, mask in zip(weights, slopes, alive, strict=False):  # biases come after
                    np.multiply(weight, np.float32(1 - rate * decay), out=weight)
                    if mask is not None:
                        np.multiply(slope, mask, out=slope)
                adam.step(slopes)
                total += value * len(rows)
        losses.append(total / len(inputs))
        if not (np.isfinite(losses[-1]) and all(np.isfinite(a).all() for a in (*weights, *biases))):
            raise FloatingPointError(
                f"train: in epoch {epoch} the loss or a weight is no longer finite: "
                f"pass a rate smaller than {rate:g}, or scale the inputs"
            )
        if on_epoch is not None:
            on_epoch(epoch, losses[-1])
    layers = [Layer(w, b, name) for w, b, name in zip(weights, biases, names, strict=True)]
    return Trained(Model(layers), tuple(losses))


def fine_tune(
    model: Model,
    inputs: Floats,
    targets: npt.NDArray[Any],
    *,
    epochs: int = 5,
    rate: float = 3e-4,
    seed: int = 0,
) -> Model:
    """Return a pruned `model` trained for a few epochs more, its zeros kept.

    Args:
        model: What `prune` returned.
        inputs: float32 [rows, features].
        targets: Int classes [rows], learnt by cross-entropy, or float32 [rows, outputs], by squared error.
        epochs: How often to go over all rows.
        rate: The step size.
        seed: The same seed gives the same model on the same machine.

    Raises:
        TypeError, ValueError: as `train` does.
    """
    loss = "cross_entropy" if np.asarray(targets).dtype.kind in "iu" else "mse"
    return train(
        model, inputs, targets, loss=loss, epochs=epochs, rate=rate, keep_zeros=True, seed=seed
    ).model


def _check_numbers(model: Model, loss: str, epochs: int, batch: int, rate: float, decay: float) -> None:
    if not isinstance(model, Model):
        raise TypeError(
            f"train: model must be a Model, got {describe(model)}: new_mlp([64, 32, 1], seed=0) makes one"
        )
    if model.kind != "float32":
        raise ValueError(
            f"train: model must be of float32 layers, got {model.kind}: train first, then quantise"
        )
    if loss not in ("mse", "cross_entropy"):
        raise ValueError(f"train: loss must be 'mse' or 'cross_entropy', got {loss!r}")
    last = model.layers[-1].activation
    if loss == "cross_entropy" and last not in ("none", "softmax"):
        raise ValueError(f"train: with cross_entropy the last activation must be none or softmax, got {last}")
    if loss == "mse" and last == "softmax":
        raise ValueError("train: a model that ends with a softmax is trained with loss='cross_entropy'")
    for name, count in (("epochs", epochs), ("batch", batch)):
        if isinstance(count, bool) or not isinstance(count, int) or count < 1:
            raise ValueError(f"train: {name} must be an int of at least 1, got {count!r}")
    if not 0 < rate < np.inf:
        raise ValueError(f"train: rate must be above 0 and finite, got {rate!r}")
    if not 0 <= decay < np.inf:
        raise ValueError(f"train: decay must be 0 or more and finite, got {decay!r}")


def _check_targets(model: Model, targets: npt.NDArray[Any], rows: int, loss: str) -> npt.NDArray[Any]:
    wanted = np.asarray(targets)
    if not rows:
        raise ValueError(f"train: inputs must have rows, got float32 [0, {model.inputs}]")
    if loss == "cross_entropy":
        if wanted.dtype.kind not in "iu" or wanted.shape != (rows,):
            raise ValueError(f"train: targets must be int classes [{rows}]; got {describe(wanted)}")
        if wanted.min() < 0 or wanted.max() >= model.outputs:
            raise ValueError(
                f"train: targets must be classes from 0 to {model.outputs - 1}; "
                f"got {wanted.min()} to {wanted.max()}"
            )
        return wanted
    if wanted.shape == (rows,) and model.outputs == 1:
        wanted = wanted[:, None]
    if wanted.dtype.kind not in "fiu" or wanted.shape != (rows, model.outputs):
        raise ValueError(f"train: targets must be float32 [{rows}, {model.outputs}]; got {describe(targets)}")
    check_finite("train", "targets", wanted)
    return wanted.astype(np.float32)
