"""`@tr.step`: a function that a workflow can schedule, and that stays a plain function elsewhere."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from types import MethodType
from typing import Any, Generic, Literal, ParamSpec, Protocol, TypeVar, cast, overload

from tailrace import _core, _trace
from tailrace._checks import check_choice

__all__ = ["Step", "StepStatistics", "step"]

P = ParamSpec("P")
R = TypeVar("R")
R_co = TypeVar("R_co", covariant=True)

GilUse = Literal["auto", "holds", "releases"]

_GIL = {"auto": 0, "holds": 1, "releases": 2}  # as in cpp/bindings/cost.hpp
_PLACES = {None: 0, True: 1, False: 2}  # as in cpp/bindings/step.hpp
_KINDS = {_core.SYNC: "sync", _core.ASYNC: "async", _core.BLOCKING: "blocking"}


@dataclass(frozen=True, slots=True)
class StepStatistics:
    """What has been learnt about a step, over all workflows and runtimes.

    Attributes:
        calls: Attempts that ran inside workflows.
        failures: Attempts that raised.
        mean_s: Mean duration, in seconds; so are the percentiles and the maximum.
        queue_p50_s: Seconds from ready to begun, by half of the attempts; with 99th percentile and maximum.
            Under 1 µs counts as none. 0 for async steps, whose queue is the event loop's own.
        gil: "holds", "releases" or "unknown": what was said of the step, else what was learnt.
        gil_released: The learnt share of the duration that it spends outside the GIL, in stretches of 20 µs
            or more; None while unknown.
    """

    calls: int
    failures: int
    mean_s: float
    p50_s: float
    p99_s: float
    max_s: float
    queue_p50_s: float
    queue_p99_s: float
    queue_max_s: float
    gil: Literal["holds", "releases", "unknown"]
    gil_released: float | None


class Step(Generic[P, R_co]):
    """A function under the eye of the scheduler; made by `@tr.step`.

    Called inside a workflow it becomes a node of the graph; called anywhere else it runs its bare body.

    Attributes:
        name: The function's name, as errors, history and pictures show it.
        kind: "sync", "async" or "blocking".
        fn: The function itself.
    """

    def __init__(
        self,
        fn: Callable[P, R_co],
        *,
        blocking: bool = False,
        gil: GilUse = "auto",
        inline: bool | None = None,
    ) -> None:
        _check_function(fn, blocking)
        functools.update_wrapper(self, fn)
        self.fn = fn
        self.name: str = getattr(fn, "__name__", None) or type(fn).__name__
        is_async = _is_async(fn)
        if is_async and blocking:
            raise TypeError(
                f"step {self.name!r}: an async step never blocks a worker, so blocking=True has no meaning; "
                "write @tr.step for `async def`, @tr.step(blocking=True) for a `def` that waits"
            )
        if is_async or blocking:
            _refuse_placement(self.name, "async" if is_async else "blocking", gil, inline)
        kind = _core.ASYNC if is_async else _core.BLOCKING if blocking else _core.SYNC
        self.kind = _KINDS[kind]
        self._core = _core.Step(fn, self.name, kind, _GIL[gil], _PLACES[inline])
        self._signature = signature_of(fn)

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R_co:
        """Inside a workflow, add a node and return its placeholder; elsewhere, call the function."""
        trace = _trace.state.trace
        if trace is None:
            return self.fn(*args, **kwargs)
        trace.check_call(self.name, self._signature, args, kwargs)
        return cast(R_co, trace.add(self._core, self.name, args, kwargs))

    def __get__(self, owner: object, kind: type | None = None) -> Any:
        """Bind a step written in a class body to its instance, as a function is."""
        return self if owner is None else MethodType(self, owner)

    def statistics(self) -> StepStatistics:
        """Return calls, failures and durations in seconds, as one immutable snapshot."""
        raw = self._core.statistics()
        return StepStatistics(**{key: raw[key] for key in StepStatistics.__slots__})

    def __repr__(self) -> str:
        return f"<step {self.name!r} ({self.kind})>"


class _StepDecorator(Protocol):
    @overload
    def __call__(self, fn: Callable[P, Coroutine[Any, Any, Any]], /) -> Step[P, Any]: ...
    @overload
    def __call__(self, fn: Callable[P, R], /) -> Step[P, R]: ...


@overload
def step(fn: Callable[P, Coroutine[Any, Any, Any]], /) -> Step[P, Any]: ...
@overload
def step(fn: Callable[P, R], /) -> Step[P, R]: ...
@overload
def step(*, blocking: bool = False, gil: GilUse = "auto", inline: bool | None = None) -> _StepDecorator: ...
def step(
    fn: Any = None, /, *, blocking: bool = False, gil: GilUse = "auto", inline: bool | None = None
) -> Any:
    """Make a function a step.

    Args:
        fn: A function, sync or async; any callable with a name will do.
        blocking: True for a sync function that waits (files, sockets, locks): it runs on a thread of
            the elastic blocking lane and takes no worker.
        gil: Whether the body lets go of the GIL for long, so that other Python steps can run beside it:
            "releases" (big NumPy operations, hashes, compression), "holds" (pure Python), or "auto": it
            is learnt, see `Step.statistics().gil`.
        inline: True: runs on whichever thread has it at hand, also one that waits or an event loop's;
            nobody is woken for it. False: runs on a worker, never on a thread that waits. None: by cost.

    Raises:
        TypeError: if `fn` is not callable, is a step or workflow already, or is async and blocking; if
            `gil` or `inline` is of the wrong type, or given for a step that is async or blocking.
        ValueError: if `gil` is another word.

    >>> import tailrace as tr
    >>> @tr.step
    ... def double(x: int) -> int:
    ...     return 2 * x
    >>> double(21)
    42
    """
    if not isinstance(blocking, bool):
        raise TypeError(f"@tr.step: blocking must be True or False, got {blocking!r}")
    check_choice("@tr.step", "gil", gil, tuple(_GIL))
    if inline is not None and not isinstance(inline, bool):
        raise TypeError(
            f"@tr.step: inline must be True (where it becomes ready), False (on a worker) or None (by cost), "
            f"got {inline!r}"
        )
    made = functools.partial(Step, blocking=blocking, gil=gil, inline=inline)
    return made if fn is None else made(fn)


def _check_function(fn: object, blocking: bool) -> None:
    if isinstance(fn, Step):
        raise TypeError(f"{fn!r} is a step already; decorate it once")
    if getattr(fn, "_is_tailrace_workflow", False):
        raise TypeError(f"{fn!r} is a workflow; call it inside another workflow as it is, without tr.step")
    if not callable(fn):
        raise TypeError(
            f"tr.step needs a function, got {type(fn).__name__} {fn!r}; write @tr.step above a `def`, "
            "or @tr.step(blocking=True)"
        )


def _refuse_placement(name: str, kind: str, gil: str, inline: bool | None) -> None:
    given = f"gil={gil!r}" if gil != "auto" else f"inline={inline!r}"
    if gil == "auto" and inline is None:
        return
    where = "an event loop" if kind == "async" else "a thread of the blocking lane"
    raise TypeError(
        f"step {name!r}: {given} is for steps that workers run; {kind} steps run on {where} and let others "
        f"run anyway: leave it out"
    )


def signature_of(fn: Callable[..., object]) -> inspect.Signature | None:
    """Return the signature of `fn`, or None where it has none, as some builtins; their call checks itself."""
    try:
        return inspect.signature(fn)
    except (ValueError, TypeError):
        return None


def _is_async(fn: Callable[..., object]) -> bool:
    return inspect.iscoroutinefunction(fn) or inspect.iscoroutinefunction(getattr(fn, "__call__", None))  # noqa: B004
