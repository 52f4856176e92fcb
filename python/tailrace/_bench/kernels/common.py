"""What the kernel rows share: answers that may differ by rounding, and rivals with one thread."""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from typing import Any

from tailrace._bench.timing import Op, Work
from tailrace.kernels.registry import relative_l2

Call = Callable[[], object]


class Close:
    """An answer that an engine's must be close to.

    >>> import numpy as np
    >>> np.array([1.0, 2.0001]) != Close(np.array([1.0, 2.0]), 1e-3)
    False
    """

    __array_ufunc__ = None  # an array that is compared with this one leaves the comparison to it

    def __init__(
        self, truth: Any, tolerance: float, error: Callable[[Any, Any], float] = relative_l2
    ) -> None:
        self.truth = truth
        self.tolerance = tolerance
        self.error = error

    def __eq__(self, other: object) -> bool:
        return bool(self.error(other, self.truth) <= self.tolerance)

    def __ne__(self, other: object) -> bool:
        return not self == other

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"within {self.tolerance:g} of the reference"


def installed(name: str) -> Any:
    """Return the module if it is installed, with its own threads limited to one; else None."""
    if importlib.util.find_spec(name) is None:
        return None
    module = importlib.import_module(name)
    if name == "torch":
        module.set_num_threads(1)
    elif name == "cv2":
        module.setNumThreads(1)
    return module


def kernel_work(
    id: str,
    title: str,
    expected: Any,
    engines: Mapping[str, Call | None],
    *,
    calls: int = 1,
    flops: int = 0,
    nbytes: int = 0,
) -> Work:
    """Return a work whose engines are plain calls.

    Args:
        id: the row.
        title: what is computed.
        expected: the truth, as a `Close`.
        engines: name -> a call that returns its answer, or None where the rival is not installed; "tailrace"
            first.
        calls: how many calls are timed together, so that a look at the clock is nothing beside them.
        flops: operations of one call, for the share of the roofline.
        nbytes: the least that one call moves, in bytes.
    """
    opened: dict[str, Callable[[], AbstractContextManager[Op]]] = {
        name: partial(_opened, call, calls) for name, call in engines.items() if call is not None
    }
    return Work(id, title, "us", expected, opened, flops=flops, bytes=nbytes)


@contextmanager
def _opened(call: Call, calls: int) -> Iterator[Op]:
    def repeated() -> object:
        for _ in range(calls - 1):
            call()
        return call()

    yield Op(repeated, calls)
