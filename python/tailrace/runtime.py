"""The scheduler as users hold it: made, asked, drained, closed; and which one a call uses."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from contextvars import ContextVar, Token
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self

from tailrace import _blas, _cpus, _hooks, _reports, _shutdown
from tailrace._checks import check_bool, check_choice, check_count, check_seconds
from tailrace._core import PoolCore, RuntimeCore, adopt_pool, current_runtime
from tailrace.errors import RuntimeClosed

if TYPE_CHECKING:
    from types import TracebackType

    from tailrace.memory import MemoryPool
    from tailrace.testing import VirtualClock

__all__ = ["Runtime", "default_runtime"]

_MAX_WORKERS = 256  # as in cpp/include/tailrace/sched/idle.hpp
_PROFILES = ("eco", "balanced", "latency")  # as in cpp/include/tailrace/sched/spin.hpp
_VIRTUAL_WORKERS = 4  # the same everywhere, so that a seed replays on any machine

_entered: ContextVar[RuntimeCore | None] = ContextVar("tailrace.runtime", default=None)
_entered_get = _entered.get


class Runtime(RuntimeCore):
    """Workers, their queues, and the runs they hold.

    Leaving its `with` block drains it; leaving by an exception cancels what is pending. Threads start at
    first use. All methods may be called from any thread.

    Args:
        workers: Worker threads; default min(CPU affinity, cgroup quota), or TAILRACE_WORKERS.
        max_workers: Most worker threads there may be: for `resize`, and for bodies that have passed their
            run's deadline, each of which is replaced until it ends; default 4 * workers, at least 16 more.
        affinity: Where workers run: "none", "cores" (worker i on the i-th CPU the process may use), or CPU
            numbers, used in turn. Pinned workers steal from the nearest NUMA node first.
        max_pending: Runs and tasks held at once; more raise `Overloaded`.
        max_blocking: Most threads of the blocking lane, for steps with `blocking=True`.
        profile: How long a worker looks for work before it sleeps. "eco": not at all. "balanced": 15 µs,
            while that pays. "latency": 0.1 ms, always; what comes within it starts 100 times sooner.
        name: For errors, thread names and statistics.
        clock: A `tr.VirtualClock` for tests; there are no threads then.
        debug: True runs every step and every submitted task on the thread that calls, at once and one after
            the other, in the order of the calls in the workflow: for breakpoints, coverage, tracebacks.
        memory_pool: What `tr.scratch` takes from in its steps and tasks; default one of its own of 1 GiB,
            made at its first use. It stays open when the runtime is closed.

    Raises:
        TypeError, ValueError: for an option of the wrong type or range.

    >>> import tailrace as tr
    >>> with tr.Runtime(workers=2) as rt:
    ...     rt.submit(pow, 2, 10).result()
    1024
    """

    def __init__(
        self,
        *,
        workers: int | None = None,
        max_workers: int | None = None,
        affinity: Literal["none", "cores"] | Sequence[int] = "none",
        max_pending: int = 10_000,
        max_blocking: int = 512,
        profile: Literal["eco", "balanced", "latency"] = "balanced",
        name: str = "tailrace",
        clock: VirtualClock | None = None,
        debug: bool = False,
        memory_pool: MemoryPool | None = None,
    ) -> None:
        if not isinstance(name, str) or not name:
            raise TypeError(f"Runtime: name must be a text that is not empty, got {name!r}")
        check_count("Runtime", "max_pending", max_pending)
        check_count("Runtime", "max_blocking", max_blocking)
        check_choice("Runtime", "profile", profile, _PROFILES)
        seed = None if clock is None else _seed_of(clock)
        _check_debug(debug, clock)
        _check_pool(memory_pool)
        if workers is None:
            workers = default_workers() if clock is None else _VIRTUAL_WORKERS
        check_count("Runtime", "workers", workers, most=_MAX_WORKERS)
        if max_workers is not None:
            check_count("Runtime", "max_workers", max_workers, most=_MAX_WORKERS)
        most = -1 if max_workers is None else max_workers
        super().__init__(
            name, workers, most, _affinity_of(affinity), max_pending, max_blocking, seed, profile, debug
        )
        adopt_pool(self, memory_pool)
        self.max_pending = max_pending
        self.max_blocking = max_blocking
        self.profile = profile
        self.clock = clock
        self._tokens: list[Token[RuntimeCore | None]] = []
        if clock is not None:
            clock.attach(self)
        else:
            _blas.limit(self)
        _shutdown.remember(self)

    @property
    def memory_pool(self) -> MemoryPool:
        """The pool that `tr.scratch` takes from in steps of this runtime, made at its first use.

        >>> import tailrace as tr
        >>> with tr.Runtime(memory_pool=tr.MemoryPool(limit="64MiB")) as rt:
        ...     rt.memory_pool
        <MemoryPool limit=64MiB>
        """
        from tailrace import _scratch

        return _scratch.pool_of(self)

    def statistics(self) -> _reports.RuntimeStatistics:
        """Return all counters, as one immutable snapshot; exact when nothing is in flight."""
        return _reports.runtime_statistics(self)

    def health(self) -> _reports.Health:
        """Return "ok", "degraded" or "closed", with the reasons."""
        return _reports.health(self)

    def stuck(self, after_s: float = 1.0) -> list[_reports.StuckWorker]:
        """Return the workers whose step has been running for more than `after_s` seconds.

        >>> import tailrace as tr
        >>> with tr.Runtime(workers=1) as rt:
        ...     rt.stuck()
        []
        """
        check_seconds("stuck", "after_s", after_s)
        return _reports.stuck(self, after_s)

    def resize(self, workers: int) -> None:
        """Change the number of workers while work goes on.

        New ones start at once; one that is too many finishes what it runs, leaves the rest to the others and
        sleeps until it is called again. May be called from any thread, from a step too.

        Args:
            workers: How many are wanted, 1 to `max_workers`.

        Raises:
            TypeError, ValueError: for a number of the wrong type or range.
            RuntimeClosed: if the runtime is closed.

        >>> import tailrace as tr
        >>> with tr.Runtime(workers=1) as rt:
        ...     rt.resize(4)
        ...     rt.workers
        4
        """
        check_count("resize", "workers", workers, most=self.max_workers)
        if self.closed:
            raise RuntimeClosed(f"runtime {self.name!r} is closed; make a new one: with tr.Runtime() as rt:")
        self.resize_raw(workers)

    def drain(self, timeout_s: float | None = None) -> bool:
        """Wait until nothing is in flight; return False if that takes more than `timeout_s` seconds."""
        if timeout_s is None:
            return self.drain_raw(-1.0)
        check_seconds("drain", "timeout_s", timeout_s)
        return self.drain_raw(timeout_s)

    def close(self, timeout_s: float = 1.5) -> bool:
        """Refuse new work, cancel what is pending and end the threads; a second call does nothing.

        Args:
            timeout_s: Most seconds to wait for steps that are running.

        Returns:
            True if all threads have ended; one that sits in a step is left to finish it.
        """
        check_seconds("close", "timeout_s", timeout_s)
        _forget_default(self)
        ended = self.stop_raw(True, timeout_s)
        _shutdown.forget(self)
        _blas.release(self)
        _stop_loop(self)
        return ended

    def __enter__(self) -> Self:
        if self.closed:
            raise RuntimeClosed(f"runtime {self.name!r} is closed; make a new one: with tr.Runtime() as rt:")
        self._tokens.append(_entered.set(self))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with suppress(ValueError):  # left in another context than entered, as some test fixtures are
            _entered.reset(self._tokens.pop())
        try:
            if kind is None and not self.closed:
                self.drain()
        finally:
            self.close()

    def __repr__(self) -> str:
        state = "closed" if self.closed else f"{self.workers} workers"
        clock = "" if self.clock is None else f", {self.clock!r}"
        debug = ", debug" if self.debug else ""
        return f"<Runtime {self.name!r} ({state}{clock}{debug})>"


class _Default:
    """The process default: made at first use, forgotten when closed or after a fork."""

    lock = threading.Lock()
    runtime: Runtime | None = None


def default_runtime() -> Runtime:
    """Return the runtime of the process, made at first use; closed when the interpreter ends.

    >>> import tailrace as tr
    >>> tr.default_runtime() is tr.default_runtime()
    True
    """
    with _Default.lock:
        if _Default.runtime is None:
            if _shutdown.is_exiting():
                raise RuntimeClosed("the interpreter is ending, so no new runtime can be made")
            _Default.runtime = Runtime(name="default")
        return _Default.runtime


def resolve() -> Runtime:
    """Return the runtime for a call that names none: of the running step, of the `with`, the default."""
    return current_runtime() or _entered_get() or _Default.runtime or default_runtime()  # type: ignore[return-value]


def running_loop() -> Any:
    """Return this thread's running event loop or None, without importing asyncio."""
    events = sys.modules.get("asyncio.events")
    return None if events is None else events._get_running_loop()


def default_workers(environ: Mapping[str, str] = os.environ, root: Path = Path("/")) -> int:
    """Return the number of workers a runtime gets by default.

    Args:
        environ: Where TAILRACE_WORKERS is looked up.
        root: Where the cgroup's quota is looked up.

    Raises:
        ValueError: if TAILRACE_WORKERS is set to something else than a number from 1 up.
    """
    text = environ.get("TAILRACE_WORKERS", "").strip()
    if not text:
        return min(_cpus.available_cpus(root), _MAX_WORKERS)
    if not text.isdecimal() or not 1 <= int(text) <= _MAX_WORKERS:
        raise ValueError(f"TAILRACE_WORKERS must be a whole number from 1 to {_MAX_WORKERS}, got {text!r}")
    return int(text)


def _affinity_of(affinity: object) -> Literal["cores"] | tuple[int, ...] | None:
    if affinity == "none":
        return None
    if affinity == "cores":
        return "cores"
    if isinstance(affinity, Sequence) and not isinstance(affinity, str):
        cpus = tuple(affinity)
        if all(isinstance(cpu, int) and not isinstance(cpu, bool) and 0 <= cpu < 1 << 16 for cpu in cpus):
            return cpus
    raise TypeError(
        f'Runtime: affinity must be "none", "cores" or a sequence of CPU numbers, got {affinity!r}; '
        'write affinity="cores" or affinity=[0, 1]'
    )


def _check_debug(debug: object, clock: object) -> None:
    check_bool("Runtime", "debug", debug)
    if debug and clock is not None:
        raise ValueError(
            "Runtime: debug=True and a clock exclude each other: with a clock all steps run on the calling "
            "thread already; write tr.Runtime(clock=clock) or tr.Runtime(debug=True)"
        )


def _check_pool(pool: object) -> None:
    if pool is not None and not isinstance(pool, PoolCore):
        raise TypeError(
            f"Runtime: memory_pool must be a tr.MemoryPool or None, got {pool!r}; "
            'write tr.Runtime(memory_pool=tr.MemoryPool(limit="1GiB"))'
        )


def _seed_of(clock: object) -> int:
    from tailrace.testing import VirtualClock

    if not isinstance(clock, VirtualClock):
        raise TypeError(
            f"Runtime: clock must be a tr.VirtualClock or None, got {clock!r}; "
            "write tr.Runtime(clock=tr.VirtualClock(seed=0))"
        )
    return clock.seed


def _forget_default(runtime: Runtime) -> None:
    if _Default.runtime is runtime:
        _Default.runtime = None


def _stop_loop(runtime: RuntimeCore) -> None:
    clock = getattr(runtime, "clock", None)
    if clock is not None:
        clock.close()
    aio = sys.modules.get("tailrace.aio")
    if aio is not None:
        aio.stop_own_loop(runtime)


def _after_fork() -> None:
    _Default.lock = threading.Lock()
    _Default.runtime = None


_shutdown.on_fork(_after_fork)
_hooks.install()
