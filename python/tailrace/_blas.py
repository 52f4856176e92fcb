"""BLAS beside workers: as many threads of both kinds as there are CPUs, not as many as their product.

A BLAS starts a thread for each CPU. Two workers that multiply matrices on two CPUs then have four threads at
work, which take turns, spin and wait for each other. While a runtime is open, and if `threadpoolctl` is
installed, BLAS calls use CPUs / workers threads each: in the whole process, as no BLAS knows another way.
"""

from __future__ import annotations

import os
import sys
import weakref
from importlib import import_module, util
from typing import Any, ClassVar, Protocol

from tailrace import _cpus

__all__ = ["VARIABLE", "limit", "release"]

VARIABLE = "TAILRACE_BLAS_THREADS"


class Sized(Protocol):
    """A runtime."""

    @property
    def workers(self) -> int:
        """How many workers it has."""


class _Process:
    runtimes: ClassVar[weakref.WeakSet[Sized]] = weakref.WeakSet()
    limits: Any = None  # threadpoolctl's own, while a limit holds
    threads = 0


def limit(runtime: Sized | None = None) -> None:
    """Limit BLAS while `runtime` is open, or after a plan was made: NumPy may have been imported since.

    Raises:
        ValueError: if TAILRACE_BLAS_THREADS is set to something else than "off" or a number from 1 up.
    """
    if runtime is not None:
        _Process.runtimes.add(runtime)
    if "numpy" not in sys.modules or not _Process.runtimes:
        return
    threads = _wanted()
    if threads is None or 0 < _Process.threads <= threads or util.find_spec("threadpoolctl") is None:
        return
    if _Process.limits is not None:
        _Process.limits.restore_original_limits()
    _Process.limits = import_module("threadpoolctl").threadpool_limits(limits=threads, user_api="blas")
    _Process.threads = threads


def release(runtime: Sized) -> None:
    """`runtime` is closed: give BLAS its threads back, if it was the last."""
    _Process.runtimes.discard(runtime)
    if _Process.runtimes or _Process.limits is None:
        return
    _Process.limits.restore_original_limits()
    _Process.limits, _Process.threads = None, 0


def _wanted() -> int | None:
    # None: as many as BLAS wants.
    text = os.environ.get(VARIABLE, "").strip().lower()
    if text == "off":
        return None
    if text:
        if not text.isdecimal() or int(text) < 1:
            raise ValueError(f'{VARIABLE} must be "off" or a whole number from 1 up, got {text!r}')
        return int(text)
    workers = max(runtime.workers for runtime in _Process.runtimes)
    return None if workers == 1 else max(1, _cpus.available_cpus() // workers)
