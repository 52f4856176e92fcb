"""Host arrays on the device: only where a measurement says that it is quicker, copies included."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from tailrace.kernels import registry

__all__ = ["Line", "calibrate", "cheaper", "fitted", "forget", "known"]


@dataclass(frozen=True)
class Line:
    """Seconds of a call as a fixed part and a part per byte of its arrays."""

    fixed_s: float
    per_byte_s: float

    def at(self, nbytes: int) -> float:
        """Return the seconds of a call whose arrays have `nbytes` bytes.

        >>> Line(1.0, 0.5).at(4)
        3.0
        """
        return self.fixed_s + self.per_byte_s * nbytes


_known: dict[str, dict[str, Line]] = {}


def fitted(points: Sequence[tuple[int, float]]) -> Line:
    """Return the line through (bytes, seconds) by least squares of the relative errors, never falling.

    >>> line = fitted([(0, 1.0), (10, 2.0), (20, 3.0)])
    >>> round(line.fixed_s, 3), round(line.per_byte_s, 3)
    (1.0, 0.1)
    """
    sizes = np.array([size for size, _ in points], np.float64)
    seconds = np.array([second for _, second in points], np.float64)
    weights = 1 / seconds
    design = np.stack([np.ones_like(sizes), sizes], axis=1) * weights[:, None]
    (fixed, slope), *_ = np.linalg.lstsq(design, np.ones_like(seconds), rcond=None)
    if slope < 0:
        fixed, slope = float(np.median(seconds)), 0.0
    return Line(max(float(fixed), 0.0), float(slope))


def calibrate(
    name: str,
    sizes: Sequence[int] = (1, 16, 256, 4096),
    *,
    seed: int = 0,
    clock: Callable[[], float] = time.perf_counter,
) -> dict[str, Line]:
    """Measure an op on the CPU and on the device with arrays of the host, and remember it for backend="auto".

    Args:
        name: the op.
        sizes: what `cases` of the op is given for n.
        seed: of the random inputs.
        clock: seconds.

    Returns:
        The line of each backend.

    Raises:
        BackendUnavailable: if there is no device.
    """
    from tailrace.kernels import device

    device.require()
    op = registry.op(name)
    points: dict[str, list[tuple[int, float]]] = {"cpu": [], "cuda": []}
    for size in sizes:
        case = op.cases(np.random.default_rng(seed), size, op.dtypes[0])
        for backend, found in points.items():
            op.call(**case, backend=backend)  # warm: compilation, first allocations
            took = []
            for _ in range(5):
                began = clock()
                op.call(**case, backend=backend)
                took.append(clock() - began)
            found.append((_nbytes(case.values()), min(took)))
    _known[name] = {backend: fitted(found) for backend, found in points.items()}
    return _known[name]


def cheaper(name: str, arrays: Sequence[Any]) -> str:
    """Return "cuda" if `calibrate` found it quicker for arrays of this size, else "cpu".

    >>> cheaper("embedding_bag", ())
    'cpu'
    """
    lines = _known.get(name)
    if lines is None:
        return "cpu"
    nbytes = _nbytes(arrays)
    return "cuda" if lines["cuda"].at(nbytes) < lines["cpu"].at(nbytes) else "cpu"


def known() -> dict[str, dict[str, Line]]:
    """Return what has been measured: op, backend, line."""
    return dict(_known)


def forget() -> None:
    """Forget all measurements: arrays of the host stay on the host again."""
    _known.clear()


def _nbytes(values: Any) -> int:
    total = 0
    for value in values:
        if isinstance(value, list | tuple):
            total += _nbytes(value)
        else:
            total += int(getattr(value, "nbytes", 0))
    return total
