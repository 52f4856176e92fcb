"""What `quantize` and `prune` return: the model, and what it lost and won."""

from __future__ import annotations

from dataclasses import dataclass

from tailrace.kernels.compress.measure import TestData, speedup
from tailrace.kernels.compress.model import Model

__all__ = ["Compressed", "LayerPruning", "Trial", "compared"]


@dataclass(frozen=True, slots=True)
class Trial:
    """One method that "auto" tried: its score, its speed beside the original, its size."""

    method: str
    score: float
    speedup: float
    nbytes: int


@dataclass(frozen=True, slots=True)
class LayerPruning:
    """What pruning did to a layer.

    Attributes:
        layer: Its place in the model.
        kept: Weights that are left or, of structured pruning, units; `total` there were.
        score_kept: The share of the scores that the kept ones have: near 1, little is lost.
    """

    layer: int
    kept: int
    total: int
    score_kept: float


@dataclass(frozen=True, slots=True, eq=False)
class Compressed:
    """A compressed model and what it cost.

    Attributes:
        model: The compressed model.
        method: How: "int8", "dynamic", "int4", "fp16", "none" (where "auto" found nothing better), or the
            strategy of the pruning.
        score_before: The score of the original on the data that were given: the share of right classes, or of
            the variance that is explained, or what the metric says. None without data; the next two too.
        score_after: That of the compressed model.
        speedup: Time of the original divided by its own on those data, or the first `batch` rows of them,
            minima of passes in turns.
        nbytes_before: Bytes of the original; `model.nbytes` are its own.
        trials: What "auto" measured.
        pruning: What pruning did, layer by layer.
    """

    model: Model
    method: str
    nbytes_before: int
    score_before: float | None = None
    score_after: float | None = None
    speedup: float | None = None
    trials: tuple[Trial, ...] = ()
    pruning: tuple[LayerPruning, ...] = ()

    @property
    def accuracy_drop(self) -> float | None:
        """`score_before - score_after`: 0.002 is 0.2 points; below 0 it got better; None without data."""
        if self.score_before is None or self.score_after is None:
            return None
        return self.score_before - self.score_after

    def __str__(self) -> str:
        size = f"{self.method}: {self.nbytes_before} -> {self.model.nbytes} bytes"
        if self.score_before is None or self.score_after is None or self.speedup is None:
            return f"{size}; nothing measured without data="
        score = f"score {self.score_before:.4f} -> {self.score_after:.4f}"
        return f"{size}, {score}, {self.speedup:.2f} times as fast"


def compared(
    before: Model, after: Model, method: str, data: TestData | None, pruning: tuple[LayerPruning, ...] = ()
) -> Compressed:
    """Return `after` as a result, measured beside `before` where there are data."""
    if data is None:
        return Compressed(after, method, before.nbytes, pruning=pruning)
    return Compressed(
        after,
        method,
        before.nbytes,
        data.score(before),
        data.score(after),
        speedup(before, after, data.timed),
        pruning=pruning,
    )
