"""What a runtime tells about itself: frozen snapshots of its raw counters."""

from __future__ import annotations

import sys
import traceback
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, TypeVar

from tailrace._core import adopt_pool

if TYPE_CHECKING:
    from tailrace._pool_reports import PoolStatistics
    from tailrace.runtime import Runtime

__all__ = [
    "BlockingStatistics",
    "Health",
    "LaneDepths",
    "RuntimeStatistics",
    "StuckWorker",
    "WorkerStatistics",
]

T = TypeVar("T")

_STUCK_S = 1.0
_NEARLY_FULL = 0.9


@dataclass(frozen=True, slots=True)
class WorkerStatistics:
    """Counters of one worker thread.

    Attributes:
        items: Pieces of work that it has run; `injected` of them came as closures from outside.
        steals: Items that it took from another worker; `steal_attempts` counts the deques looked at for that.
        parks: How often it went to sleep, and `wakes` how often it came back.
        spins: How often it looked for work before it slept; `spins_paid` is how often it found some.
        gate_entries: How often it took the GIL to drain the gated lane.
        busy_s: Seconds in which it had work, waits for the GIL left out.
    """

    name: str
    items: int
    injected: int
    steals: int
    steal_attempts: int
    parks: int
    spins: int
    spins_paid: int
    wakes: int
    gate_entries: int
    busy_s: float


@dataclass(frozen=True, slots=True)
class LaneDepths:
    """Items that wait: `open` by priority (high, normal, low), `injection` closures, `deques` of workers."""

    gated: int
    open: tuple[int, int, int]
    affine: int
    injection: int
    deques: int


@dataclass(frozen=True, slots=True)
class BlockingStatistics:
    """Threads of the blocking lane: all, idle, work that waits for one, and the most there ever were."""

    threads: int
    idle: int
    queued: int
    peak: int


@dataclass(frozen=True, slots=True)
class RuntimeStatistics:
    """Counters of a runtime: submitted = ok + failed + cancelled + rejected + timed_out + in_flight.

    Attributes:
        submitted: Root runs and tasks ever given to it; the six that follow are what became of them.
        late: Results that came after their run had ended, and were dropped.
        queued: Runs that wait for a worker.
        workers: One entry per worker that there ever was.
        threads: Worker threads now, with the `spares`: retired ones that wait to be called up.
        blocked: Workers inside a body that waits, or that has passed its run's deadline; each is replaced.
        searching: Workers that look for work; `sleeping` ones are parked.
        timers_armed: How often a deadline or delay was armed so far.
        lanes: What waits in each lane.
        blocking: The blocking lane.
        memory: The pool of `tr.scratch`, once there is one.
    """

    submitted: int
    ok: int
    failed: int
    cancelled: int
    rejected: int
    timed_out: int
    in_flight: int
    late: int
    queued: int
    profile: str
    workers: tuple[WorkerStatistics, ...]
    threads: int
    spares: int
    blocked: int
    searching: int
    sleeping: int
    timers_armed: int
    lanes: LaneDepths
    blocking: BlockingStatistics
    memory: PoolStatistics | None


@dataclass(frozen=True, slots=True)
class Health:
    """Attributes: `status` ("ok", "degraded" or "closed") and `reasons`, one sentence each."""

    status: str
    reasons: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class StuckWorker:
    """A worker that has been in one step for `running_s` seconds; `stack` is where it is now."""

    worker: str
    workflow: str
    step: str
    running_s: float
    stack: str


def runtime_statistics(runtime: Runtime) -> RuntimeStatistics:
    """Freeze the raw counters of a runtime."""
    raw = runtime.statistics_raw()
    workers = tuple(pick(WorkerStatistics, worker) for worker in raw["workers"])
    blocking = pick(BlockingStatistics, raw["blocking"])
    lanes = pick(LaneDepths, raw["lanes"])
    parts = {"workers": workers, "lanes": lanes, "blocking": blocking, "memory": _memory_of(runtime)}
    return pick(RuntimeStatistics, {**raw, **parts})


def _memory_of(runtime: Runtime) -> PoolStatistics | None:
    pool = adopt_pool(runtime, None)
    if pool is None:
        return None
    from tailrace._pool_reports import pool_statistics

    return pool_statistics(pool.statistics_raw())


def health(runtime: Runtime) -> Health:
    """Judge a runtime by what it holds and by how long its steps have been running."""
    if runtime.closed:
        return Health("closed", (f"runtime {runtime.name!r} is closed",))
    now = runtime_statistics(runtime)
    reasons = [
        f"worker {worker!r} has been in step {_name(step)!r} of workflow {workflow!r} for {running_s:.1f} s"
        for worker, _, workflow, step, running_s in runtime.stuck_raw(_STUCK_S)
    ]
    if now.in_flight >= _NEARLY_FULL * runtime.max_pending:
        reasons.append(f"{now.in_flight} runs in flight, max_pending is {runtime.max_pending}")
    if now.blocking.queued and now.blocking.threads >= runtime.max_blocking:
        reasons.append(
            f"{now.blocking.queued} blocking steps wait, all {runtime.max_blocking} threads are busy"
        )
    return Health("degraded" if reasons else "ok", tuple(reasons))


def stuck(runtime: Runtime, after_s: float) -> list[StuckWorker]:
    """Return the workers stuck for longer than `after_s` seconds, each with its Python stack."""
    frames = sys._current_frames()
    return [
        StuckWorker(worker, workflow, _name(step), running_s, _stack(frames.get(ident)))
        for worker, ident, workflow, step, running_s in runtime.stuck_raw(after_s)
    ]


def pick(kind: type[T], raw: dict[str, Any]) -> T:
    """Make a dataclass of those entries of `raw` that it has fields for."""
    return kind(**{entry.name: raw[entry.name] for entry in fields(kind)})  # type: ignore[arg-type]


def _name(step: object) -> str:
    # A submitted task is known by its callable.
    return step if isinstance(step, str) else getattr(step, "__qualname__", None) or repr(step)


def _stack(frame: Any) -> str:
    return "" if frame is None else "".join(traceback.format_stack(frame))
