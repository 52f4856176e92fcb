"""The way of embedding_bag to the device."""

from __future__ import annotations

from typing import Any

import numpy as np
from tailrace.kernels.cuda import launcher

_NAME = "embedding_bag"
_KERNEL = {"float32": "f32", "float16": "f16", "int8": "i8"}
_BAGS_OF_BLOCK = 8


def run(table: Any, indices: Any, offsets: Any, weights: Any, scales: Any, mean: bool, out: Any) -> Any:
    """Run embedding_bag on the device; arguments as the op has them, on the host or on the device.

    A bag with an index that is no row, or offsets outside the items, is NaN: nobody waits for the device.

    Raises:
        TypeError, ValueError: for arrays of another dtype, shape or side.
    """
    call = launcher.Crossing(_NAME, table)
    table = call.take(table, "table", tuple(_KERNEL), ("rows", "dim"))
    indices = call.take(indices, "indices", ("int64",), ("items",))
    offsets = call.take(offsets, "offsets", ("int64",), ("bags + 1",), least=1)
    weights = call.take(weights, "weights", ("float32",), indices.shape)
    scales = call.take(scales, "scales", ("float32",), table.shape[:1])
    if scales is None and table.dtype.name == "int8":
        raise ValueError(
            f"{_NAME}: an int8 table needs scales, float32 [{len(table)}]: what one step stands for"
        )
    rows, dim = table.shape
    bags = len(offsets) - 1
    result = call.result(out, (bags, dim))
    wide = (
        dim * table.dtype.itemsize % 16 == 0
        and launcher.address(table) % 16 == 0 == launcher.address(result) % 16
    )
    launcher.launch(
        _NAME,
        f"embedding_bag_{_KERNEL[table.dtype.name]}_{'wide' if wide else 'narrow'}",
        (-(-bags // _BAGS_OF_BLOCK),),
        (32 * _BAGS_OF_BLOCK,),
        (
            table,
            indices,
            offsets,
            weights,
            scales,
            result,
            np.int64(rows),
            np.int64(len(indices)),
            np.int64(bags),
            np.int32(dim),
            np.int32(mean),
        ),
    )
    return call.give(result)
