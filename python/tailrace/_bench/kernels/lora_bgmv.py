"""LoRA of 64 rows, rank 16: 64 adapters of one row each, or 8 of eight; hidden size 512 and 2,048."""

from __future__ import annotations

import numpy as np

from tailrace._bench.kernels.common import Call, Close, installed, kernel_work
from tailrace._bench.timing import Work
from tailrace.kernels import lora_bgmv
from tailrace.kernels.ops.lora_bgmv import OP, reference

_ROWS, _RANK = 64, 16


def works() -> list[Work]:
    """Return one work per hidden size, number of adapters and storage type."""
    sizes = ((512, 64, "float32"), (2048, 64, "float32"), (2048, 64, "float16"), (2048, 8, "float32"))
    return [_work(*size) for size in sizes]


def _work(hidden: int, count: int, dtype: str) -> Work:
    rng = np.random.default_rng(7)
    x = rng.normal(size=(_ROWS, hidden)).astype(np.float32)
    a = rng.normal(size=(count, hidden, _RANK)).astype(dtype)
    b = rng.normal(size=(count, _RANK, hidden)).astype(dtype)
    adapters = rng.permutation(np.arange(_ROWS) % count).astype(np.int32)
    out = np.empty((_ROWS, hidden), np.float32)
    engines: dict[str, Call | None] = {
        "tailrace": lambda: lora_bgmv(x, a, b, adapters, out=out),
        "NumPy": _numpy(x, a, b, adapters),
        "torch": _torch(x, a, b, adapters),
    }
    case = {"x": x, "a": a, "b": b, "adapters": adapters}
    return kernel_work(
        f"lora.{hidden}.{count}.{dtype}",
        f"LoRA, {_ROWS} rows of {hidden}, rank {_RANK}, {count} adapters {dtype}",
        Close(reference.lora_bgmv(x, a, b, adapters), 1e-5),
        engines,
        flops=OP.flops(**case),
        nbytes=OP.bytes(**case),
    )


def _numpy(x: np.ndarray, a: np.ndarray, b: np.ndarray, adapters: np.ndarray) -> Call:
    out = np.empty((len(x), b.shape[2]), np.float32)

    def call() -> object:
        for adapter in np.unique(adapters):
            rows = np.flatnonzero(adapters == adapter)
            down, up = (weight[adapter].astype(np.float32, copy=False) for weight in (a, b))
            out[rows] = (x[rows] @ down) @ up
        return out

    return call


def _torch(x: np.ndarray, a: np.ndarray, b: np.ndarray, adapters: np.ndarray) -> Call | None:
    torch = installed("torch")
    if torch is None or a.dtype != np.float32:
        return None
    rows, down, up = (torch.from_numpy(array) for array in (x, a, b))
    named = torch.from_numpy(adapters.astype(np.int64))

    def call() -> object:
        with torch.inference_mode():
            return torch.bmm(torch.bmm(rows[:, None], down[named]), up[named])[:, 0].numpy()

    return call
