"""Quantisation after training: weights, and for int8 activations too, in fewer bits."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from tailrace.kernels._checks import describe
from tailrace.kernels.compress._arrays import Floats, check_features, check_finite
from tailrace.kernels.compress.measure import Data, Metric, check_data
from tailrace.kernels.compress.model import Layer, Model
from tailrace.kernels.compress.result import Compressed, Trial, compared
from tailrace.kernels.weights import quantize_int4, quantize_int8

__all__ = ["METHODS", "quantize"]

METHODS = ("int8", "int4", "fp16", "dynamic", "auto")
_MOST_HALF = 65504.0
_LEAST_SCALE = 1e-30
_WORTH = 1.05  # what "auto" asks of a speed-up: less is noise


def quantize(
    model: Model,
    method: str = "int8",
    calibration: Floats | None = None,
    *,
    data: Data | None = None,
    metric: Metric | None = None,
    batch: int | None = None,
    group: int = 32,
    max_drop: float = 0.005,
) -> Compressed:
    """Return `model` with quantised weights, and what that costs and wins on `data`.

    * "int8": weights to 8 bits, one scale a unit; activations to 8 bits with one fixed scale a layer, found
      on `calibration`.
    * "dynamic": the same, but each row of activations has its own scale, found as it comes. No calibration.
    * "int4": weights to 4 bits, one scale for `group` inputs of a unit; activations stay float32.
    * "fp16": weights to half precision; activations stay float32.
    * "auto": measures all of these ("int8" if there is calibration) on `data`, and takes the fastest that
      loses at most `max_drop`; the model itself where none is faster, as often with small ones.

    Args:
        model: Of float32 layers.
        method: One of the above.
        calibration: float32 [rows, features]: some hundred typical inputs, not those of `data`.
        data: What to measure on: float32 [rows, features], or a tuple of these and their labels: int classes
            [rows] (scored by accuracy; of one output, by its side of 0.5) or float values [rows, outputs] (by
            explained variance). Without labels the classes that `model` gives are taken for right. Without
            data nothing is measured.
        metric: A function of (outputs, labels) whose value is higher for better outputs, in place of these.
        batch: Rows of a call whose time is taken, as many as yours will have; None is all rows of `data`.
        group: Of "int4": inputs that share a scale.
        max_drop: Of "auto": the largest loss of score, 0.005 being half a point of accuracy.

    Raises:
        TypeError, ValueError: for arrays that do not fit, a model that is quantised already, missing
            calibration of "int8" or missing data of "auto".

    Source: Jacob et al., 2018, for int8; Frantar et al., 2023, for int4 by groups.

    >>> import numpy as np
    >>> from tailrace.kernels.compress import new_mlp
    >>> model = new_mlp([64, 128, 10], seed=0)
    >>> x = np.random.default_rng(0).standard_normal((300, 64), dtype=np.float32)
    >>> small = quantize(model, "int8", calibration=x[:100], data=x[100:])
    >>> small.nbytes_before, small.model.nbytes
    (38440, 10576)
    >>> small.accuracy_drop < 0.1
    True
    """
    if not isinstance(model, Model):
        raise TypeError(f"quantize: model must be a Model, got {describe(model)}")
    if method not in METHODS:
        raise ValueError(f"quantize: method must be one of {', '.join(METHODS)}; got {method!r}")
    if model.kind != "float32":
        raise ValueError(
            f"quantize: model must be of float32 layers, got {model.kind}: quantise the original"
        )
    if calibration is not None:
        check_features("quantize", "calibration", calibration, model.inputs)
        check_finite("quantize", "calibration", calibration)
    if method == "int8" and (calibration is None or not len(calibration)):
        raise ValueError(
            "quantize: method 'int8' fixes the ranges of activations beforehand and needs "
            f"calibration=float32 [rows, {model.inputs}] of typical inputs; method='dynamic' needs none"
        )
    test = check_data("quantize", model, data, metric, batch)
    if method != "auto":
        return compared(model, _quantized(model, method, calibration, group), method, test)
    if test is None:
        raise ValueError("quantize: method 'auto' measures before it decides and needs data=(inputs, labels)")
    return _best(model, [compared(model, *way, test) for way in _ways(model, calibration, group)], max_drop)


def _ways(model: Model, calibration: Floats | None, group: int) -> Iterator[tuple[Model, str]]:
    methods = ["dynamic", "int4"]
    if calibration is not None and len(calibration):
        methods.insert(1, "int8")
    if all(np.abs(layer.dense()).max() <= _MOST_HALF for layer in model.layers):
        methods.append("fp16")
    for method in methods:
        yield _quantized(model, method, calibration, group), method


def _best(model: Model, found: list[Compressed], max_drop: float) -> Compressed:
    """Return the fastest that loses at most `max_drop`, or `model` as it is."""
    trials, good = [], []
    for one in found:
        assert one.score_before is not None
        assert one.score_after is not None
        assert one.speedup is not None
        trials.append(Trial(one.method, one.score_after, one.speedup, one.model.nbytes))
        if one.score_before - one.score_after <= max_drop and one.speedup > _WORTH:
            good.append((one.speedup, one))
    if good:
        best = max(good, key=lambda pair: pair[0])[1]
        return Compressed(
            best.model,
            best.method,
            best.nbytes_before,
            best.score_before,
            best.score_after,
            best.speedup,
            tuple(trials),
        )
    before = found[0].score_before
    return Compressed(model, "none", model.nbytes, before, before, 1.0, tuple(trials))


def _quantized(model: Model, method: str, calibration: Floats | None, group: int) -> Model:
    layers, x = [], calibration
    for layer in model.layers:
        weight = layer.dense()
        if method == "fp16":
            layers.append(Layer(_halves(weight), layer.bias, layer.activation))
        elif method == "int4":
            layers.append(Layer(quantize_int4(weight, group=group), layer.bias, layer.activation))
        else:
            scale = None
            if method == "int8":
                assert x is not None
                scale = float(np.abs(x).max()) / 127
                scale = scale if scale > _LEAST_SCALE else 1.0  # inputs of zeros, or as good as these
                x = Model([layer])(x)
            layers.append(Layer(quantize_int8(weight), layer.bias, layer.activation, scale))
    return Model(layers)


def _halves(weight: Floats) -> np.ndarray[tuple[int, ...], np.dtype[np.float16]]:
    largest = float(np.abs(weight).max())
    if largest > _MOST_HALF:
        raise ValueError(
            f"quantize: fp16 holds values up to {_MOST_HALF:g}; the largest weight is {largest:g}"
        )
    return weight.astype(np.float16)
