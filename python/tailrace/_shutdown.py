"""The end of a process, and its doubling: close what lives at exit, disown what was inherited by a fork.

One `atexit` registration and one fork hook serve all runtimes and executors. At exit everything
pending is cancelled and running steps get a bounded time, so leaving never hangs.
"""

from __future__ import annotations

import atexit
import os
import time
import weakref
from collections.abc import Callable
from typing import ClassVar, Protocol

__all__ = ["forget", "is_exiting", "on_fork", "remember"]

EXIT_TIMEOUT_S = 1.2


class Closable(Protocol):
    """A runtime or an executor."""

    def close(self, timeout_s: float = ...) -> bool:
        """Refuse new work, cancel what is pending, wait at most `timeout_s` seconds."""

    def abandon_raw(self) -> None:
        """Count as closed without touching threads or locks, which a forked child does not have."""


class _Process:
    live: ClassVar[weakref.WeakSet[Closable]] = weakref.WeakSet()
    forked: tuple[Closable, ...] = ()
    fork_hooks: tuple[Callable[[], None], ...] = ()
    exiting = False


def remember(thing: Closable) -> None:
    """Close `thing` at exit, if it still lives then."""
    _Process.live.add(thing)


def forget(thing: Closable) -> None:
    """Stop remembering `thing`; it is closed."""
    _Process.live.discard(thing)


def is_exiting() -> bool:
    """Tell whether the interpreter is ending, so that nothing new may start."""
    return _Process.exiting


def live() -> list[Closable]:
    """Return what is open now."""
    while True:
        try:
            return list(_Process.live)
        except RuntimeError:  # another thread has changed it meanwhile
            continue


def on_fork(hook: Callable[[], None]) -> None:
    """Call `hook` in the child after every fork."""
    _Process.fork_hooks += (hook,)


def _close_all() -> None:
    _Process.exiting = True
    deadline_s = time.monotonic() + EXIT_TIMEOUT_S
    for thing in live():
        thing.close(max(0.0, deadline_s - time.monotonic()))


def _in_child() -> None:
    # Kept for ever: freeing a runtime whose threads do not exist here would wait for them.
    _Process.forked += tuple(live())
    _Process.live = weakref.WeakSet()
    for thing in _Process.forked:
        thing.abandon_raw()
    for hook in _Process.fork_hooks:
        hook()


atexit.register(_close_all)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_in_child)
