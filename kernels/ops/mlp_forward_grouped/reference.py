"""The truth of mlp_forward_grouped: float64, row by row, each through its agent's layers."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from tailrace.kernels.ops.mlp_forward import reference
from tailrace.kernels.weights import Weight, dequantize

__all__ = ["mlp_forward_grouped"]


def mlp_forward_grouped(
    x: np.ndarray,
    weights: Sequence[Weight],
    biases: Sequence[np.ndarray | None],
    *,
    agents: np.ndarray | None = None,
    activation: str = "relu",
) -> np.ndarray:
    """Return every row's output by the network of its agent, [rows, out]."""
    plain = [dequantize(weight) for weight in weights]
    numbers = np.arange(len(x)) if agents is None else agents
    rows = []
    for row, agent in zip(x, numbers, strict=True):
        own = [weight[agent] for weight in plain]
        shifts = [bias if bias is None else bias[agent] for bias in biases]
        rows.append(reference.mlp_forward(row[None], own, shifts, activation=activation)[0])
    return np.stack(rows)
