"""Native threads as `threading` knows them, an executor's as `ThreadPoolExecutor._threads` shows them."""

from __future__ import annotations

import itertools
import threading

__all__ = ["Roster", "WorkerThread", "forget_this_thread", "name_this_thread"]


class WorkerThread:
    """A native thread, with what a `threading.Thread` has for those who wait for it."""

    __slots__ = ("__weakref__", "_ended", "ident", "name")

    daemon = False

    def __init__(self, name: str) -> None:
        self.name = name
        self.ident: int | None = None
        self._ended = threading.Event()

    def is_alive(self) -> bool:
        """Tell whether the thread has not ended."""
        return not self._ended.is_set()

    def join(self, timeout: float | None = None) -> None:
        """Wait until the thread has ended, `timeout` seconds at most."""
        self._ended.wait(timeout)

    def end(self) -> None:
        """Called by the thread itself, as the last thing that it does."""
        forget_this_thread()
        self._ended.set()

    def __repr__(self) -> str:
        state = "started" if self.is_alive() else "stopped"
        return f"<WorkerThread({self.name}, {state} {self.ident})>"


class Roster:
    """Gives each thread of an executor its number and its name. It knows nothing of the executor."""

    def __init__(self, prefix: str) -> None:
        self._prefix = prefix
        self._numbers = itertools.count()
        self._entries: dict[int, WorkerThread] = {}

    def begin(self) -> WorkerThread:
        """Name the calling thread; return its entry."""
        entry = self._entry(next(self._numbers))
        entry.ident = threading.get_ident()
        name_this_thread(entry.name)
        return entry

    def threads(self, made: int) -> set[WorkerThread]:
        """Return the entries of the first `made` threads, begun or not."""
        return {self._entry(number) for number in range(made)}

    def abandon(self) -> None:
        """Count all as ended: after a fork they are not in this process. The next are numbered from 0."""
        for entry in list(self._entries.values()):
            entry._ended = threading.Event()
            entry._ended.set()
        self._numbers = itertools.count()
        self._entries = {}

    def _entry(self, number: int) -> WorkerThread:
        return self._entries.setdefault(number, WorkerThread(f"{self._prefix}_{number}"))


def name_this_thread(name: str) -> None:
    """Give the calling thread, which `threading` has not made, a name that says something in a log."""
    threading.current_thread().name = name


def forget_this_thread() -> None:
    """Take the calling thread, which ends now, out of `threading`'s list; up to 3.12 it would stay there."""
    thread = threading.current_thread()
    active = getattr(threading, "_active", {})
    if isinstance(thread, threading._DummyThread) and active.get(thread.ident) is thread:
        active.pop(thread.ident, None)
