"""K4: the ten best of 100,000 keys of 256, for 32 queries and for one."""

from __future__ import annotations

import numpy as np

from tailrace._bench.kernels.common import Call, Close, installed, kernel_work
from tailrace._bench.timing import Work
from tailrace.kernels import Retriever, topk_similarity
from tailrace.kernels.ops.topk_similarity import OP, reference

_COUNT, _DIM, _K = 100_000, 256, 10


def works() -> list[Work]:
    """Return one work for 32 queries, and one per store for a single query."""
    rng = np.random.default_rng(4)
    keys = rng.standard_normal((_COUNT, _DIM), dtype=np.float32)
    queries = rng.standard_normal((32, _DIM), dtype=np.float32)
    found = [_work("K4", "32 queries", queries, keys, None)]
    found += [
        _work(f"K4.1.{store}", f"1 query, {store} store", queries[:1], keys, store)
        for store in ("float32", "float16", "int8")
    ]
    return found


def _work(id: str, title: str, queries: np.ndarray, keys: np.ndarray, store: str | None) -> Work:
    bound = Retriever(keys, k=_K, store=store)
    engines: dict[str, Call | None] = {
        "tailrace": lambda: bound(queries),
        "NumPy": lambda: _numpy(queries, keys),
        "torch": _torch(queries, keys),
    }
    if store is None:
        engines["tailrace, not bound"] = lambda: topk_similarity(queries, keys, _K)
    width = {"float16": 2, "int8": 1}.get(store or "", 4)
    return kernel_work(
        id,
        f"top {_K} of {_COUNT:,} keys of {_DIM}, {title}",
        # Rounded keys may put others first; the scores are close all the same.
        Close(reference.topk_similarity(queries, keys, _K)[0], 1e-5 if width == 4 else 2e-2, _score_error),
        engines,
        flops=OP.flops(queries=queries, keys=keys),
        nbytes=keys.size * width,
    )


def _score_error(result: tuple[np.ndarray, np.ndarray], truth: np.ndarray) -> float:
    return float((np.abs(np.asarray(result[0]) - truth) / truth).max())


def _numpy(queries: np.ndarray, keys: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    scores = queries @ keys.T
    chosen = np.argpartition(scores, -_K, axis=1)[:, -_K:]
    best = np.take_along_axis(scores, chosen, axis=1)
    order = np.argsort(-best, axis=1, kind="stable")
    return np.take_along_axis(best, order, axis=1), np.take_along_axis(chosen, order, axis=1)


def _torch(queries: np.ndarray, keys: np.ndarray) -> Call | None:
    torch = installed("torch")
    if torch is None:
        return None
    left, right = torch.from_numpy(queries), torch.from_numpy(keys)

    def call() -> object:
        with torch.inference_mode():
            best, chosen = torch.topk(left @ right.T, _K)
            return best.numpy(), chosen.numpy()

    return call
