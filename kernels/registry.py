"""The ops, each with what tests, benches and docs need to know of it."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

__all__ = ["OP_MODULES", "Op", "all_ops", "op", "relative_l2"]

# Folder of the op, in the order of the docs. Each exports `OP`.
OP_MODULES = (
    "mlp_forward",
    "mlp_forward_grouped",
    "embedding_bag",
    "topk_similarity",
    "sample_tokens",
    "image_prep",
    "log_mel",
    "features_prep",
    "pca_project",
    "lora_bgmv",
    "conv2d_small",
)


def relative_l2(result: np.ndarray, truth: np.ndarray) -> float:
    """Return |result - truth| / |truth|, Euclidean; NaN if there is one in either.

    >>> import numpy as np
    >>> relative_l2(np.array([3.0, 4.0]), np.array([3.0, 5.0]))
    0.17149858514250882
    """
    result, truth = np.asarray(result, np.float64), np.asarray(truth, np.float64)
    if result.shape != truth.shape:
        return float("inf")
    norm = float(np.linalg.norm(truth))
    return float(np.linalg.norm(result - truth)) / (norm if norm else 1.0)


@dataclass(frozen=True)
class Op:
    """One op: its call, its truth and its size.

    Attributes:
        name: The public function's name.
        call: The public function.
        reference: The same in float64 NumPy: returns an array, or a tuple of them.
        cases: (rng, n, dtype) -> keyword arguments for a call of about that size, random, never zeros.
        dtypes: What `cases` takes for dtype, the usual one first.
        tolerance: Per dtype, how large `error` may be.
        bytes: The least a call moves, in bytes, from the keyword arguments.
        flops: What a call computes, in operations; 0 where nothing is to be counted.
        error: (result, truth) -> a number; relative L2 by default.
        backends: Where it runs, besides "numpy", its reference.
        device_tolerance: Per dtype, where `tolerance` does not hold on a device; the docstring says why.
    """

    name: str
    call: Callable[..., Any]
    reference: Callable[..., Any]
    cases: Callable[[np.random.Generator, int, str], dict[str, Any]]
    dtypes: tuple[str, ...]
    tolerance: Mapping[str, float]
    bytes: Callable[..., int]
    flops: Callable[..., int]
    error: Callable[[np.ndarray, np.ndarray], float] = field(default=relative_l2)
    backends: tuple[str, ...] = ("cpu",)
    device_tolerance: Mapping[str, float] = field(default_factory=dict)


def op(name: str) -> Op:
    """Return the op of this name.

    Raises:
        ValueError: if there is none.
    """
    if name not in OP_MODULES:
        raise ValueError(f"there is no op {name!r}; there are {', '.join(OP_MODULES)}")
    found = importlib.import_module(f"tailrace.kernels.ops.{name}").OP
    assert isinstance(found, Op)
    return found


def all_ops() -> dict[str, Op]:
    """Return all ops by name, in the order of the docs.

    >>> "embedding_bag" in all_ops()
    True
    """
    return {name: op(name) for name in OP_MODULES}
