"""K5: a token for each of 32 rows of 32,000 logits, by top-p."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from tailrace._bench.kernels.common import Call, Close, installed, kernel_work
from tailrace._bench.timing import Work
from tailrace.kernels import Sampler
from tailrace.kernels.ops.sample_tokens import OP, kept_tokens, reference

_ROWS, _TOKENS, _P, _SEED = 32, 32_000, 0.9, 5


def works() -> list[Work]:
    """Return one work for flat and one for peaked distributions."""
    rng = np.random.default_rng(_SEED)
    found = []
    for id, scale, title in (("K5", 1.0, "flat"), ("K5.peaked", 3.0, "peaked")):
        logits = rng.normal(scale=scale, size=(_ROWS, _TOKENS)).astype(np.float32)
        sampler = Sampler(_TOKENS, top_p=_P, seed=_SEED)
        engines: dict[str, Call | None] = {
            "tailrace": partial(sampler, logits),
            "NumPy, by sorting": partial(_numpy, logits),
            "torch, by sorting": _torch(logits),
        }
        # Rivals draw other tokens: right is what top-p keeps.
        kept = kept_tokens(logits, top_p=_P * 1.0001)
        assert (sampler(logits) == reference.sample_tokens(logits, top_p=_P, seed=_SEED)).mean() > 0.9
        found.append(
            kernel_work(
                id,
                f"top-p {_P} sampling, {_ROWS} rows of {_TOKENS:,} logits, {title}",
                Close(kept, 0.0, _outside),
                engines,
                nbytes=OP.bytes(logits=logits),
            )
        )
    return found


def _outside(drawn: Any, kept: np.ndarray) -> float:
    return float(np.mean(~kept[np.arange(len(kept)), np.asarray(drawn).reshape(-1)]))


_UNIFORM: Callable[..., Any] = np.random.default_rng(1).random


def _numpy(logits: np.ndarray) -> np.ndarray:
    order = np.argsort(-logits, axis=1)
    ordered = np.take_along_axis(logits, order, axis=1)
    weights = np.exp(ordered - ordered[:, :1])
    sums = np.cumsum(weights, axis=1)
    kept = sums - weights < _P * sums[:, -1:]
    ends = sums[np.arange(len(sums)), kept.sum(axis=1) - 1]
    drawn = (sums <= (_UNIFORM(len(sums)) * ends)[:, None]).sum(axis=1)
    found: np.ndarray = order[np.arange(len(order)), drawn]
    return found


def _torch(logits: np.ndarray) -> Call | None:
    torch = installed("torch")
    if torch is None:
        return None
    held = torch.from_numpy(logits)

    def call() -> object:
        with torch.inference_mode():
            ordered, order = torch.sort(held, dim=1, descending=True)
            weights = torch.softmax(ordered, dim=1)
            weights = weights.masked_fill(weights.cumsum(dim=1) - weights >= _P, 0.0)
            return order.gather(1, torch.multinomial(weights, 1)).numpy()

    return call
