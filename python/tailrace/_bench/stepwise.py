"""The diamond's functions, and `ThreadPoolExecutor` running them step by step."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import Any, NamedTuple

import tailrace as tr


def first(x: int) -> int:
    """Begin the diamond."""
    return x + 1


def middle(x: int) -> int:
    """Stand in the middle, eight times."""
    return x + 1


def last(a: int, b: int, c: int, d: int, e: int, f: int, g: int, h: int) -> int:
    """Join the eight."""
    return a + b + c + d + e + f + g + h


class Steps(NamedTuple):
    """The functions of a diamond: one, then eight of one kind, then one that joins them."""

    first: Callable[[Any], Any] = first
    middle: Callable[[Any], Any] = middle
    last: Callable[..., Any] = last

    def whole(self, x: Any) -> Any:
        """Run the diamond as plain calls.

        >>> Steps().whole(1)
        24
        """
        a = self.first(x)
        return self.last(*[self.middle(a) for _ in range(8)])

    def workflow(self) -> tr.Workflow[[Any], Any]:
        """Return the diamond as a workflow, its functions as steps."""
        steps = Steps(tr.step(self.first), tr.step(self.middle), tr.step(self.last))

        @tr.workflow
        def diamond(x: Any) -> Any:
            return steps.whole(x)

        return diamond


class Diamond:
    """Each step is a task of the pool; done-callbacks count down and start what has become ready."""

    def __init__(self, pool: ThreadPoolExecutor, steps: Steps | None = None) -> None:
        self._pool = pool
        self._steps = steps or Steps()

    def start(self, x: Any) -> Future[Any]:
        """Start one request and return its future."""
        request = _Request()
        self._pool.submit(self._steps.first, x).add_done_callback(partial(self._fan_out, request))
        return request.answer

    def _fan_out(self, request: _Request, begun: Future[Any]) -> None:
        a = begun.result()
        for place in range(8):
            self._pool.submit(self._steps.middle, a).add_done_callback(
                partial(self._count_down, request, place)
            )

    def _count_down(self, request: _Request, place: int, done: Future[Any]) -> None:
        request.values[place] = done.result()
        with request.lock:
            request.waiting -= 1
            if request.waiting:
                return
        self._pool.submit(self._steps.last, *request.values).add_done_callback(partial(_tell, request))


def _tell(request: _Request, done: Future[Any]) -> None:
    request.answer.set_result(done.result())


class _Request:
    __slots__ = ("answer", "lock", "values", "waiting")

    def __init__(self) -> None:
        self.answer: Future[Any] = Future()
        self.lock = threading.Lock()
        self.values: list[Any] = [None] * 8
        self.waiting = 8
