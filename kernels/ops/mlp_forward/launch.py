"""mlp_forward on a device: as few launches as the network allows, most often one.

Layers of one kind of weight go into one launch as long as what lies between them fits into shared memory;
where it does not, each layer is a launch of its own whose grid also splits the columns.
"""

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

_NAME = "mlp_forward"
_COLUMNS = 64  # of one tile
_BETWEEN_BYTES = {"float32": 4, "float16": 2, "bfloat16": 2, "int8": 4, "int4": 4}


def run(x: Any, weights: Any, biases: Any, activation: str, out: Any) -> Any:
    """Run mlp_forward on the device; arguments as the op has them, on the host or on the device.

    Raises:
        TypeError, ValueError: for arrays of another dtype, shape or side.
    """
    crossing = launcher.Crossing(_NAME, x)
    layers = layers_of(_NAME, weights, biases, ("in", "out"), crossing)
    x = crossing.take(x, "x", ("float32",), ("batch", layers[0].inputs), least=1)
    rows = int(x.shape[0])
    result = crossing.result(out, (rows, layers[-1].outputs))
    done = 0
    for count, tile in _launches(layers, rows):
        part = layers[done : done + count]
        done += count
        last = done == len(layers)
        to = result if last else launcher.empty((rows, part[-1].outputs), "float32")
        first, second = _between(part, tile)
        columns = -(-part[0].outputs // _COLUMNS) if count == 1 else 1
        launcher.launch(
            _NAME,
            f"mlp_{part[0].kind}_{tile}",
            (-(-rows // tile), columns),
            (THREADS,),
            (network_of(part, ACTIVATIONS.index(activation), last, first), x, to, np.int32(rows)),
            shared_bytes=first + second,
        )
        x = to
    return crossing.give(result)


def _launches(layers: Sequence[Layer], rows: int) -> list[tuple[int, int]]:
    """How many layers each launch takes, and how many rows a block."""
    found: list[tuple[int, int]] = []
    done = 0
    while done < len(layers):
        tile = 64 if rows >= 32 * launcher.multiprocessors() else 16
        count = _fitting(layers[done:], tile)
        if count == 1 and tile == 64:
            fewer = _fitting(layers[done:], 16)
            count, tile = (fewer, 16) if fewer > 1 else (1, 64)
        found.append((count, tile))
        done += count
    return found


def _fitting(layers: Sequence[Layer], tile: int) -> int:
    """How many of the first layers one launch can take."""
    count = 1
    while (
        count < min(MOST_LAYERS, len(layers))
        and layers[count].kind == layers[0].kind
        and sum(_between(layers[: count + 1], tile)) <= most_shared_bytes()
    ):
        count += 1
    return count


def _between(part: Sequence[Layer], tile: int) -> tuple[int, int]:
    """Bytes of the two arrays between layers: the outputs of even and of odd ones, but for the last."""
    size = _BETWEEN_BYTES[part[0].kind] * tile
    widths = [layer.outputs for layer in part[:-1]]
    even, odd = (-(-max(widths[i::2], default=0) * size // 16) * 16 for i in (0, 1))
    return even, odd
