"""Tests without waiting: a virtual clock, declared costs, exact accounting.

A runtime with a `VirtualClock` has no threads. Its logical workers take turns on the thread that
waits, in an order drawn from the seed; steps run for real in zero virtual time plus their declared
cost, and timers fire as soon as nothing else can run. The same seed gives the same run.
"""

from __future__ import annotations

import asyncio
import math
import selectors
import weakref
from collections.abc import Coroutine
from typing import TYPE_CHECKING, Any, TypeVar

from tailrace._checks import check_seconds
from tailrace.errors import Stalled
from tailrace.step import Step

if TYPE_CHECKING:
    from tailrace.runtime import Runtime

__all__ = ["VirtualClock", "check_accounting", "cost"]

T = TypeVar("T")
AnyStep = TypeVar("AnyStep", bound="Step[..., Any]")


class VirtualClock:
    """The time of one runtime, moved by hand; `tr.Runtime(clock=tr.VirtualClock(seed=7))`.

    Args:
        seed: Draws the order in which logical workers take turns; shown in errors, so that a failing
            test can be replayed.

    >>> import tailrace as tr
    >>> clock = tr.VirtualClock(seed=7)
    >>> rt = tr.Runtime(clock=clock)
    >>> clock.advance(2.5)
    >>> clock
    VirtualClock(seed=7, now_s=2.5)
    >>> rt.close()
    True
    """

    def __init__(self, seed: int = 0) -> None:
        if isinstance(seed, bool) or not isinstance(seed, int):
            raise TypeError(f"VirtualClock: seed must be an int, got {seed!r}")
        if not 0 <= seed < 2**63:
            raise ValueError(f"VirtualClock: seed must be from 0 to 2**63 - 1, got {seed}")
        self.seed = seed
        self._runtime: weakref.ref[Runtime] | None = None
        self._loop: _VirtualLoop | None = None
        self._last_s = 0.0

    @property
    def now_s(self) -> float:
        """Virtual seconds since the runtime was made."""
        runtime = None if self._runtime is None else self._runtime()
        if runtime is not None:
            self._last_s = runtime.virtual_now_s()
        return self._last_s

    @property
    def loop(self) -> asyncio.AbstractEventLoop:
        """The event loop in virtual time, on which the runtime's async steps run."""
        if self._loop is None:
            self._loop = _VirtualLoop(self)
        return self._loop

    def advance(self, seconds: float) -> None:
        """Run all that can run and fire all timers within the next `seconds`."""
        check_seconds("VirtualClock.advance", "seconds", seconds)
        self._drive(self.now_s + seconds)

    def run_until_idle(self) -> None:
        """Run all that can run and fire all timers, until nothing is left."""
        self._drive(math.inf)

    def run(self, main: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine on the virtual loop to its end; inside, `await wf.start(...)` is virtual too.

        Raises:
            Stalled: if it waits for something that never comes.
        """
        task = self.loop.create_task(main)
        self._drive(math.inf)
        if not task.done():
            task.cancel()
            self._drive(math.inf)
            raise Stalled(f"the coroutine {main!r} waits for something that never comes; clock: {self!r}")
        return task.result()

    def attach(self, runtime: Runtime) -> None:
        """Make this the clock of `runtime`; `Runtime` calls it."""
        owner = None if self._runtime is None else self._runtime()
        if owner is not None:
            raise ValueError(
                f"{self!r} is the clock of {owner!r} already; each runtime needs its own: "
                "tr.VirtualClock(seed=...)"
            )
        self._runtime = weakref.ref(runtime)
        runtime.virtual_poll(self._poll)

    def close(self) -> None:
        """End the virtual loop, its tasks cancelled; `Runtime.close` calls it."""
        if self._loop is None or self._loop.is_closed() or self._loop.is_running():
            return
        for task in asyncio.all_tasks(self._loop):
            task.cancel()
        while self._loop.turn() == 0.0:  # until nothing is ready any more
            pass
        self._loop.close()

    def _drive(self, until_s: float) -> None:
        runtime = None if self._runtime is None else self._runtime()
        if runtime is None:
            raise ValueError(f"{self!r} has no runtime; write rt = tr.Runtime(clock=clock) first")
        try:
            runtime.virtual_drive(until_s)
        except BaseException as error:
            error.add_note(f"replay it with {self!r}")
            raise

    def _poll(self, now_s: float) -> float:
        self._last_s = now_s
        return math.inf if self._loop is None else self._loop.turn()

    def __repr__(self) -> str:
        return f"VirtualClock(seed={self.seed}, now_s={self.now_s:g})"


class _VirtualSelector(selectors.DefaultSelector):
    """Never blocks; remembers for how long the loop would have slept, and ends its turn."""

    loop: _VirtualLoop
    idle_s = 0.0

    def select(self, timeout: float | None = None) -> list[Any]:
        events = super().select(0)
        slept_s = math.inf if timeout is None else max(timeout, 0.0)
        self.idle_s = 0.0 if events else slept_s
        self.loop.stop()
        return events


class _VirtualLoop(asyncio.SelectorEventLoop):
    """An asyncio loop whose time is the virtual clock's; turned by the runtime when it has nothing else."""

    def __init__(self, clock: VirtualClock) -> None:
        self._clock = clock
        self._virtual_selector = _VirtualSelector()
        self._virtual_selector.loop = self
        super().__init__(self._virtual_selector)

    def time(self) -> float:
        return self._clock.now_s

    def __del__(self) -> None:
        if not self.is_closed() and not self.is_running():
            self.close()  # silently: it holds nothing but two sockets

    def turn(self) -> float:
        """Run what is ready; return 0.0 if anything was, else seconds until the next timer."""
        if self.is_closed() or self.is_running():
            return math.inf
        # The thread may be inside a real loop, whose task waits for a virtual run.
        outer = asyncio._get_running_loop()
        asyncio._set_running_loop(None)
        try:
            self.run_forever()
        finally:
            asyncio._set_running_loop(outer)
        return self._virtual_selector.idle_s


def cost(step: AnyStep, seconds: float) -> AnyStep:
    """Declare how many virtual seconds each run of `step` takes in a virtual runtime; return the step.

    >>> import tailrace as tr
    >>> double = tr.testing.cost(tr.step(lambda x: 2 * x), 0.5)
    >>> wf = tr.workflow(lambda x: double(double(x)))
    >>> clock = tr.VirtualClock()
    >>> with tr.Runtime(clock=clock) as rt:
    ...     wf.options(runtime=rt)(1), clock.now_s
    (4, 1.0)
    """
    if not isinstance(step, Step):
        raise TypeError(f"cost: needs a step, got {step!r}; decorate the function with @tr.step")
    check_seconds("cost", "seconds", seconds)
    step._core.virtual_cost_s = float(seconds)
    return step


def check_accounting(runtime: Runtime) -> None:
    """Assert that everything ever submitted to `runtime` has exactly one outcome or is in flight."""
    now = runtime.statistics()
    outcomes = now.ok + now.failed + now.cancelled + now.rejected + now.timed_out + now.in_flight
    clock = "" if runtime.clock is None else f"; {runtime.clock!r}"
    assert now.submitted == outcomes, f"submitted {now.submitted}, accounted for {outcomes}: {now}{clock}"
