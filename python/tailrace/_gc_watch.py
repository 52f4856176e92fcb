"""What a GC guard does while it is active: times collections, paces them, collects while nothing runs."""

from __future__ import annotations

import _thread
import gc
import os
import sys
import threading
import time
from typing import Any

from tailrace import _shutdown
from tailrace._core import bodies_running, in_flight, nudge_idle, wait_idle, work_begun
from tailrace._pauses import Pauses

__all__ = ["GCWatch", "resident_bytes"]

_QUIET_S = 0.002  # nothing in flight, or nothing new and no body at work, for so long is idleness
_TICK_S = 0.25  # between two looks while there is work
_LOOK_NS = 10_000_000  # least time between two looks at memory from inside of collections
_FEW = 100  # containers that are not worth a collection
_IDLE_NS = 5_000_000  # the longest pass that is begun while idle: a request that comes then waits for its end
_PACE_NS = 1_500_000  # survivors of generation 0, as the time to walk them, that are passed on in one go
_JOIN_S = 5.0
_MOST_BYTES = 1 << 62
_PAGE = os.sysconf("SC_PAGE_SIZE")

# Which collector this is: from 3.14.0 to 3.14.4 there are increments instead of generations 1 and 2, and
# on free-threaded builds each pass is one over all.
_FREE_THREADED = "t" in sys.abiflags
_GENERATIONAL = not _FREE_THREADED and not (3, 14, 0) <= sys.version_info[:3] < (3, 14, 5)


class GCWatch:
    """The callback of every collection, and the thread that sleeps until there is nothing to do.

    Args:
        thresholds: The collector's, while this is active.
        idle_collect: Whether to collect while idle.
        most_bytes: Growth of resident memory above which all is collected; None for no limit.
    """

    def __init__(self, thresholds: tuple[int, int, int], idle_collect: bool, most_bytes: int | None) -> None:
        self.pauses = Pauses(thresholds[0])
        self.idle_collections = 0
        self.forced_collections = 0
        self._thresholds = thresholds
        self._idle_collect = idle_collect
        self._most_bytes = most_bytes
        self._least_bytes = 0
        self._began_ns = 0
        self._looked_ns = 0
        self._inside = False
        self._passing = False
        self._is_over = False
        self._hurried = False
        self._turn = 0  # a thread that could not be joined in time must not serve the next start
        self._thread: threading.Thread | None = None
        self._lacks_thread = False

    def begin(self) -> None:
        """Watch from now on."""
        gc.set_threshold(*self._thresholds)
        self._hurried = self._is_over = False
        self._began_ns = 0
        self.reset_growth()
        gc.callbacks.append(self.on_collection)
        if self._needs_thread():
            thread = threading.Thread(
                target=self._serve, args=(self._turn,), name="tailrace-gc-guard", daemon=True
            )
            thread.start()
            self._thread = thread

    def end(self) -> None:
        """Watch no more; again: nothing."""
        if self.on_collection in gc.callbacks:
            gc.callbacks.remove(self.on_collection)
        self._turn += 1
        self._lacks_thread = False
        nudge_idle()
        thread, self._thread = self._thread, None
        if thread is not None and thread is not threading.current_thread():
            thread.join(_JOIN_S)

    def begin_in_child(self) -> None:
        """Go on after a fork: with a thread once the child has something to collect, as many never have."""
        self._turn += 1
        self._thread = None
        self._lacks_thread = self._needs_thread()

    def growth_bytes(self) -> int:
        """Return resident memory above its least since the last full collection."""
        try:
            now_bytes = resident_bytes()
        except OSError:  # no file may be opened
            return 0
        self._least_bytes = min(self._least_bytes, now_bytes)
        return now_bytes - self._least_bytes

    def reset_growth(self) -> None:
        """Count growth from what is resident now."""
        self._least_bytes = _MOST_BYTES
        self.growth_bytes()

    def on_collection(self, phase: str, info: dict[str, Any]) -> None:
        """Time one collection. Called in the middle of anything: it takes no lock and keeps no object."""
        if phase == "start":
            self._inside = not self._passing and in_flight() > 0
            self._began_ns = time.perf_counter_ns()
            return
        now_ns, began_ns = time.perf_counter_ns(), self._began_ns
        if began_ns == 0:  # the guard was started inside of this one
            return
        self._began_ns = 0
        self.pauses.record(
            info["generation"], now_ns - began_ns, info["collected"], info["uncollectable"], self._inside
        )
        if info["generation"] == 2:
            self.reset_growth()
        if _GENERATIONAL:
            self._pace(self.pauses.kept_ns >= _PACE_NS)
        if self._lacks_thread:
            self._lacks_thread = False
            _thread.start_new_thread(self._serve, (self._turn,))
        if self._most_bytes is not None and now_ns - self._looked_ns > _LOOK_NS:
            self._looked_ns = now_ns
            if not self._is_over and self.growth_bytes() > self._most_bytes:
                self._is_over = True
                nudge_idle()  # collecting from inside of a collection does nothing

    # Generation 1 is due after so many collections of generation 0, however much they have left there. Where
    # a heap grows that is 100,000 objects, 10 ms and more: it is made due sooner, for the same work in all.
    def _pace(self, hurry: bool) -> None:
        if hurry == self._hurried:
            return
        self._hurried = hurry
        young, middle, old = self._thresholds
        gc.set_threshold(young, 0 if hurry else middle, old)

    def _needs_thread(self) -> bool:
        return self._idle_collect or self._most_bytes is not None

    def _serve(self, turn: int) -> None:
        seen = work_begun() - 1  # what came before this thread has left something to collect, maybe
        while self._turn == turn:
            idle = wait_idle(seen, _QUIET_S, _TICK_S)
            if self._turn != turn:
                return
            if idle:
                seen = work_begun()
            if self._idle_collect:
                self.collect_idle()
            self.keep_below_cap()

    def collect_idle(self) -> None:
        """Collect what is young, and all where that should be short, if no request can use the time."""
        young, middle, _ = gc.get_count()
        if (young < _FEW and not middle) or not _is_idle():
            return
        if _FREE_THREADED:
            if self.pauses.last_ns <= _IDLE_NS:
                self._pass(2)
            return
        self._pass(1)
        if self.pauses.full_is_due(_IDLE_NS) and _is_idle():
            self._pass(2)

    def _pass(self, generation: int) -> None:
        self.idle_collections += 1
        self._passing = True
        gc.collect(generation)
        self._passing = False

    def keep_below_cap(self) -> None:
        """Collect all if memory has grown above the cap; rather before, at three quarters, while idle."""
        if self._most_bytes is None:
            return
        limit = self._most_bytes if in_flight() else self._most_bytes * 3 // 4
        if self._is_over or self.growth_bytes() > limit:
            self.forced_collections += 1
            gc.collect()
            self._is_over = False


def _is_idle() -> bool:
    # Runs that wait for an answer from elsewhere, as those of agents do for most of their time, can wait for
    # a pass too: then nothing may be at work, and nothing new have come for a moment.
    if in_flight():
        before = work_begun()
        time.sleep(_QUIET_S)
        if work_begun() != before or bodies_running():
            return False
    for executor in _shutdown.executors():
        counts = executor.statistics_raw()
        if counts["queued"] or counts["idle"] < counts["threads"]:
            return False
    return True


def resident_bytes() -> int:
    """Return the resident memory of this process, in bytes."""
    # Opened anew each time: a file that is kept would show the parent in the child of a fork.
    file = os.open("/proc/self/statm", os.O_RDONLY)
    try:
        text = os.read(file, 128)
    finally:
        os.close(file)
    begin = text.index(b" ") + 1
    return int(text[begin : text.index(b" ", begin)]) * _PAGE
