"""The way of topk_similarity to the device."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from tailrace.kernels.cuda import launcher

_NAME = "topk_similarity"
_KERNEL = {"float32": "f32", "float16": "f16", "int8": "i8"}
_WARPS = 8
_MOST_KEYS = 2**31 - 2**16
_MOST_DIM = 16384
# Queries of a tile and entries of a list, as cuda.cu has them.
_MANY, _ONE = (8, 32), (1, 128)
_MOST_DIM_OF_MANY = 1024  # eight queries and their lists in 48 KiB
_LEAST_KEYS_OF_BLOCK = 128


def run(
    queries: Any, keys: Any, checked_k: Callable[[int], int], cosine: bool, scales: Any, out: Any
) -> tuple[Any, Any]:
    """Run topk_similarity on the device; arguments as the op has them, on the host or on the device.

    A score that is NaN is worse than any number: no call waits for the device to raise. Where fewer than k
    scores are numbers, the last answers have score NaN and index -1.

    Args:
        queries, keys, cosine, scales, out: as the op has them.
        checked_k: k for so many keys; raises where it is out of range.

    Raises:
        TypeError, ValueError: for arrays of another dtype, shape or side, for more than 2**31 - 2**16
            keys, or more than 16,384 values in a key.
    """
    call = launcher.Crossing(_NAME, keys)
    return Keys(call, keys, scales, cosine).search(call, queries, checked_k, out)


class Keys:
    """Keys on the device, checked, with what each score is multiplied by.

    Args:
        call: the call that brings them; keys of the host are copied.
        keys, scales, cosine: as the op has them.
    """

    def __init__(self, call: launcher.Crossing, keys: Any, scales: Any, cosine: bool) -> None:
        self.keys = call.take(keys, "keys", tuple(_KERNEL), ("count", "dim"), least=1)
        count, dim = (int(extent) for extent in self.keys.shape)
        scales = call.take(scales, "scales", ("float32",), (count,))
        if scales is None and self.keys.dtype.name == "int8":
            raise ValueError(f"{_NAME}: int8 keys need scales, float32 [{count}]: what one step stands for")
        if count > _MOST_KEYS or dim > _MOST_DIM:
            raise ValueError(
                f"{_NAME}: the device searches at most {_MOST_KEYS} keys of {_MOST_DIM} values; "
                f"got {count} of {dim}: search them in parts"
            )
        self.shape = (count, dim)
        self._cosine = cosine
        self._multipliers = _multipliers(self.keys, scales) if cosine else scales

    def search(
        self, call: launcher.Crossing, queries: Any, checked_k: Callable[[int], int], out: Any
    ) -> tuple[Any, Any]:
        """Return the best keys of each query; arguments as for `run`."""
        count, dim = self.shape
        queries = call.take(queries, "queries", ("float32",), ("batch", dim), least=1)
        k, batch = checked_k(count), len(queries)
        outs = (None, None) if out is None else out
        if not isinstance(outs, tuple) or len(outs) != 2:
            shape = f"[{batch}, {k}]"
            raise TypeError(f"{_NAME}: out must be (float32 {shape}, int64 {shape}); got {outs!r}")
        scores = call.result(outs[0], (batch, k), name="out[0]")
        indices = call.result(outs[1], (batch, k), "int64", name="out[1]")
        of_queries = _multipliers(queries, None) if self._cosine else None
        many = batch > 1 and dim <= _MOST_DIM_OF_MANY
        _search(self.keys, queries, of_queries, self._multipliers, k, scores, indices, many)
        return call.give(scores), call.give(indices)

    def search_there(self, queries: Any, k: int, out: Any) -> tuple[Any, Any]:
        """The same for queries that have to lie on the device."""
        call = launcher.Crossing("Retriever", queries)
        if not call.on_device:
            raise ValueError(
                "Retriever: its keys lie on the device and the queries on the host: pass cupy.asarray(...)"
            )
        return self.search(call, queries, lambda _: k, out)


def _multipliers(rows: Any, scales: Any) -> Any:
    count, dim = rows.shape
    there = launcher.empty((count,), np.float32)
    launcher.launch(
        _NAME,
        f"topk_lengths_{_KERNEL[rows.dtype.name]}",
        (-(-count // _WARPS),),
        (32 * _WARPS,),
        (rows, scales, there, np.int32(count), np.int32(dim)),
    )
    return there


def _search(
    keys: Any, queries: Any, of_queries: Any, of_keys: Any, k: int, scores: Any, indices: Any, many: bool
) -> None:
    (count, dim), batch = keys.shape, len(queries)
    of_tile, most = _MANY if many else _ONE
    tiles = -(-batch // of_tile)
    splits = max(1, min(2 * launcher.multiprocessors() // tiles, -(-count // _LEAST_KEYS_OF_BLOCK)))
    part_scores = launcher.empty((splits, tiles * of_tile, most), np.float32)
    part_indices = launcher.empty((splits, tiles * of_tile, most), np.int32)
    packed = dim * keys.dtype.itemsize % 16 == 0 and launcher.address(keys) % 16 == 0
    form = "many" if many else "one"
    scan = f"topk_scan_{_KERNEL[keys.dtype.name]}_{'wide' if packed else 'narrow'}_{form}"
    shared_bytes = 4 * of_tile * dim + 8 * _WARPS * of_tile * most
    for done in range(0, k, most):
        kept = np.int32(min(most, k - done))
        launcher.launch(
            _NAME,
            scan,
            (tiles, splits),
            (32 * _WARPS,),
            (
                keys,
                queries,
                of_queries,
                of_keys,
                scores,
                indices,
                part_scores,
                part_indices,
                np.int32(batch),
                np.int32(count),
                np.int32(dim),
                np.int32(k),
                np.int32(done),
                kept,
            ),
            shared_bytes,
        )
        launcher.launch(
            _NAME,
            f"topk_merge_{form}",
            (batch,),
            (32 * _WARPS,),
            (
                part_scores,
                part_indices,
                scores,
                indices,
                np.int32(splits),
                np.int32(tiles * of_tile),
                np.int32(k),
                np.int32(done),
                kept,
            ),
        )
