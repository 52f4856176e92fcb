"""Embedding bags: 4,096 bags of 32 rows out of a table that no cache holds."""

from __future__ import annotations

import numpy as np

from tailrace._bench.kernels.common import Call, Close, installed, kernel_work
from tailrace._bench.timing import Work
from tailrace.kernels import embedding_bag
from tailrace.kernels.ops.embedding_bag import OP, reference

_ROWS, _DIM, _BAGS, _ITEMS = 500_000, 64, 4096, 32


def works() -> list[Work]:
    """Return one work per storage type."""
    rng = np.random.default_rng(7)
    indices = rng.integers(0, _ROWS, _BAGS * _ITEMS)
    offsets = np.arange(0, _BAGS * _ITEMS + 1, _ITEMS, dtype=np.int64)
    found = []
    for dtype in ("float32", "float16"):
        table = rng.normal(size=(_ROWS, _DIM)).astype(np.float32).astype(dtype)
        out = np.empty((_BAGS, _DIM), np.float32)
        case = {"table": table, "indices": indices, "offsets": offsets}

        def ours(table: np.ndarray = table, out: np.ndarray = out) -> object:
            return embedding_bag(table, indices, offsets, out=out)

        def numpy_sum(table: np.ndarray = table) -> object:
            return table[indices].reshape(_BAGS, _ITEMS, _DIM).sum(axis=1, dtype=np.float32)

        engines: dict[str, Call | None] = {
            "tailrace": ours,
            "NumPy": numpy_sum,
            "torch": _torch(table, indices, offsets),
        }
        found.append(
            kernel_work(
                f"embedding.{dtype}",
                f"embedding bags, {_BAGS} of {_ITEMS} rows of {_DIM} {dtype}",
                Close(reference.embedding_bag(table, indices, offsets), 2e-3),
                engines,
                flops=OP.flops(**case),
                nbytes=OP.bytes(**case),
            )
        )
    return found


def _torch(table: np.ndarray, indices: np.ndarray, offsets: np.ndarray) -> Call | None:
    torch = installed("torch")
    if torch is None or table.dtype != np.float32:
        return None
    held, items, begins = (torch.from_numpy(array) for array in (table, indices, offsets[:-1].copy()))
    bag = torch.nn.functional.embedding_bag

    def call() -> object:
        with torch.inference_mode():
            return bag(items, held, begins, mode="sum").numpy()

    return call
