"""The rivals: `ThreadPoolExecutor` by steps and by whole requests, written as well as we can."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from functools import partial
from typing import Any, Protocol

# Called once per request, on whichever thread ends it: the answer and None, or None and the error.
Done = Callable[[str | None, BaseException | None], object]


class Engine(Protocol):
    """What the demo asks of an engine: start a request, tell when it has ended, go away."""

    name: str

    def start(self, line: str, done: Done) -> None:
        """Start a request and return; `done` is called when it has ended."""

    def close(self) -> None:
        """Drop what is queued, wait for what runs, let the threads go."""


class WholeRequests:
    """Each request is one task of the pool."""

    name = "tpe_whole"

    def __init__(self, answer: Callable[[str], str], workers: int) -> None:
        self._answer = answer
        self._pool = ThreadPoolExecutor(workers, thread_name_prefix=self.name)

    def start(self, line: str, done: Done) -> None:
        """Submit the request as one task."""
        self._pool.submit(self._answer, line).add_done_callback(partial(_tell, done))

    def close(self) -> None:
        """Drop what is queued and wait for the threads."""
        self._pool.shutdown(cancel_futures=True)


def _error_of(future: Future[Any]) -> BaseException | None:
    # Asking a cancelled future for its exception raises.
    return CancelledError() if future.cancelled() else future.exception()


def _tell(done: Done, future: Future[str]) -> None:
    error = _error_of(future)
    if error is None:
        done(future.result(), None)
    else:
        done(None, error)


class _Pending:
    """One request under way: the values so far and how many inputs each join still waits for."""

    __slots__ = ("done", "failed", "lock", "values", "waiting")

    def __init__(self, line: str, done: Done, size: int, waiting: list[int]) -> None:
        self.values: list[Any] = [line, *[None] * size]
        self.waiting = waiting.copy()
        self.lock = threading.Lock()
        self.failed = False
        self.done = done


class StepByStep:
    """Each step is a task of the pool; a done-callback starts the steps that waited for it.

    Args:
        steps: the functions by name, in an order in which they may run; the last one gives the answer.
        graph: what each step needs: names of other steps, or `line`, the request.
        workers: threads of the pool.
    """

    name = "tpe_steps"

    def __init__(
        self, steps: Mapping[str, Callable[..., Any]], graph: Mapping[str, tuple[str, ...]], workers: int
    ) -> None:
        slots = {"line": 0, **{name: place for place, name in enumerate(graph, start=1)}}
        self._bodies = [steps[name] for name in graph]
        self._inputs = [tuple(slots[need] for need in needs) for needs in graph.values()]
        after = _needed_edges(graph)
        self._waiting = [len(needs) for needs in after.values()]
        order = list(graph)
        self._next = [[order.index(b) for b in order if a in after[b]] for a in order]
        self._pool = ThreadPoolExecutor(workers, thread_name_prefix=self.name)

    def start(self, line: str, done: Done) -> None:
        """Submit the first step; the rest follows by itself."""
        request = _Pending(line, done, len(self._bodies), self._waiting)
        for node, count in enumerate(self._waiting):
            if count == 0:
                self._submit(request, node)

    def _submit(self, request: _Pending, node: int) -> None:
        values = request.values
        try:
            future = self._pool.submit(self._bodies[node], *[values[slot] for slot in self._inputs[node]])
        except RuntimeError as error:  # the pool is shut down
            self._fail(request, error)
            return
        future.add_done_callback(partial(self._finished, request, node))

    def _finished(self, request: _Pending, node: int, future: Future[Any]) -> None:
        error = _error_of(future)
        if error is not None:
            self._fail(request, error)
            return
        request.values[node + 1] = future.result()
        if node == len(self._bodies) - 1:
            request.done(request.values[-1], None)
        for following in self._next[node]:
            # Only a join needs the lock: a step with one predecessor has nobody to race with.
            if self._waiting[following] > 1:
                with request.lock:
                    request.waiting[following] -= 1
                    if request.waiting[following]:
                        continue
            self._submit(request, following)

    @staticmethod
    def _fail(request: _Pending, error: BaseException) -> None:
        with request.lock:
            first, request.failed = not request.failed, True
        if first:
            request.done(None, error)

    def close(self) -> None:
        """Drop what is queued and wait for the threads."""
        self._pool.shutdown(cancel_futures=True)


def _needed_edges(graph: Mapping[str, tuple[str, ...]]) -> dict[str, set[str]]:
    """Return each step's direct predecessors, without those that another predecessor implies."""
    before: dict[str, set[str]] = {"line": set()}
    needed: dict[str, set[str]] = {}
    for name, needs in graph.items():
        steps = set(needs) - {"line"}
        implied = {earlier for need in steps for earlier in before[need]}
        needed[name] = steps - implied
        before[name] = steps | implied
    return needed
