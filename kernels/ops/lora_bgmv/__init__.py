"""lora_bgmv: rows through the low-rank adapters that they name."""

from __future__ import annotations

from typing import Any

import numpy as np
from tailrace.kernels import _checks, _cpu, dispatch
from tailrace.kernels.ops.lora_bgmv import reference
from tailrace.kernels.registry import Op

__all__ = ["OP", "lora_bgmv"]

_NAME = "lora_bgmv"
_STORED = ("float32", "float16")


def lora_bgmv(
    x: Any,
    a: Any,
    b: Any,
    adapters: Any,
    *,
    scale: float = 1.0,
    accumulate: bool = False,
    backend: str = "auto",
    out: Any = None,
) -> Any:
    """Return scale * (x[row] @ a[i]) @ b[i] for each row, where i is the adapter that the row names.

    Rows of one adapter are computed together, in whatever order they come; sums and x @ a[i] are float32.

    Args:
        x: float32 [rows, hidden].
        a: float32 or float16 [adapters, hidden, rank].
        b: [adapters, rank, out], of the dtype of a.
        adapters: int32 [rows]; -1 for a row without one, whose result is zeros.
        scale: a factor, usually alpha / rank.
        accumulate: whether the result is added to what `out` holds (the layer that is adapted).
        backend: "auto", "cpu", "cuda" or "numpy".
        out: float32 [rows, out] that is written to and returned; nothing of it in x, a or b.

    Returns:
        float32 [rows, out].

    Raises:
        TypeError, ValueError: for arrays of another dtype, shape or layout; for accumulate without `out`.
        IndexError: for a number that is no adapter; `out` then is as it was. On a
            device the row is NaN instead.
        BackendUnavailable: for a named backend that cannot be had here.

    Source: Hu et al., "LoRA: Low-rank adaptation of large language models", 2021; Chen et al., "Punica:
    Multi-tenant LoRA serving", 2023.

    >>> import numpy as np
    >>> from tailrace.kernels import lora_bgmv
    >>> a = np.array([[[1], [1]], [[1], [-1]]], np.float32)    # adapter 0 sums, adapter 1 subtracts
    >>> b = np.array([[[1, 10, 100]], [[1, 1, 1]]], np.float32)
    >>> x = np.array([[1, 2], [3, 4], [5, 1]], np.float32)
    >>> lora_bgmv(x, a, b, np.array([0, -1, 1], np.int32))
    array([[  3.,  30., 300.],
           [  0.,   0.,   0.],
           [  4.,   4.,   4.]], dtype=float32)
    """
    chosen = dispatch.choose(_NAME, backend, x, a, b, adapters, out, offers=OP.backends)
    if chosen == "cuda":
        from tailrace.kernels.ops.lora_bgmv import launch

        return launch.run(x, a, b, adapters, scale, accumulate, out)
    x = _checks.host_array(_NAME, "x", x, ("float32",), ("rows", "hidden"))
    a = _checks.host_array(_NAME, "a", a, _STORED, ("adapters", x.shape[1], "rank"))
    b = _checks.host_array(_NAME, "b", b, (a.dtype.name,), (a.shape[0], a.shape[2], "out"))
    adapters = _checks.host_array(_NAME, "adapters", adapters, ("int32",), (len(x),))
    if accumulate and out is None:
        raise ValueError(f"{_NAME}: accumulate adds to out: pass out, float32 [{len(x)}, {b.shape[2]}]")
    if not isinstance(scale, int | float | np.floating):
        raise TypeError(f"{_NAME}: scale must be a number; got {scale!r}")
    out = _checks.output(_NAME, out, (len(x), b.shape[2]), apart_from=(x, a, b))
    if chosen == "numpy":
        wrong = np.flatnonzero((adapters < -1) | (adapters >= len(a)))
        row = int(wrong[0]) if len(wrong) else -1
        if row < 0:
            truth = reference.lora_bgmv(x, a, b, adapters, scale=scale, accumulate=accumulate, out=out)
            dispatch.reference_into(truth, out)
    else:
        row = _cpu.lora_bgmv(x, a, b, adapters, scale, accumulate, out)
    if row >= 0:
        raise IndexError(
            f"{_NAME}: row {row} names adapter {adapters[row]}, and there are {len(a)}, counted from 0; "
            "-1 stands for none"
        )
    return out


def _cases(rng: np.random.Generator, n: int, dtype: str) -> dict[str, Any]:
    adapters, hidden, rank, out = 3 + n // 8, 2 * n + 1, 1 + n % 37, n + 3
    return {
        "x": rng.normal(size=(n, hidden)).astype(np.float32),
        "a": rng.normal(size=(adapters, hidden, rank)).astype(dtype),
        "b": rng.normal(size=(adapters, rank, out)).astype(dtype),
        "adapters": rng.integers(-1, adapters, n).astype(np.int32),
        "scale": 0.5,
    }


def _used(a: Any, adapters: Any) -> int:
    return len(np.unique(adapters[adapters >= 0])) if len(a) else 0


def _bytes(*, x: Any, a: Any, b: Any, adapters: Any, **_: Any) -> int:
    weights = (a.nbytes + b.nbytes) // max(len(a), 1) * _used(a, adapters)
    return int(x.nbytes + weights + 4 * len(x) * b.shape[2])


def _flops(*, a: Any, b: Any, adapters: Any, **_: Any) -> int:
    return int(2 * (adapters >= 0).sum() * a.shape[2] * (a.shape[1] + b.shape[2]))


OP = Op(
    name=_NAME,
    call=lora_bgmv,
    reference=reference.lora_bgmv,
    cases=_cases,
    dtypes=_STORED,
    tolerance={"float32": 2e-6, "float16": 2e-6},
    bytes=_bytes,
    flops=_flops,
    backends=("cpu", "cuda"),
)
