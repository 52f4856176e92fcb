"""The diamond's functions, and `ThreadPoolExecutor` running them step by step."""

from __future__ import annotations

import threading
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial


def first(x: int) -> int:
    """Begin the diamond."""
    return x + 1


def middle(x: int) -> int:
    """Stand in the middle, eight times."""
    return x + 1


def last(a: int, b: int, c: int, d: int, e: int, f: int, g: int, h: int) -> int:
    """Join the eight."""
    return a + b + c + d + e + f + g + h


def whole(x: int) -> int:
    """Run the diamond as plain calls.

    >>> whole(1)
    24
    """
    a = first(x)
    return last(*[middle(a) for _ in range(8)])


class Diamond:
    """Each step is a task of the pool; done-callbacks count down and start what has become ready."""

    def __init__(self, pool: ThreadPoolExecutor) -> None:
        self._pool = pool

    def start(self, x: int) -> Future[int]:
        """Start one request and return its future."""
        request = _Request()
        self._pool.submit(first, x).add_done_callback(partial(self._fan_out, request))
        return request.answer

    def _fan_out(self, request: _Request, begun: Future[int]) -> None:
        a = begun.result()
        for place in range(8):
            self._pool.submit(middle, a).add_done_callback(partial(self._count_down, request, place))

    def _count_down(self, request: _Request, place: int, done: Future[int]) -> None:
        request.values[place] = done.result()
        with request.lock:
            request.waiting -= 1
            if request.waiting:
                return
        self._pool.submit(last, *request.values).add_done_callback(partial(_tell, request))


def _tell(request: _Request, done: Future[int]) -> None:
    request.answer.set_result(done.result())


class _Request:
    __slots__ = ("answer", "lock", "values", "waiting")

    def __init__(self) -> None:
        self.answer: Future[int] = Future()
        self.lock = threading.Lock()
        self.values = [0] * 8
        self.waiting = 8
