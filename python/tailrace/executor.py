"""`tr.Executor`: a drop-in for `concurrent.futures.ThreadPoolExecutor`."""

from __future__ import annotations

import itertools
import logging
import math
import os
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

from tailrace import _hooks, _shutdown
from tailrace._checks import check_seconds
from tailrace._core import ExecutorCore
from tailrace._reports import pick
from tailrace._roster import Roster, WorkerThread

__all__ = ["Executor", "ExecutorStatistics"]

T = TypeVar("T")

_log = logging.getLogger("concurrent.futures")
_BROKEN = "A thread initializer failed, the thread pool is not usable anymore"
_CANCEL_TIMEOUT_S = 0.2
_BEGIN_TIMEOUT_S = 0.1
_BEGIN_SLICE_S = 0.0005


@dataclass(frozen=True, slots=True)
class ExecutorStatistics:
    """Counters of an executor: tasks ever submitted, tasks queued; threads now, idle, and at most."""

    submitted: int
    queued: int
    threads: int
    idle: int
    peak: int


class _WorkQueue:
    """What monitoring reads of `ThreadPoolExecutor._work_queue`."""

    def __init__(self, executor: Executor) -> None:
        self._executor = executor

    def qsize(self) -> int:
        return self._executor.statistics().queued

    def empty(self) -> bool:
        return self.qsize() == 0


class Executor(ExecutorCore, ThreadPoolExecutor):
    """Threads of its own, made on demand, first in first out, each task in its submitter's context.

    It is a `ThreadPoolExecutor` wherever one is asked for, but shares none of its code. Unlike a `Runtime`
    its waiting callers never run its tasks: `max_workers` is the limit. Futures raise the original exception.

    At interpreter exit it takes no more tasks and finishes those it has, as the standard one does. It gives
    up when none has ended for `exit_timeout_s` seconds: the rest is cancelled, and a warning says so.

    Args:
        max_workers: Most threads; default min(32, CPUs + 4), as in the standard library. They stay until
            `shutdown`.
        thread_name_prefix: Start of the thread names.
        initializer: Called with `initargs` at the start of each thread. If it raises, the executor is
            broken: what is pending and what is submitted from then on raises `BrokenThreadPool`.
        initargs: Arguments for `initializer`.
        exit_timeout_s: Most seconds without a finished task, at interpreter exit; None waits for ever.

    Raises:
        ValueError: if `max_workers` is below 1.
        TypeError: if `initializer` is not callable.

    >>> import tailrace as tr
    >>> with tr.Executor(max_workers=2) as executor:
    ...     list(executor.map(abs, [-1, -2, 3]))
    [1, 2, 3]
    """

    def __init__(
        self,
        max_workers: int | None = None,
        thread_name_prefix: str = "",
        initializer: Callable[..., object] | None = None,
        initargs: tuple[Any, ...] = (),
        *,
        exit_timeout_s: float | None = 5.0,
    ) -> None:
        if max_workers is None:
            max_workers = min(32, (getattr(os, "process_cpu_count", os.cpu_count)() or 1) + 4)
        if isinstance(max_workers, bool) or not isinstance(max_workers, int):
            raise TypeError(f"max_workers must be an int greater than 0, got {max_workers!r}")
        if max_workers <= 0:
            raise ValueError(f"max_workers must be greater than 0, got {max_workers}")
        if initializer is not None and not callable(initializer):
            raise TypeError(f"initializer must be a callable, got {initializer!r}")
        if exit_timeout_s is not None:
            check_seconds("Executor", "exit_timeout_s", exit_timeout_s)
        number = ThreadPoolExecutor._counter()  # type: ignore[attr-defined]
        self._max_workers = max_workers
        self._thread_name_prefix = thread_name_prefix or f"ThreadPoolExecutor-{number}"
        self._initializer = initializer  # type: ignore[assignment]
        self._initargs = initargs
        self._roster = Roster(self._thread_name_prefix)
        self.exit_timeout_s = exit_timeout_s
        super().__init__(
            thread_name_prefix or f"tailrace-x{number}",  # the system shows 15 characters
            max_workers,
            self._roster.begin,
            None if initializer is None else partial(_initialize, initializer, initargs),
        )
        if not _shutdown.remember_executor(self):
            self.shutdown(wait=False)

    def map(
        self,
        fn: Callable[..., T],
        *iterables: Iterable[Any],
        timeout: float | None = None,
        chunksize: int = 1,
        buffersize: int | None = None,
    ) -> Iterator[T]:
        """Call `fn` with the items of the iterables, on the threads, and iterate over the results in order.

        The iterables are read at once, unless `buffersize` is given. No future is made: a thread runs item
        after item for as long as it has the interpreter. The first exception is raised in its place and
        cancels what has not begun, as does closing or dropping the iterator.

        Args:
            fn: Called with one item of each iterable.
            iterables: Read until the shortest ends.
            timeout: Most seconds from this call to a result that is asked for.
            chunksize: Without effect, as with `ThreadPoolExecutor`.
            buffersize: Most items in flight or waiting to be asked for; further ones are read one by one.

        Raises:
            RuntimeError: after `shutdown`.
            TypeError: if `buffersize` is not an int.
            ValueError: if `buffersize` is below 1.
            TimeoutError: by the iterator, when `timeout` has passed.

        >>> import tailrace as tr
        >>> with tr.Executor(max_workers=2) as executor:
        ...     list(executor.map(pow, [2, 3, 4], [3, 2, 1]))
        [8, 9, 4]
        """
        deadline_s = math.inf if timeout is None else time.monotonic() + timeout
        if buffersize is not None:
            if isinstance(buffersize, bool) or not isinstance(buffersize, int):
                raise TypeError(f"buffersize must be an integer or None, got {buffersize!r}")
            if buffersize < 1:
                raise ValueError(f"buffersize must be None or > 0, got {buffersize}")
        single = len(iterables) == 1
        source: Iterator[Any] = iter(iterables[0]) if single else zip(*iterables)  # noqa: B905
        if buffersize is None:
            return self.map_raw(fn, single, list(source), None, deadline_s)
        return self.map_raw(fn, single, list(itertools.islice(source, buffersize)), source, deadline_s)

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Refuse new tasks; with `wait`, return when all threads have ended.

        Ctrl-C ends the wait, not the tasks.

        Args:
            wait: False returns at once; what is queued still runs.
            cancel_futures: True cancels what has not begun.
        """
        if cancel_futures:
            self._let_threads_begin()
        self.shutdown_raw(cancel_futures, -1.0 if wait else 0.0)
        if wait:
            _shutdown.forget(self)

    def _let_threads_begin(self) -> None:
        # A thread that was made for a task has begun it when the standard executor's submit returns. Native
        # threads first need the GIL, which their maker may have kept until now.
        until_s = time.monotonic() + _BEGIN_TIMEOUT_S
        while any(thread.ident is None for thread in self._threads) and time.monotonic() < until_s:
            time.sleep(_BEGIN_SLICE_S)
        time.sleep(_BEGIN_SLICE_S)

    def close(self, timeout_s: float = 1.5) -> bool:
        """Shut down within `timeout_s` seconds; what has not begun by then is cancelled."""
        ended = self.shutdown_raw(False, max(0.0, timeout_s - _CANCEL_TIMEOUT_S))
        ended = ended or self.shutdown_raw(True, min(timeout_s, _CANCEL_TIMEOUT_S))
        _shutdown.forget(self)
        return ended

    def statistics(self) -> ExecutorStatistics:
        """Return all counters, as one immutable snapshot."""
        return pick(ExecutorStatistics, self.statistics_raw())

    def abandon_raw(self) -> None:
        """Begin anew without touching threads or locks, which a forked child does not have."""
        self._roster.abandon()
        super().abandon_raw()

    # What users of ThreadPoolExecutor read though its name says that they should not.

    @property
    def _threads(self) -> set[WorkerThread]:  # type: ignore[override]
        return self._roster.threads(self.statistics().peak)

    @property
    def _broken(self) -> bool | str:  # type: ignore[override]
        return _BROKEN if self.statistics_raw()["broken"] else False

    @property
    def _shutdown(self) -> bool:  # type: ignore[override]
        return self.closed

    @property
    def _work_queue(self) -> _WorkQueue:  # type: ignore[override]
        return _WorkQueue(self)


def _initialize(initializer: Callable[..., object], initargs: tuple[Any, ...]) -> bool:
    try:
        initializer(*initargs)
    except BaseException:
        _log.critical("Exception in initializer:", exc_info=True)
        return False
    return True


_hooks.install()
