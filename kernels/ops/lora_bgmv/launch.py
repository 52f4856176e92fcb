"""lora_bgmv on a device: a block a row, in one launch."""

from __future__ import annotations

from typing import Any

import numpy as np
from tailrace.kernels.cuda import launcher
from tailrace.kernels.cuda.networks import THREADS, most_shared_bytes

__all__ = ["run"]

_NAME = "lora_bgmv"
_STORED = ("float32", "float16")

ADAPTERS = np.dtype(
    [
        ("a", "u8"),
        ("b", "u8"),
        ("count", "i4"),
        ("hidden", "i4"),
        ("rank", "i4"),
        ("out", "i4"),
        ("scale", "f4"),
        ("accumulate", "i4"),
        ("wide_a", "i4"),
        ("wide_b", "i4"),
    ]
)


def run(x: Any, a: Any, b: Any, adapters: Any, scale: float, accumulate: bool, out: Any) -> Any:
    """Run lora_bgmv on the device; arguments as the op has them, on the host or on the device.

    A row that names no adapter, and not -1 either, is NaN: nobody waits for the device to find it.

    Raises:
        TypeError, ValueError: for arrays of another dtype, shape or side; for accumulate without `out`.
    """
    crossing = launcher.Crossing(_NAME, x)
    x = crossing.take(x, "x", ("float32",), ("rows", "hidden"))
    rows, hidden = (int(extent) for extent in x.shape)
    a = crossing.take(a, "a", _STORED, ("adapters", hidden, "rank"))
    count, _, rank = (int(extent) for extent in a.shape)
    b = crossing.take(b, "b", (a.dtype.name,), (count, rank, "out"))
    outputs = int(b.shape[2])
    adapters = crossing.take(adapters, "adapters", ("int32",), (rows,))
    if accumulate and out is None:
        raise ValueError(f"{_NAME}: accumulate adds to out: pass out, float32 [{rows}, {outputs}]")
    result = crossing.result(out, (rows, outputs), start=accumulate)
    shared_bytes = 4 * (hidden + rank)
    if shared_bytes > most_shared_bytes():
        raise ValueError(
            f"{_NAME}: hidden {hidden} and rank {rank} do not fit into a block's shared memory on this "
            f"device; at most {most_shared_bytes() // 4} do together"
        )
    all_of = np.zeros(1, ADAPTERS)
    all_of["a"], all_of["b"] = launcher.address(a), launcher.address(b)
    all_of["count"], all_of["hidden"], all_of["rank"], all_of["out"] = count, hidden, rank, outputs
    all_of["scale"], all_of["accumulate"] = scale, accumulate
    for half, array in (("wide_a", a), ("wide_b", b)):
        row_bytes = array.shape[2] * array.dtype.itemsize
        all_of[half] = row_bytes % 16 == 0 and launcher.address(array) % 16 == 0
    launcher.launch(
        _NAME,
        f"lora_bgmv_{a.dtype.name}",
        (rows,),
        (THREADS,),
        (all_of, x, adapters, result),
        shared_bytes=shared_bytes,
    )
    return crossing.give(result)
