"""features_prep on the device, in one launch of a Numba kernel: impute, clip, scale, one-hot and hash.

A block takes a stretch of rows. Its threads stand side by side along the features of a row, so that a warp
writes neighbours, and each keeps the numbers of its feature in registers while it goes down the rows. Hashed
columns share their buckets, so they are counted in shared memory first, with integers: the order of the
threads changes nothing.

Kernels have no eager signatures: those would ask for a driver when this module is imported.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

import numpy as np

# Numba has no types; what it makes of a function is called with a grid.
cuda: Any = importlib.import_module("numba.cuda")
int32: Any = importlib.import_module("numba").int32
_kernel: Callable[[Callable[..., None]], Any] = cuda.jit
_function: Callable[[Callable[..., Any]], Any] = cuda.jit(device=True)


_P1 = np.uint64(11400714785074694791)
_P2 = np.uint64(14029467366897019727)
_P3 = np.uint64(1609587929392839161)
_P4 = np.uint64(9650029242287828579)
_P5 = np.uint64(2870177450012600261)


@_function
def _xxh64(value: Any, seed: Any) -> Any:
    h = seed + _P5 + np.uint64(8)
    v = value * _P2
    h ^= ((v << np.uint64(31)) | (v >> np.uint64(33))) * _P1
    h = ((h << np.uint64(27)) | (h >> np.uint64(37))) * _P1 + _P4
    h = (h ^ (h >> np.uint64(33))) * _P2
    h = (h ^ (h >> np.uint64(29))) * _P3
    return h ^ (h >> np.uint64(32))


@_function
def _is_known(value: Any, values: Any, first: Any, last: Any) -> Any:
    """Whether `values[first:last]`, sorted, has `value`."""
    low = first
    high = last
    while low < high:
        middle = (low + high) // 2
        if values[middle] < value:
            low = middle + 1
        else:
            high = middle
    return low < last and values[low] == value


@_kernel
def prepare_rows(
    x: Any,
    categories: Any,
    packed: Any,
    one_hot_column: Any,
    one_hot_value: Any,
    one_hot_bounds: Any,
    hashed_column: Any,
    hashed_seed: Any,
    buckets: Any,
    rows_of_block: Any,
    unknown: Any,
    out: Any,
) -> None:
    """Prepare `rows_of_block` rows a block.

    Args:
        x: [rows, columns], float32 or float64.
        categories: int64 [rows, category columns].
        packed: [6, columns] of x's dtype: what stands for a missing value, low, high, centre, inverse, shift.
        one_hot_column: int32 [one-hot features], the category column of each.
        one_hot_value: int64 [one-hot features], the value that each stands for; ascending within a column.
        one_hot_bounds: int32 [one-hot columns, 3]: category column, its first feature, its end.
        hashed_column: int32 [hashed columns].
        hashed_seed: uint64 [hashed columns].
        buckets: features that the hashed columns share.
        rows_of_block: rows of one block.
        unknown: int64 [1] or [0]: takes the least row * category columns + column whose value was not learnt.
        out: float32 [rows, columns + one-hot features + buckets].
    """
    tile = cuda.shared.array(0, int32)
    tx = cuda.threadIdx.x
    ty = cuda.threadIdx.y
    across = cuda.blockDim.x
    down = cuda.blockDim.y
    thread = ty * across + tx
    threads = across * down
    rows = x.shape[0]
    columns = x.shape[1]
    one_hots = one_hot_column.shape[0]
    hashes = hashed_column.shape[0]
    first = cuda.blockIdx.x * rows_of_block
    end = min(first + rows_of_block, rows)

    if hashes > 0:
        for at in range(thread, (end - first) * buckets, threads):
            tile[at] = 0
        cuda.syncthreads()
        for at in range(thread, (end - first) * hashes, threads):
            r = at // hashes
            c = at - r * hashes
            h = _xxh64(np.uint64(categories[first + r, hashed_column[c]]), hashed_seed[c])
            bucket = np.int64(h % np.uint64(buckets))
            sign = -1 if h >> np.uint64(63) else 1
            cuda.atomic.add(tile, r * buckets + bucket, sign)
        cuda.syncthreads()

    if unknown.shape[0] > 0:
        checked = one_hot_bounds.shape[0]
        for at in range(thread, (end - first) * checked, threads):
            r = at // checked
            c = at - r * checked
            column = one_hot_bounds[c, 0]
            if not _is_known(
                categories[first + r, column], one_hot_value, one_hot_bounds[c, 1], one_hot_bounds[c, 2]
            ):
                cuda.atomic.min(unknown, 0, (first + r) * categories.shape[1] + column)

    for j in range(tx, columns + one_hots + buckets, across):
        if j < columns:
            missing = packed[0, j]
            low = packed[1, j]
            high = packed[2, j]
            centre = packed[3, j]
            inverse = packed[4, j]
            shift = packed[5, j]
            for r in range(first + ty, end, down):
                value = (x[r, j] - centre) * inverse + shift
                out[r, j] = min(max(value, low), high) if value == value else missing  # noqa: PLR0124
        elif j < columns + one_hots:
            column = one_hot_column[j - columns]
            expected = one_hot_value[j - columns]
            for r in range(first + ty, end, down):
                out[r, j] = 1.0 if categories[r, column] == expected else 0.0
        else:
            for r in range(first + ty, end, down):
                out[r, j] = tile[(r - first) * buckets + j - columns - one_hots]
