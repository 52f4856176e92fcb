"""A guard over CPython's garbage collector: its pauses are kept out of requests, and measured."""

from __future__ import annotations

import atexit
import gc
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

from tailrace import _shutdown
from tailrace._checks import check_bool, check_count
from tailrace._gc_watch import GCWatch
from tailrace._pauses import GCGenerationStatistics
from tailrace._sizes import format_bytes, parse_bytes

if TYPE_CHECKING:
    from types import TracebackType

__all__ = ["GCGuard", "GCStatistics", "gc_guard"]

_MOST = (1 << 31) - 1  # a C int


@dataclass(frozen=True, slots=True)
class GCStatistics:
    """What the collector has done while the guard was active.

    Attributes:
        active: Whether the guard is in force.
        frozen_objects: Objects that no collection looks at.
        collections: Collections of all generations; `inside_requests` of them while a run or a task of a
            runtime was in flight, the others `while_idle`, with the guard's own beside runs that wait.
        idle_collections: Those that the guard has made while idle; `forced_collections` above `max_garbage`.
        collected: Objects found unreachable, and `uncollectable` ones.
        worst_inside_s: Seconds of the longest pause inside a request; `worst_idle_s` of any other.
        growth_bytes: Resident memory above its least since the last full collection. It is no count of
            garbage, which nobody knows without collecting; what has become garbage is part of it.
        max_garbage_bytes: The growth at which the guard collects all; None for no limit.
        generations: The three generations, each with its histogram of pauses.
    """

    active: bool
    frozen_objects: int
    collections: int
    inside_requests: int
    while_idle: int
    idle_collections: int
    forced_collections: int
    collected: int
    uncollectable: int
    worst_inside_s: float
    worst_idle_s: float
    growth_bytes: int
    max_garbage_bytes: int | None
    generations: tuple[GCGenerationStatistics, ...]


class GCGuard:
    """What `tr.gc_guard` returns: a context manager, or an object to start and to stop.

    There is one collector for the process, so one guard at a time is active.

    >>> import tailrace as tr
    >>> guard = tr.gc_guard(max_garbage="64MiB").start()
    >>> guard.active
    True
    >>> guard.stop()
    >>> guard.active
    False
    """

    def __init__(
        self, freezes: bool, thresholds: tuple[int, int, int], idle_collect: bool, max_garbage: int | None
    ) -> None:
        self._freezes = freezes
        self._thresholds = self._before = thresholds
        self._max_garbage = max_garbage
        self._watch = GCWatch(thresholds, idle_collect, max_garbage)
        self._froze = False

    @property
    def active(self) -> bool:
        """Whether the guard is in force."""
        return _Process.guard is self

    def start(self) -> Self:
        """Collect, freeze what lives, set the thresholds and watch for idleness; return the guard.

        Call it when all is loaded: what lives now is taken for permanent.

        Raises:
            RuntimeError: if a guard is active already.
        """
        with _Process.lock:
            if _Process.guard is not None:
                which = "this guard" if _Process.guard is self else f"another guard, {_Process.guard!r},"
                raise RuntimeError(
                    f"gc_guard: {which} is active already, and there is one collector for the process; "
                    "keep that one, or end it first: guard.stop()"
                )
            _Process.guard = self
        self._before = gc.get_threshold()
        try:
            if self._freezes:
                gc.collect()
                gc.freeze()
                self._froze = True
            self._watch.begin()
            atexit.register(self._watch.end)
        except BaseException:
            self.stop()
            raise
        return self

    def stop(self) -> None:
        """Give the collector back: the thresholds as they were, nothing frozen. Again: nothing."""
        with _Process.lock:
            if _Process.guard is not self:
                return
            self._watch.end()
            atexit.unregister(self._watch.end)
            gc.set_threshold(*self._before)
            if self._froze:
                gc.unfreeze()
                self._froze = False
            _Process.guard = None

    def freeze(self) -> None:
        """Collect all and freeze what lives now, as after one more model is loaded; a pause as long as that.

        Raises:
            RuntimeError: if the guard is not active, or was made with freeze=False.
        """
        if not self.active or not self._freezes:
            raise RuntimeError(
                f"gc_guard: only an active guard that freezes does, this is {self!r}; "
                "write guard = tr.gc_guard(freeze=True).start() first"
            )
        gc.collect()
        gc.freeze()
        self._watch.reset_growth()

    def statistics(self) -> GCStatistics:
        """Return what collections have cost so far, as one immutable snapshot."""
        watch = self._watch
        generations = watch.pauses.generations()
        collections = sum(of.collections for of in generations)
        inside = sum(of.inside_requests for of in generations)
        return GCStatistics(
            active=self.active,
            frozen_objects=gc.get_freeze_count(),
            collections=collections,
            inside_requests=inside,
            while_idle=collections - inside,
            idle_collections=watch.idle_collections,
            forced_collections=watch.forced_collections,
            collected=sum(of.collected for of in generations),
            uncollectable=sum(of.uncollectable for of in generations),
            worst_inside_s=watch.pauses.worst_inside_ns * 1e-9,
            worst_idle_s=watch.pauses.worst_idle_ns * 1e-9,
            growth_bytes=watch.growth_bytes() if self.active else 0,
            max_garbage_bytes=self._max_garbage,
            generations=generations,
        )

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def __repr__(self) -> str:
        limit = None if self._max_garbage is None else format_bytes(self._max_garbage)
        state = "active" if self.active else "not active"
        return (
            f"<GCGuard ({state}, freeze={self._freezes}, thresholds={self._thresholds}, max_garbage={limit})>"
        )


class _Process:
    lock = threading.RLock()  # a finalizer that runs inside may end the guard
    guard: GCGuard | None = None


def gc_guard(
    *,
    freeze: bool = True,
    thresholds: tuple[int, int, int] = (10_000, 10, 1000),
    idle_collect: bool = True,
    max_garbage: int | str | None = "256MiB",
) -> GCGuard:
    """Return a guard that keeps the pauses of CPython's collector out of requests, to be used in a `with`.

    Args:
        freeze: Whether to collect and then freeze what lives at the start, so that no collection walks it.
            At the end all that is frozen is unfrozen; pass False if you freeze by yourself.
        thresholds: CPython's three thresholds meanwhile: net allocations, then collections of the generation
            below. Those from before are set again at the end.
        idle_collect: Whether to collect while no run and no task is in flight, or all of them wait.
        max_garbage: Collect all, also inside a request, when resident memory has grown by so much since the
            last full collection: bytes, a text such as "256MiB", or None for no limit.

    Raises:
        TypeError, ValueError: for an option of the wrong type or range.

    >>> import tailrace as tr
    >>> with tr.gc_guard() as guard:
    ...     guard.statistics().forced_collections
    0
    """
    check_bool("gc_guard", "freeze", freeze)
    check_bool("gc_guard", "idle_collect", idle_collect)
    if not isinstance(thresholds, tuple | list) or len(thresholds) != 3:
        raise TypeError(
            f"gc_guard: thresholds must be three ints, got {thresholds!r}; "
            "write gc_guard(thresholds=(10_000, 10, 1000))"
        )
    for threshold in thresholds:
        check_count("gc_guard", "each of thresholds", threshold, most=_MOST)
    limit = None if max_garbage is None else parse_bytes("gc_guard", "max_garbage", max_garbage)
    young, middle, old = thresholds
    return GCGuard(freeze, (young, middle, old), idle_collect, limit)


def _after_fork() -> None:
    _Process.lock = threading.RLock()
    if _Process.guard is not None:
        _Process.guard._watch.begin_in_child()


_shutdown.on_fork(_after_fork)
