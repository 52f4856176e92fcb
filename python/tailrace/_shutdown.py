"""The end of a process, and its doubling: close what lives at exit, begin anew what was inherited by a fork.

One `atexit` registration and one fork hook serve all runtimes and executors. At exit a runtime cancels
everything pending and gives running steps a bounded time, so leaving never hangs. Executors come first, where
the standard one does: before `threading` joins its threads, and so before all `atexit` callbacks. They finish
what they were given.
"""

from __future__ import annotations

import atexit
import logging
import os
import threading
import time
import weakref
from collections.abc import Callable
from typing import ClassVar, Protocol, TypeVar

from tailrace._core import after_fork

__all__ = ["executors", "forget", "is_exiting", "on_fork", "remember", "remember_executor"]

T = TypeVar("T")

EXIT_TIMEOUT_S = 1.2
_SLICE_S = 0.05
_log = logging.getLogger("tailrace")


class Closable(Protocol):
    """A runtime or an executor."""

    def close(self, timeout_s: float = ...) -> bool:
        """Refuse new work, cancel what is pending, wait at most `timeout_s` seconds."""

    def abandon_raw(self) -> None:
        """Begin anew without touching threads or locks, which a forked child does not have."""


class Finishing(Closable, Protocol):
    """An executor."""

    exit_timeout_s: float | None

    def shutdown_raw(self, cancel: bool, timeout_s: float, /) -> bool:
        """Refuse new work, wait `timeout_s` seconds; True when all threads have ended."""

    def statistics_raw(self) -> dict[str, int]:
        """Return threads and queue."""


class _Process:
    live: ClassVar[weakref.WeakSet[Closable]] = weakref.WeakSet()
    executors: ClassVar[weakref.WeakSet[Finishing]] = weakref.WeakSet()
    executors_end = False
    fork_hooks: tuple[Callable[[], None], ...] = ()
    exiting = False


def remember(thing: Closable) -> None:
    """Close `thing` at exit, if it still lives then."""
    _Process.live.add(thing)


def remember_executor(executor: Finishing) -> bool:
    """Let `executor` finish its tasks at exit; False if that has passed, so that it must not begin."""
    remember(executor)
    _Process.executors.add(executor)
    return not _Process.executors_end


def forget(thing: Closable) -> None:
    """Stop remembering `thing`; it is closed."""
    _Process.live.discard(thing)
    _Process.executors.discard(thing)  # type: ignore[arg-type]


def is_exiting() -> bool:
    """Tell whether the interpreter is ending, so that nothing new may start."""
    return _Process.exiting


def live() -> list[Closable]:
    """Return what is open now."""
    return _listed(_Process.live)


def executors() -> list[Finishing]:
    """Return the executors that are open now."""
    return _listed(_Process.executors)


def _listed(things: weakref.WeakSet[T]) -> list[T]:
    while True:
        try:
            return list(things)
        except RuntimeError:  # another thread has changed it meanwhile
            continue


def on_fork(hook: Callable[[], None]) -> None:
    """Call `hook` in the child after every fork."""
    _Process.fork_hooks += (hook,)


class _Patience:
    """Waits for one executor for as long as it makes progress."""

    def __init__(self, executor: Finishing) -> None:
        self.executor = executor
        self.seen = (-1, -1)
        self.since_s = time.monotonic()

    def is_over(self) -> bool:
        if self.executor.shutdown_raw(False, 0.0):
            return self.executor.shutdown_raw(False, EXIT_TIMEOUT_S)
        counts = self.executor.statistics_raw()
        now_s, seen = time.monotonic(), (counts["queued"], counts["threads"])
        if seen != self.seen:
            self.seen, self.since_s = seen, now_s
        limit_s = self.executor.exit_timeout_s
        if limit_s is None or now_s - self.since_s < limit_s:
            return False
        self.executor.shutdown_raw(True, 0.0)
        _log.warning(
            "%r: no task has ended for %g s while the interpreter ends; given up: %d running, %d queued. "
            "Call shutdown() first, or make it with exit_timeout_s=None.",
            self.executor,
            limit_s,
            counts["threads"] - counts["idle"],
            counts["queued"],
        )
        return True


def _finish_executors() -> None:
    _Process.executors_end = True
    waiting = [_Patience(executor) for executor in _Process.executors]
    try:
        while waiting := [one for one in waiting if not one.is_over()]:
            waiting[0].executor.shutdown_raw(False, _SLICE_S)
    finally:
        for one in waiting:  # Ctrl-C
            one.executor.shutdown_raw(True, 0.0)
        for executor in list(_Process.executors):
            forget(executor)


def _close_all() -> None:
    _Process.exiting = True
    deadline_s = time.monotonic() + EXIT_TIMEOUT_S
    for thing in live():
        if not thing.close(max(0.0, deadline_s - time.monotonic())):
            _log.warning("%r: left at exit with a body that has not ended: %s", thing, _running(thing))


def _running(thing: Closable) -> str:
    stuck = getattr(thing, "stuck", None)
    rows = [] if stuck is None else stuck(0.0)
    return ", ".join(f"{row.step} of {row.workflow} for {row.running_s:.1f} s" for row in rows) or "unknown"


def _in_child() -> None:
    after_fork()
    for thing in live():
        thing.abandon_raw()
    for hook in _Process.fork_hooks:
        hook()


def _register_before_threads(call: Callable[[], None]) -> None:
    register = getattr(threading, "_register_atexit", None)  # no public name up to 3.14
    try:
        if register is None:
            atexit.register(call)
        else:
            register(call)
    except RuntimeError:  # imported while the interpreter ends
        _Process.executors_end = True


atexit.register(_close_all)
_register_before_threads(_finish_executors)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_in_child)
