"""`@tr.step`: a function that a workflow can schedule, and that stays a plain function elsewhere."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from types import MethodType
from typing import Any, Generic, ParamSpec, Protocol, TypeVar, cast, overload

from tailrace import _core, _trace

__all__ = ["Step", "StepStatistics", "step"]

P = ParamSpec("P")
R = TypeVar("R")
R_co = TypeVar("R_co", covariant=True)

_KINDS = {_core.SYNC: "sync", _core.ASYNC: "async", _core.BLOCKING: "blocking"}


@dataclass(frozen=True, slots=True)
class StepStatistics:
    """What has been learnt about a step, over all workflows and runtimes.

    Attributes:
        calls: Attempts that ran inside workflows.
        failures: Attempts that raised.
        mean_s: Mean duration, in seconds; so are the percentiles and the maximum.
    """

    calls: int
    failures: int
    mean_s: float
    p50_s: float
    p99_s: float
    max_s: float


class Step(Generic[P, R_co]):
    """A function under the eye of the scheduler; made by `@tr.step`.

    Called inside a workflow it becomes a node of the graph; called anywhere else it runs its bare body.

    Attributes:
        name: The function's name, as errors, history and pictures show it.
        kind: "sync", "async" or "blocking".
        fn: The function itself.
    """

    def __init__(self, fn: Callable[P, R_co], *, blocking: bool = False) -> None:
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
        kind = _core.ASYNC if is_async else _core.BLOCKING if blocking else _core.SYNC
        self.kind = _KINDS[kind]
        self._core = _core.Step(fn, self.name, kind)
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
def step(*, blocking: bool = False) -> _StepDecorator: ...
def step(fn: Any = None, /, *, blocking: bool = False) -> Any:
    """Make a function a step.

    Args:
        fn: A function, sync or async; any callable with a name will do.
        blocking: True for a sync function that waits (files, sockets, locks): it runs on a thread of
            the elastic blocking lane and takes no worker.

    Raises:
        TypeError: if `fn` is not callable, is a step or workflow already, or is async and blocking.

    >>> import tailrace as tr
    >>> @tr.step
    ... def double(x: int) -> int:
    ...     return 2 * x
    >>> double(21)
    42
    """
    if not isinstance(blocking, bool):
        raise TypeError(f"@tr.step: blocking must be True or False, got {blocking!r}")
    if fn is None:
        return functools.partial(Step, blocking=blocking)
    return Step(fn, blocking=blocking)


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


def signature_of(fn: Callable[..., object]) -> inspect.Signature | None:
    """Return the signature of `fn`, or None where it has none, as some builtins; their call checks itself."""
    try:
        return inspect.signature(fn)
    except (ValueError, TypeError):
        return None


def _is_async(fn: Callable[..., object]) -> bool:
    return inspect.iscoroutinefunction(fn) or inspect.iscoroutinefunction(getattr(fn, "__call__", None))  # noqa: B004
