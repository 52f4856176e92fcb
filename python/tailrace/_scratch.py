"""Which pool `tr.scratch` takes its arrays from: the runtime's own, or that of the process."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, cast

from tailrace._core import adopt_pool, scratch

if TYPE_CHECKING:
    from tailrace._core import RuntimeCore
    from tailrace.memory import MemoryPool

__all__ = ["scratch"]

_LIMIT = "1GiB"
_made: dict[str, MemoryPool] = {}


def pool_of(runtime: RuntimeCore | None) -> MemoryPool:
    """Return the runtime's pool, made at its first use; with None, that of the one a call here would use.

    That one may be the process default, which is not made for this: it would bound the threads of BLAS.
    The core calls this.
    """
    runtimes = sys.modules.get("tailrace.runtime")
    default = None if runtimes is None else runtimes._Default.runtime
    if runtime is None:
        runtime = default if runtimes is None else runtimes._entered_get() or default
    if runtime is None:
        return default_pool()
    own = adopt_pool(runtime, None)
    if own is None:
        own = adopt_pool(runtime, default_pool() if runtime is default else _make())
    return cast("MemoryPool", own)


def default_pool() -> MemoryPool:
    """Return the pool of the default runtime, and of steps that are called where there is no runtime."""
    pool = _made.get("default")
    # Of two threads that come at once, one throws its pool away: cheap, and no lock is left held by a fork.
    return pool if pool is not None else _made.setdefault("default", _make())


def _make() -> MemoryPool:
    from tailrace.memory import MemoryPool

    return MemoryPool(limit=_LIMIT)
