"""mlp_forward_grouped: networks of one shape, every agent with weights of its own."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
from tailrace.kernels import _checks, _cpu, dispatch
from tailrace.kernels.ops.mlp_forward import layers
from tailrace.kernels.ops.mlp_forward_grouped import reference
from tailrace.kernels.registry import Op
from tailrace.kernels.weights import Int4Weight, Int8Weight, to_bfloat16

__all__ = ["OP", "mlp_forward_grouped"]

_NAME = "mlp_forward_grouped"


def mlp_forward_grouped(
    x: Any,
    weights: Any,
    biases: Any,
    *,
    agents: Any = None,
    activation: str = "relu",
    backend: str = "auto",
    out: Any = None,
) -> Any:
    """Return each row's output by the network of its own agent, the activation after all but the last layer.

    Rows of one agent are computed together, wherever they stand in x; weights are read once for all of them.

    Args:
        x: float32 [rows, features].
        weights: one a layer, each [agents, in, out]: float32, float16 or BFloat16Weight.
        biases: one a layer, float32 [agents, out], or None.
        agents: int32 [rows]: whose row it is; None: row i is that of agent i, and there are as many of both.
        activation: "none", "relu", "tanh", "gelu" or "silu".
        backend: "auto", "cpu", "cuda" or "numpy".
        out: float32 [rows, out of the last layer] that is written to and returned; it shares nothing with x.

    Returns:
        float32 [rows, out of the last layer].

    Raises:
        TypeError, ValueError: for arrays of another dtype, shape or layout; the message says which is wanted.
        IndexError: for an agent that there is not. On a device its row is NaN instead.
        BackendUnavailable: for a named backend that cannot be had here.

    Source: Gale et al. 2023, "MegaBlocks", section 3 (the grouped product).

    >>> import numpy as np
    >>> from tailrace.kernels import mlp_forward_grouped
    >>> weights = np.array([[[1.0]], [[10.0]]], np.float32)  # two agents, one input, one output
    >>> rows, whose = np.array([[1], [2], [3]], np.float32), np.array([1, 0, 1], np.int32)
    >>> mlp_forward_grouped(rows, [weights], [None], agents=whose).ravel()
    array([10.,  2., 30.], dtype=float32)
    """
    code = layers.activation_code(_NAME, activation)
    arrays = (*layers.arrays_of(weights), *layers.arrays_of(biases))
    chosen = dispatch.choose(_NAME, backend, x, *arrays, agents, out, offers=OP.backends)
    if chosen == "cuda":
        from tailrace.kernels.ops.mlp_forward_grouped import launch

        return launch.run(x, weights, biases, agents, activation, out)
    if (
        chosen == "cpu"
        and isinstance(weights, list | tuple)
        and len(weights)
        and isinstance(biases, list | tuple)
    ):
        try:
            return _called(x, weights, biases, agents, code, out)
        except (AttributeError, TypeError, ValueError):
            pass  # what follows explains it
    x = _checks.host_array(_NAME, "x", x, ("float32",), ("rows", "features"), least=1)
    good, shifts = layers.checked(_NAME, weights, biases, x.shape[1], agents="agents")
    for number, weight in enumerate(good):
        if isinstance(weight, (Int8Weight, Int4Weight)):
            raise TypeError(
                f"{_NAME}: weights[{number}] must be float32, float16 or BFloat16Weight; got {weight!r}: "
                f"pass weights[{number}].dequantize()"
            )
    if agents is not None:
        agents = _checks.host_array(_NAME, "agents", agents, ("int32",), (x.shape[0],))
    elif good[0].shape[0] != x.shape[0]:
        raise ValueError(
            f"{_NAME}: without agents there must be a row for each of the {good[0].shape[0]} agents; got "
            f"{x.shape[0]} rows: pass agents=, int32 [{x.shape[0]}]"
        )
    out = _checks.output(_NAME, out, (x.shape[0], good[-1].shape[-1]), apart_from=(x, *arrays, agents))
    if chosen == "numpy":
        if agents is not None and not bool(np.all((agents >= 0) & (agents < good[0].shape[0]))):
            raise IndexError(
                f"{_NAME}: agents must be 0 to {good[0].shape[0] - 1}; got {agents.min()} to {agents.max()}"
            )
        truth = reference.mlp_forward_grouped(x, good, shifts, agents=agents, activation=activation)
        dispatch.reference_into(truth, out)
    else:
        _cpu.mlp_forward_grouped(x, layers.native(good, shifts), agents, code, out)
    return out


def _called(x: Any, weights: Any, biases: Any, agents: Any, code: int, out: Any) -> Any:
    """Call at once: the compiled module looks at every array anyway, and quicker than Python does."""
    if out is None:
        out = np.empty((x.shape[0], weights[-1].shape[-1]), np.float32)
    _cpu.mlp_forward_grouped(x, layers.native(weights, biases), agents, code, out)
    return out


def _cases(rng: np.random.Generator, n: int, dtype: str) -> dict[str, Any]:
    widths = (n % 60 + 2, n % 40 + 1, 5)
    count = n if n % 2 else n // 2 + 1  # an odd n: row i is agent i's
    shapes = [(count, a, b) for a, b in pairwise(widths)]
    plain = [(rng.normal(size=shape) / np.sqrt(shape[1])).astype(np.float32) for shape in shapes]
    return {
        "x": rng.normal(size=(n, widths[0])).astype(np.float32),
        "weights": [to_bfloat16(w) if dtype == "bfloat16" else w.astype(dtype) for w in plain],
        "biases": [rng.normal(size=(count, shape[2])).astype(np.float32) for shape in shapes],
        "agents": None if n % 2 else rng.integers(0, count, n).astype(np.int32),
        "activation": layers.ACTIVATIONS[n % 5],
    }


def _bytes(*, x: Any, weights: Any, agents: Any = None, **_: Any) -> int:
    used = len(x) if agents is None else len(np.unique(agents))
    read = sum(weight.nbytes // weight.shape[0] for weight in weights)
    return int(x.nbytes + used * read + 4 * x.shape[0] * weights[-1].shape[-1])


def _flops(*, x: Any, weights: Any, **_: Any) -> int:
    return int(2 * x.shape[0] * sum(w.shape[-2] * w.shape[-1] for w in weights))


OP = Op(
    name=_NAME,
    call=mlp_forward_grouped,
    reference=reference.mlp_forward_grouped,
    cases=_cases,
    dtypes=("float32", "float16", "bfloat16"),
    tolerance={"float32": 2e-6, "float16": 2e-6, "bfloat16": 2e-6},
    bytes=_bytes,
    flops=_flops,
    backends=("cpu", "cuda"),
)
