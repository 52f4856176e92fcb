"""GC: the longest pause of CPython's collector while requests run beside a million live containers.

A request makes some two thousand containers in cycles and drops them; six hundred others it keeps, as a cache
or a session does. All engines run the same workflow; what differs is what is done to the collector. One
observer times every collection, whoever has asked for it.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from typing import Any

import tailrace as tr
from tailrace._bench.timing import Op, Work

_LIVE = 1_000_000
_REQUESTS = 600
_NODES = 700
_KEPT = 300


def works() -> list[Work]:
    """Return GC."""
    engines: dict[str, Callable[[], AbstractContextManager[Op]]] = {
        "tailrace": partial(_opened, _guarded),
        "CPython's defaults": partial(_opened, _as_it_is),
        "gc.freeze alone": partial(_opened, _frozen),
    }
    title = "worst pause of the collector in 600 requests beside 1 M live containers"
    return [Work("GC", title, "ms", _REQUESTS * _NODES, engines)]


class _Node:
    __slots__ = ("children", "parent", "value")

    def __init__(self, parent: _Node | None) -> None:
        self.parent = parent
        self.value = [parent]
        self.children: list[_Node] = []
        if parent is not None:
            parent.children.append(self)


_kept: list[dict[str, list[int]]] = []


@tr.step
def _answer(nodes: int) -> int:
    root = _Node(None)
    for _ in range(nodes - 1):
        _Node(root)
    _kept.extend({"k": [i]} for i in range(_KEPT))
    return 1 + len(root.children)


@tr.workflow
def _request(nodes: int) -> int:
    return _answer(nodes)


class _Worst:
    """The longest collection since the last `clear`."""

    def __init__(self) -> None:
        self.worst_s = 0.0
        self._began_s = 0.0

    def __call__(self, phase: str, info: dict[str, Any]) -> None:
        if phase == "start":
            self._began_s = time.perf_counter()
        else:
            self.worst_s = max(self.worst_s, time.perf_counter() - self._began_s)


class _Live:
    """The containers, one set for all engines that are open."""

    users = 0
    containers: list[dict[str, list[int]]]

    @classmethod
    @contextmanager
    def held(cls) -> Iterator[None]:
        if cls.users == 0:
            cls.containers = [{"k": [i]} for i in range(_LIVE // 2)]
        cls.users += 1
        try:
            yield
        finally:
            cls.users -= 1
            if cls.users == 0:
                cls.containers.clear()


@contextmanager
def _as_it_is() -> Iterator[None]:
    gc.collect()
    yield


@contextmanager
def _frozen() -> Iterator[None]:
    gc.collect()
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()


@contextmanager
def _guarded() -> Iterator[None]:
    with tr.gc_guard():
        yield


@contextmanager
def _opened(prepared: Callable[[], AbstractContextManager[None]]) -> Iterator[Op]:
    observer = _Worst()
    with _Live.held(), tr.Runtime(workers=1) as rt:
        ask = _request.options(runtime=rt)

        def call() -> int:
            with prepared():
                observer.worst_s = 0.0
                gc.callbacks.append(observer)
                total = 0
                for _ in range(_REQUESTS):
                    total += ask(_NODES)
                gc.callbacks.remove(observer)
            _kept.clear()
            return total

        yield Op(call, measured_s=lambda: observer.worst_s)
