"""K3: agents with weights of their own, one row each: small policies, and the large one."""

from __future__ import annotations

from typing import Any

import numpy as np

from tailrace._bench.kernels.common import Call, Close, kernel_work
from tailrace._bench.kernels.mlp_forward import network
from tailrace._bench.kernels.onnx_models import session
from tailrace._bench.timing import Work
from tailrace.kernels import mlp_forward_grouped
from tailrace.kernels.ops.mlp_forward_grouped import OP, reference


def works() -> list[Work]:
    """Return one work per size of the agents' networks."""
    return [_work("K3", 64, (32, 64, 64, 8)), _work("K3.large", 16, (256, 512, 512, 16))]


def _work(id: str, count: int, widths: tuple[int, ...]) -> Work:
    rng = np.random.default_rng(3)
    agents = [network(rng, widths) for _ in range(count)]
    weights = [np.stack(layer) for layer in zip(*(weights for weights, _ in agents), strict=True)]
    biases = [np.stack(layer) for layer in zip(*(biases for _, biases in agents), strict=True)]
    x = rng.standard_normal((count, widths[0]), dtype=np.float32)
    out = np.empty((count, widths[-1]), np.float32)
    engines: dict[str, Call | None] = {
        "tailrace": lambda: mlp_forward_grouped(x, weights, biases, out=out),
        "onnxruntime, a session each": _sessions(x, agents),
        "np.einsum": lambda: _numpy(x, weights, biases, lambda y, w: np.einsum("ai,aio->ao", y, w)),
        "np.matmul, batched": lambda: _numpy(x, weights, biases, lambda y, w: (y[:, None] @ w)[:, 0]),
    }
    return kernel_work(
        id,
        f"{count} agents, each its own MLP {'-'.join(map(str, widths))} float32, a row each",
        Close(reference.mlp_forward_grouped(x, weights, biases), 1e-5),
        engines,
        calls=5,
        flops=OP.flops(x=x, weights=weights),
        nbytes=OP.bytes(x=x, weights=weights),
    )


def _sessions(x: np.ndarray, agents: list[Any]) -> Call | None:
    sessions = [session(layers) for layers in agents]
    if sessions[0] is None:
        return None
    rows = [x[i : i + 1] for i in range(len(x))]

    def call() -> object:
        return np.concatenate([s.run(None, {"x": row})[0] for s, row in zip(sessions, rows, strict=True)])

    return call


def _numpy(x: np.ndarray, weights: Any, biases: Any, product: Any) -> np.ndarray:
    y = x
    for weight, bias in zip(weights[:-1], biases[:-1], strict=True):
        y = np.maximum(product(y, weight) + bias, 0)
    return np.asarray(product(y, weights[-1]) + biases[-1])
