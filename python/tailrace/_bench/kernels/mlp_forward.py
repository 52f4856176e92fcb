"""K1, K2: a policy 256-512-512-16 for 1, 8 and 32 rows, by the bits of its weights."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from tailrace._bench.kernels.common import Call, Close, installed, kernel_work
from tailrace._bench.kernels.onnx_models import Layers, call_of, session
from tailrace._bench.timing import Work
from tailrace.kernels import Policy, quantize_int4, quantize_int8, to_bfloat16
from tailrace.kernels.ops.mlp_forward import OP, reference

_WIDTHS = (256, 512, 512, 16)


def network(rng: np.random.Generator, widths: tuple[int, ...]) -> Layers:
    """Return random weights that keep the size of what goes through them, and biases."""
    weights = [(rng.standard_normal(p) * np.sqrt(2 / p[0])).astype(np.float32) for p in pairwise(widths)]
    return weights, [(rng.standard_normal(width) / 10).astype(np.float32) for width in widths[1:]]


def works() -> list[Work]:
    """Return one work per kind of weight and number of rows."""
    rng = np.random.default_rng(1)
    weights, biases = network(rng, _WIDTHS)
    plain, channel, tensor = (session((weights, biases), how) for how in ("", "channel", "tensor"))
    kinds: list[tuple[str, str, Sequence[Any], float]] = [
        ("K1", "float32", weights, 1e-5),
        ("K1.bf16", "bfloat16 weights", [to_bfloat16(w) for w in weights], 0.02),
        ("K2", "int8", [quantize_int8(w) for w in weights], 0.08),  # the rivals' scales are coarser
        (
            "K2.int4",
            "int4 weights",
            [quantize_int4(w) for w in weights],
            0.5,
        ),  # of 15 steps, on random weights
    ]
    found = []
    for row, title, stored, within in kinds:
        policy = Policy(stored, biases)
        for rows in (1, 8, 32):
            x = rng.standard_normal((rows, _WIDTHS[0]), dtype=np.float32)
            out = np.empty((rows, _WIDTHS[-1]), np.float32)

            def ours(policy: Policy = policy, x: np.ndarray = x, out: np.ndarray = out) -> object:
                return policy(x, out=out)

            engines: dict[str, Call | None] = {"tailrace": ours}
            if row == "K2":
                engines["onnxruntime int8"] = call_of(channel, x)
                engines["onnxruntime int8, per tensor"] = call_of(tensor, x)
            else:
                engines["onnxruntime"] = call_of(plain, x)
            if row == "K1":
                engines["NumPy"] = _numpy(x, weights, biases)
                engines["torch"] = _torch(x, weights, biases)
            found.append(
                kernel_work(
                    f"{row}.{rows}",
                    f"MLP {'-'.join(map(str, _WIDTHS))} {title}, batch {rows}",
                    Close(reference.mlp_forward(x, weights, biases), within),
                    engines,
                    calls=max(200 // rows, 5),
                    flops=OP.flops(x=x, weights=weights),
                    nbytes=OP.bytes(x=x, weights=stored),
                )
            )
    return found


def _numpy(x: np.ndarray, weights: Any, biases: Any) -> Call:
    def call() -> object:
        y = x
        for weight, bias in zip(weights[:-1], biases[:-1], strict=True):
            y = y @ weight + bias
            np.maximum(y, 0, out=y)
        return y @ weights[-1] + biases[-1]

    return call


def _torch(x: np.ndarray, weights: Any, biases: Any) -> Call | None:
    torch = installed("torch")
    if torch is None:
        return None
    layers = [
        (torch.from_numpy(w.T.copy()), torch.from_numpy(b)) for w, b in zip(weights, biases, strict=True)
    ]
    rows, linear = torch.from_numpy(x), torch.nn.functional.linear

    def call() -> object:
        with torch.inference_mode():
            y = rows
            for weight, bias in layers[:-1]:
                y = torch.relu(linear(y, weight, bias))
            return linear(y, *layers[-1]).numpy()

    return call
