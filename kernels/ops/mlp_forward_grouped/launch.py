"""mlp_forward_grouped on a device: a block a row, all layers of its agent in one launch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from tailrace.kernels.cuda import launcher
from tailrace.kernels.cuda.networks import (
    MOST_LAYERS,
    THREADS,
    Layer,
    layers_of,
    most_shared_bytes,
    network_of,
)
from tailrace.kernels.ops.mlp_forward.layers import ACTIVATIONS

__all__ = ["run"]

_NAME = "mlp_forward_grouped"


def run(x: Any, weights: Any, biases: Any, agents: Any, activation: str, out: Any) -> Any:
    """Run mlp_forward_grouped on the device; arguments as the op has them, on the host or on the device.

    A row whose agent is none of the weights' is NaN: nobody waits for the device to find it.

    Raises:
        TypeError, ValueError: for arrays of another dtype, shape or side.
    """
    crossing = launcher.Crossing(_NAME, x)
    layers = layers_of(_NAME, weights, biases, ("agents", "in", "out"), crossing)
    for place, layer in enumerate(layers):
        if layer.kind in ("int8", "int4"):
            raise TypeError(
                f"{_NAME}: weights[{place}] must be float32, float16 or BFloat16Weight; "
                f"got {weights[place]!r}: pass weights[{place}].dequantize()"
            )
    count = int(weights[0].shape[0])
    if any(int(weight.shape[0]) != count for weight in weights):
        raise ValueError(
            f"{_NAME}: all weights must be of as many agents; got "
            + ", ".join(str(weight.shape[0]) for weight in weights)
        )
    x = crossing.take(x, "x", ("float32",), ("rows", layers[0].inputs), least=1)
    rows = int(x.shape[0])
    agents = crossing.take(agents, "agents", ("int32",), (rows,))
    if agents is None and rows != count:
        raise ValueError(f"{_NAME}: without agents there must be a row for each of the {count}; got {rows}")
    result = crossing.result(out, (rows, layers[-1].outputs))
    done = 0
    while done < len(layers):
        part = layers[done : done + _fitting(layers[done:])]
        done += len(part)
        last = done == len(layers)
        to = result if last else launcher.empty((rows, part[-1].outputs), "float32")
        width = _width(part)
        launcher.launch(
            _NAME,
            f"grouped_{part[0].kind}",
            (rows,),
            (THREADS,),
            (network_of(part, ACTIVATIONS.index(activation), last, width), x, agents, to, np.int32(count)),
            shared_bytes=_shared_bytes(width),
        )
        x = to
    return crossing.give(result)


def _width(part: Sequence[Layer]) -> int:
    """Floats of the longest row in shared memory, a multiple of four."""
    return -(-max(layer.inputs for layer in part) // 4) * 4


def _shared_bytes(width: int) -> int:
    """Two rows of floats."""
    return 2 * 4 * width


def _fitting(layers: Sequence[Layer]) -> int:
    """How many of the first layers one launch can take.

    Raises:
        ValueError: if a row of the first alone is too long for shared memory.
    """
    count = 0
    while (
        count < min(MOST_LAYERS, len(layers))
        and layers[count].kind == layers[0].kind
        and _shared_bytes(_width(layers[: count + 1])) <= most_shared_bytes()
    ):
        count += 1
    if count == 0:
        raise ValueError(
            f"{_NAME}: a row of {layers[0].inputs} inputs does not fit into a block's shared memory on this "
            f"device; at most {most_shared_bytes() // 8} do"
        )
    return count
