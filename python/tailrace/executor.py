"""`tr.Executor`: a drop-in for `concurrent.futures.ThreadPoolExecutor`."""

from __future__ import annotations

import concurrent.futures
import itertools
import math
import os
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

from tailrace import _hooks, _shutdown
from tailrace._core import ExecutorCore
from tailrace._reports import pick

__all__ = ["Executor", "ExecutorStatistics"]

T = TypeVar("T")

_numbers = itertools.count()
_CANCEL_TIMEOUT_S = 0.2


@dataclass(frozen=True, slots=True)
class ExecutorStatistics:
    """Counters of an executor: tasks ever submitted, tasks queued; threads now, idle, and at most."""

    submitted: int
    queued: int
    threads: int
    idle: int
    peak: int


class Executor(ExecutorCore, concurrent.futures.Executor):
    """Threads of its own, made on demand, first in first out, each task in its submitter's context.

    Unlike a `Runtime` its waiting callers never run its tasks: `max_workers` is the limit, as with
    `ThreadPoolExecutor`. Futures raise the original exception.

    Args:
        max_workers: Most threads; default min(32, CPUs + 4), as in the standard library.
        thread_name_prefix: Start of the thread names.
        initializer: Called with `initargs` at the start of each thread.
        initargs: Arguments for `initializer`.

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
    ) -> None:
        if max_workers is None:
            max_workers = min(32, (os.cpu_count() or 1) + 4)
        if isinstance(max_workers, bool) or not isinstance(max_workers, int):
            raise TypeError(f"max_workers must be an int greater than 0, got {max_workers!r}")
        if max_workers <= 0:
            raise ValueError(f"max_workers must be greater than 0, got {max_workers}")
        if initializer is not None and not callable(initializer):
            raise TypeError(f"initializer must be a callable, got {initializer!r}")
        name = thread_name_prefix or f"tailrace.Executor-{next(_numbers)}"
        super().__init__(
            name, max_workers, partial(_begin_thread, name, itertools.count(), initializer, initargs)
        )
        self._max_workers = max_workers
        _shutdown.remember(self)

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

        Args:
            wait: False returns at once; what is queued still runs.
            cancel_futures: True cancels what has not begun.
        """
        self.shutdown_raw(cancel_futures, -1.0 if wait else 0.0)
        if wait:
            _shutdown.forget(self)

    def close(self, timeout_s: float = 1.5) -> bool:
        """Shut down within `timeout_s` seconds; what has not begun by then is cancelled."""
        ended = self.shutdown_raw(False, max(0.0, timeout_s - _CANCEL_TIMEOUT_S))
        ended = ended or self.shutdown_raw(True, min(timeout_s, _CANCEL_TIMEOUT_S))
        _shutdown.forget(self)
        return ended

    def statistics(self) -> ExecutorStatistics:
        """Return all counters, as one immutable snapshot."""
        raw = self.statistics_raw()
        return pick(ExecutorStatistics, raw)


def _begin_thread(
    prefix: str, numbers: Iterator[int], initializer: Callable[..., object] | None, initargs: tuple[Any, ...]
) -> None:
    # A native thread is unknown to `threading`, whose name for it would say nothing in a log.
    threading.current_thread().name = f"{prefix}_{next(numbers)}"
    if initializer is not None:
        initializer(*initargs)


_hooks.install()
