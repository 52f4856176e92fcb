"""embedding_bag: the sum or mean of the table rows that each bag names."""

from __future__ import annotations

from typing import Any

import numpy as np
from tailrace.kernels import _checks, _cpu, dispatch
from tailrace.kernels.ops.embedding_bag import reference
from tailrace.kernels.registry import Op

__all__ = ["OP", "embedding_bag"]

_NAME = "embedding_bag"
_MODES = ("sum", "mean")


def embedding_bag(
    table: Any,
    indices: Any,
    offsets: Any,
    *,
    weights: Any = None,
    mode: str = "sum",
    scales: Any = None,
    backend: str = "auto",
    out: Any = None,
) -> Any:
    """Return the sum, or the mean, of the table rows that each bag names.

    Args:
        table: float32, float16 or int8 [rows, dim].
        indices: int64 [items]: rows of the table, bag after bag.
        offsets: int64 [bags + 1]: bag b holds indices[offsets[b]:offsets[b + 1]]; an empty bag is all zeros.
        weights: float32 [items]: factors of the rows; with mode "mean" the sum is still divided by the count.
        mode: "sum" or "mean".
        scales: float32 [rows]: what one step of an int8 row stands for; needed for int8, allowed for others.
        backend: "auto", "cpu", "cuda" or "numpy".
        out: float32 [bags, dim] that is written to and returned.

    Returns:
        float32 [bags, dim].

    Raises:
        TypeError, ValueError: for arrays of another dtype, shape or layout; the message says which is wanted.
        IndexError: for an index that is no row. On the device nobody looks before: there such a bag is NaN.
        BackendUnavailable: for a named backend that cannot be had here.

    Source: Naumov et al., "Deep Learning Recommendation Model", 2019, section 4.

    >>> import numpy as np
    >>> from tailrace.kernels import embedding_bag
    >>> table = np.array([[1, 2], [10, 20], [100, 200]], np.float32)
    >>> embedding_bag(table, np.array([0, 2, 1]), np.array([0, 2, 3]))
    array([[101., 202.],
           [ 10.,  20.]], dtype=float32)
    """
    if mode not in _MODES:
        raise ValueError(f"{_NAME}: mode must be one of {', '.join(_MODES)}; got {mode!r}")
    chosen = dispatch.choose(_NAME, backend, table, indices, offsets, weights, scales, out)
    if chosen == "cuda":
        from tailrace.kernels.ops.embedding_bag import launch

        return launch.run(table, indices, offsets, weights, scales, mode == "mean", out)
    table = _checks.host_array(_NAME, "table", table, ("float32", "float16", "int8"), ("rows", "dim"))
    indices = _checks.host_array(_NAME, "indices", indices, ("int64",), ("items",))
    offsets = _checks.host_array(_NAME, "offsets", offsets, ("int64",), ("bags + 1",), least=1)
    if weights is not None:
        weights = _checks.host_array(_NAME, "weights", weights, ("float32",), indices.shape)
    if scales is not None:
        scales = _checks.host_array(_NAME, "scales", scales, ("float32",), table.shape[:1])
    elif table.dtype.name == "int8":
        raise ValueError(
            f"{_NAME}: an int8 table needs scales, float32 [{table.shape[0]}]: what one step stands for"
        )
    out = _checks.output(
        _NAME,
        out,
        (len(offsets) - 1, table.shape[1]),
        apart_from=(table, indices, offsets, weights, scales),
    )
    if chosen == "numpy":
        _cpu.embedding_bag_check(indices, offsets, len(table))
        truth = reference.embedding_bag(table, indices, offsets, weights=weights, mode=mode, scales=scales)
        dispatch.reference_into(truth, out)
    else:
        _cpu.embedding_bag(table, indices, offsets, weights, scales, mode == "mean", out)
    return out


def _cases(rng: np.random.Generator, n: int, dtype: str) -> dict[str, Any]:
    rows, dim = 50 + n, 1 + n
    table = rng.normal(size=(rows, dim)).astype(np.float32)
    case: dict[str, Any] = {"table": table.astype(dtype)}
    if dtype == "int8":
        case["table"] = rng.integers(-127, 128, (rows, dim)).astype(np.int8)
        case["scales"] = rng.uniform(0.01, 0.1, rows).astype(np.float32)
    counts = rng.integers(0, 9, n)
    case["offsets"] = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
    case["indices"] = rng.integers(0, rows, int(counts.sum()))
    if n % 2:
        case |= {"weights": rng.normal(size=int(counts.sum())).astype(np.float32), "mode": "mean"}
    return case


def _bytes(*, table: Any, indices: Any, offsets: Any, **_: Any) -> int:
    row = table.shape[1] * table.dtype.itemsize
    return int(len(indices) * (row + 8) + (len(offsets) - 1) * table.shape[1] * 4)


def _flops(*, table: Any, indices: Any, **_: Any) -> int:
    return int(2 * len(indices) * table.shape[1])


OP = Op(
    name=_NAME,
    call=embedding_bag,
    reference=reference.embedding_bag,
    cases=_cases,
    dtypes=("float32", "float16", "int8"),
    tolerance={"float32": 1e-6, "float16": 1e-6, "int8": 1e-6},
    bytes=_bytes,
    flops=_flops,
    backends=("cpu", "cuda"),
)
