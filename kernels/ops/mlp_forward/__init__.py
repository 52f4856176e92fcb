"""mlp_forward: a network of dense layers, with weights of 32, 16, 8 or 4 bits; Policy packs them once."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
from tailrace.kernels import _checks, _cpu, dispatch
from tailrace.kernels.ops.mlp_forward import layers, reference
from tailrace.kernels.ops.mlp_forward.policy import Policy
from tailrace.kernels.registry import Op
from tailrace.kernels.weights import quantize_int4, quantize_int8, to_bfloat16

__all__ = ["OP", "Policy", "mlp_forward"]

_NAME = "mlp_forward"


def mlp_forward(
    x: Any,
    weights: Any,
    biases: Any,
    *,
    activation: str = "relu",
    backend: str = "auto",
    out: Any = None,
) -> Any:
    """Return the output of a network of dense layers, the activation after all but the last.

    Weights are read as they lie for a few rows, packed for this one call otherwise, as int8 and int4 always
    are: for repeated calls with the same weights take a `Policy`, which packs them once. On a device, float16
    and bfloat16 weights go to the tensor cores, which take the rows between layers in these 16 bits too; an
    Int8Weight, Int4Weight or BFloat16Weight is copied there at its first use and taken for unchanged then.

    Args:
        x: float32 [batch, features].
        weights: one a layer, each [in, out]: float32, float16, BFloat16Weight, Int8Weight or Int4Weight. With
            Int8Weight the rows that come in become int8 as well, each by its largest magnitude, and sums are
            whole numbers; with all others sums are float32.
        biases: one a layer, float32 [out], or None.
        activation: "none", "relu", "tanh", "gelu" (the exact one, by erf) or "silu".
        backend: "auto", "cpu", "cuda" or "numpy".
        out: float32 [batch, out of the last layer] that is written to and returned; it shares nothing with x.

    Returns:
        float32 [batch, out of the last layer]. NaN in a row makes that row's outputs NaN.

    Raises:
        TypeError, ValueError: for arrays of another dtype, shape or layout; the message says which is wanted.
        BackendUnavailable: for a named backend that cannot be had here.

    Source: Goto and van de Geijn 2008 (tiles); Jacob et al. 2018 (int8); Frantar et al. 2022 (int4 groups).

    >>> import numpy as np
    >>> from tailrace.kernels import mlp_forward
    >>> double, add = np.array([[2.0], [-2.0]], np.float32), np.array([[1.0, 10.0]], np.float32)
    >>> mlp_forward(np.array([[3, 1], [1, 3]], np.float32), [double, add], [None, np.ones(2, np.float32)])
    array([[ 5., 41.],
           [ 1.,  1.]], dtype=float32)
    """
    code = layers.activation_code(_NAME, activation)
    arrays = (*layers.arrays_of(weights), *layers.arrays_of(biases))
    chosen = dispatch.choose(_NAME, backend, x, *arrays, out, offers=OP.backends)
    if chosen == "cuda":
        from tailrace.kernels.ops.mlp_forward import launch

        return launch.run(x, weights, biases, activation, out)
    if chosen == "cpu" and isinstance(weights, list | tuple) and isinstance(biases, list | tuple):
        try:
            return _called(x, weights, biases, code, out)
        except (AttributeError, IndexError, TypeError, ValueError):
            pass  # what follows explains it
    x = _checks.host_array(_NAME, "x", x, ("float32",), ("batch", "features"), least=1)
    good, shifts = layers.checked(_NAME, weights, biases, x.shape[1])
    out = _checks.output(_NAME, out, (x.shape[0], good[-1].shape[-1]), apart_from=(x, *arrays))
    if chosen == "numpy":
        dispatch.reference_into(reference.mlp_forward(x, good, shifts, activation=activation), out)
    else:
        _cpu.mlp_forward(x, layers.native(good, shifts), code, out)
    return out


def _called(x: Any, weights: Any, biases: Any, code: int, out: Any) -> Any:
    """Call at once: the compiled module looks at every array anyway, and quicker than Python does."""
    if out is None:
        out = np.empty((x.shape[0], weights[-1].shape[-1]), np.float32)
    _cpu.mlp_forward(x, layers.native(weights, biases), code, out)
    return out


_MAKERS: dict[str, Any] = {
    "float32": lambda w: w,
    "float16": lambda w: w.astype(np.float16),
    "bfloat16": to_bfloat16,
    "int8": quantize_int8,
    "int4": lambda w: quantize_int4(w, group=8 if w.shape[0] % 2 else 32),
}


def _cases(rng: np.random.Generator, n: int, dtype: str) -> dict[str, Any]:
    widths = (n + 2, 2 * n + 1, n % 50 + 1, 7)
    weights = [
        _MAKERS[dtype]((rng.normal(size=(a, b)) / np.sqrt(a)).astype(np.float32)) for a, b in pairwise(widths)
    ]
    biases = [rng.normal(size=b).astype(np.float32) if n != 2 or b != 7 else None for b in widths[1:]]
    x = rng.normal(size=(n, widths[0])).astype(np.float32)
    activation = layers.ACTIVATIONS[n % 5]
    return {"x": x, "weights": weights, "biases": biases, "activation": activation}


def _bytes(*, x: Any, weights: Any, **_: Any) -> int:
    return int(x.nbytes + sum(w.nbytes for w in weights) + 4 * x.shape[0] * weights[-1].shape[-1])


def _flops(*, x: Any, weights: Any, **_: Any) -> int:
    return int(2 * x.shape[0] * sum(w.shape[-2] * w.shape[-1] for w in weights))


OP = Op(
    name=_NAME,
    call=mlp_forward,
    reference=reference.mlp_forward,
    cases=_cases,
    dtypes=("float32", "float16", "bfloat16", "int8", "int4"),
    tolerance={"float32": 2e-6, "float16": 2e-6, "bfloat16": 2e-6, "int8": 1e-3, "int4": 2e-6},
    device_tolerance={"float16": 2e-3, "bfloat16": 1e-2},
    bytes=_bytes,
    flops=_flops,
    backends=("cpu", "cuda"),
)
