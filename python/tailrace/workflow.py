"""`@tr.workflow`: a function that describes a graph of steps, and the ways to run it."""

from __future__ import annotations

import functools
import inspect
import math
from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Generic, ParamSpec, TypeVar, cast

from tailrace import _core, _picture, _streams, _trace
from tailrace._definition import Definition
from tailrace.errors import WorkflowError
from tailrace.priority import Priority
from tailrace.runtime import Runtime, resolve, running_loop
from tailrace.step import Step, StepStatistics

__all__ = ["Handle", "Workflow", "WorkflowStatistics", "workflow"]

P = ParamSpec("P")
R = TypeVar("R")

_NO_DEADLINE = -1.0
_WARM_RUNS = 16


@dataclass(frozen=True, slots=True)
class WorkflowStatistics:
    """What is known about a workflow.

    Attributes:
        workflow: Its name.
        nodes: Nodes of its plan, 0 until it is compiled; gathering nodes are counted too.
        steps: What has been learnt about each of its steps, by label.
    """

    workflow: str
    nodes: int
    steps: dict[str, StepStatistics]


class Handle(Generic[P, R]):
    """A workflow with options: priority, deadline, runtime. Immutable; made by `Workflow.options`."""

    __slots__ = ("_deadline_s", "_definition", "_priority", "_runtime")
    _definition: Definition
    _priority: int
    _deadline_s: float
    _runtime: Runtime | None

    def __init__(
        self, definition: Definition, priority: int, deadline_s: float, runtime: Runtime | None
    ) -> None:
        for name, value in (
            ("_definition", definition),
            ("_priority", priority),
            ("_deadline_s", deadline_s),
            ("_runtime", runtime),
        ):
            object.__setattr__(self, name, value)

    def __setattr__(self, name: str, value: object) -> None:
        if name in Handle.__slots__:
            raise AttributeError(f"{self!r} is immutable; make another with options({name.strip('_')}=...)")
        object.__setattr__(self, name, value)

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """Run the workflow here and now, and return its value; the calling thread helps.

        Raises:
            StepFailed: if a step raised; the original exception is its `__cause__`.
            TypeError: for arguments that the workflow's function would refuse.
        """
        definition = self._definition
        if _trace.state.trace is not None:
            return cast(R, self._inline(args, kwargs))
        plan = definition.plan
        if plan is None or kwargs or len(args) != definition.arity:
            plan, args = definition.compiled(), definition.bind(args, kwargs)  # type: ignore[assignment]
        runtime = resolve() if self._runtime is None else self._runtime
        return cast(R, plan.call(runtime, args, self._priority, self._deadline_s))

    def start(self, *args: P.args, **kwargs: P.kwargs) -> _core.Run:
        """Start a run and return it at once; `await` it or ask for its `result`.

        Raises:
            Overloaded: if the runtime already holds `max_pending` runs.
        """
        definition = self._definition
        _trace.refuse_in_trace(f"{definition.name}.start()")
        plan = definition.plan
        if plan is None or kwargs or len(args) != definition.arity:
            plan, args = definition.compiled(), definition.bind(args, kwargs)  # type: ignore[assignment]
        runtime = resolve() if self._runtime is None else self._runtime
        loop = running_loop() if runtime.clock is None else None  # virtual time has its own loop
        return plan.start(runtime, args, self._priority, self._deadline_s, loop)

    def map(self, iterable: Iterable[Any], *, concurrency: int | None = None) -> Iterator[R]:
        """Run the workflow for every item; yield the results in order.

        Where the runtime is full it waits, it never raises `Overloaded`. The first failure is raised in
        its place; runs that are in flight when the iteration ends early are cancelled.

        Args:
            iterable: One argument per item.
            concurrency: Most runs in flight; by default a few for each worker.

        >>> import tailrace as tr
        >>> double = tr.step(lambda x: 2 * x)
        >>> list(tr.workflow(lambda x: double(x)).map([1, 2]))
        [2, 4]
        """
        _trace.refuse_in_trace(f"{self._definition.name}.map()")
        runtime = resolve() if self._runtime is None else self._runtime
        limit = _streams.check_concurrency(
            self._definition.name, 8 * runtime.workers + 24 if concurrency is None else concurrency
        )
        if runtime.debug:
            limit = 1  # a run ends where it starts: a second one would only take its item too soon
        plan = self._definition.compiled()
        here = self._on(runtime)
        start = cast(Callable[..., _core.Run], here.start)
        # Where no second thread could help, a run is done here, without the way to a worker and back.
        call = here if runtime.clock is None else None
        return _streams.run_map(
            start, call, plan.spreads, iter(iterable), min(limit, runtime.max_pending), runtime
        )

    def stream(self, source: Iterable[Any] | AsyncIterable[Any], concurrency: int = 64) -> AsyncIterator[R]:
        """Run the workflow for every item of a sync or async source; yield the results in order.

        Where the runtime is full it waits. Closing it early cancels what is in flight.

        Args:
            source: One argument per item.
            concurrency: Most runs in flight.
        """
        _trace.refuse_in_trace(f"{self._definition.name}.stream()")
        limit = _streams.check_concurrency(self._definition.name, concurrency)
        items = _streams.check_source(self._definition.name, source)
        runtime = resolve() if self._runtime is None else self._runtime
        self._definition.compiled()
        start = cast(Callable[..., _core.Run], self._on(runtime).start)
        return _streams.run_stream(start, items, min(limit, runtime.max_pending))

    def warm(self, *args: P.args, **kwargs: P.kwargs) -> None:
        """Compile the workflow and run it a few times, so that the costs of its steps are known.

        The steps really run, with all that they do elsewhere: give arguments for which that is harmless. The
        first failure is raised. For a plan with async steps call it where no event loop runs; in virtual
        time it takes as long as that many runs do.

        >>> import tailrace as tr
        >>> double = tr.step(lambda x: 2 * x)
        >>> wf = tr.workflow(lambda x: double(x))
        >>> wf.warm(1)
        >>> sum(step.calls for step in wf.statistics().steps.values()) > 0
        True
        """
        _trace.refuse_in_trace(f"{self._definition.name}.warm()")
        for _ in range(_WARM_RUNS):
            self(*args, **kwargs)

    def options(
        self,
        *,
        priority: Priority | None = None,
        deadline_s: float | None = None,
        runtime: Runtime | None = None,
    ) -> Handle[P, R]:
        """Return an immutable handle with the same methods; what is not given stays as it was.

        Args:
            priority: `tr.Priority.HIGH`, `NORMAL` or `LOW`.
            deadline_s: Seconds from the start until the run raises `DeadlineExceeded`.
            runtime: Where to run.

        Raises:
            TypeError, ValueError: for an option of the wrong type or range.
        """
        _check_options(priority, deadline_s, runtime)
        return Handle(
            self._definition,
            self._priority if priority is None else int(priority),
            self._deadline_s if deadline_s is None else float(deadline_s),
            self._runtime if runtime is None else runtime,
        )

    def _on(self, runtime: Runtime) -> Handle[P, R]:
        return Handle(self._definition, self._priority, self._deadline_s, runtime)

    def _inline(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        trace = _trace.state.trace
        assert trace is not None
        name = self._definition.name
        if type(self) is Handle:
            raise WorkflowError(
                f"workflow {trace.workflow!r}: options of the nested workflow {name!r} cannot be kept, since "
                f"its steps become part of this workflow; call {name}(...) without options"
            )
        return self._definition.inline(trace, args, kwargs)

    def __repr__(self) -> str:
        name, runtime = self._definition.name, self._runtime
        shown = [f"priority={Priority(self._priority).name}"]
        shown += [f"deadline_s={self._deadline_s:g}"] if self._deadline_s > 0 else []
        shown += [f"runtime={runtime.name!r}"] if runtime is not None else []
        return f"<workflow {name!r} with {', '.join(shown)}>"


class Workflow(Handle[P, R]):
    """A workflow: traced once, then run any number of times; made by `@tr.workflow`.

    Inside another workflow it is drawn into that one, its steps prefixed with its name.
    """

    _is_tailrace_workflow = True

    def __init__(self, fn: Callable[P, R]) -> None:
        super().__init__(Definition(fn), int(Priority.NORMAL), _NO_DEADLINE, None)
        functools.update_wrapper(self, fn)

    @property
    def name(self) -> str:
        """The function's name, as errors and pictures show it."""
        return self._definition.name

    def compile(self) -> Workflow[P, R]:
        """Trace the workflow now rather than at its first call, and return it.

        Raises:
            WorkflowError: if the graph is bad.
        """
        self._definition.compiled()
        return self

    def mermaid(self) -> str:
        """Return the graph as the text of a Mermaid flowchart."""
        self._definition.compiled()
        return _picture.mermaid(self._definition)

    def statistics(self) -> WorkflowStatistics:
        """Return what is known about the workflow and its steps, as one immutable snapshot."""
        nodes = self._definition.nodes
        steps = {}
        for node in nodes:
            raw = node.step.statistics()
            steps[node.label] = StepStatistics(**{key: raw[key] for key in StepStatistics.__slots__})
        return WorkflowStatistics(self.name, len(nodes), steps)

    def _repr_mimebundle_(self, **_options: Any) -> dict[str, str]:
        """Show the graph as a picture in Jupyter, as Mermaid text elsewhere."""
        self._definition.compiled()
        return {
            "image/svg+xml": _picture.svg(self._definition),
            "text/markdown": f"```mermaid\n{self.mermaid()}\n```",
            "text/plain": repr(self),
        }

    def __repr__(self) -> str:
        state = "not traced yet" if self._definition.plan is None else f"{len(self._definition.nodes)} nodes"
        return f"<workflow {self.name!r} ({state})>"


def workflow(fn: Callable[P, R], /) -> Workflow[P, R]:
    """Make a function that calls steps a workflow.

    Raises:
        TypeError: if `fn` is no plain function.
        WorkflowError: if it takes `*args` or `**kwargs`.

    >>> import tailrace as tr
    >>> @tr.step
    ... def double(x: int) -> int:
    ...     return 2 * x
    >>> @tr.workflow
    ... def quadruple(x: int) -> int:
    ...     return double(double(x))
    >>> quadruple(10)
    40
    >>> list(quadruple.map(range(3)))
    [0, 4, 8]
    """
    if isinstance(fn, Handle):
        raise TypeError(f"{fn!r} is a workflow already; decorate it once")
    if isinstance(fn, Step):
        raise TypeError(
            f"{fn!r} is a step; write a function that calls it and decorate that with @tr.workflow"
        )
    if not inspect.isfunction(fn):
        raise TypeError(
            f"tr.workflow needs a function, got {type(fn).__name__} {fn!r}; write @tr.workflow above a `def`"
        )
    if inspect.iscoroutinefunction(fn) or inspect.isgeneratorfunction(fn) or inspect.isasyncgenfunction(fn):
        raise TypeError(
            f"workflow {fn.__name__!r} must be a plain `def` that returns: it describes a graph, traced "
            "once; drop `async`, `await` and `yield` (its steps may be async)"
        )
    return Workflow(fn)


def _check_options(priority: object, deadline_s: object, runtime: object) -> None:
    if priority is not None and not isinstance(priority, Priority):
        raise TypeError(f"priority must be a tr.Priority such as tr.Priority.HIGH, got {priority!r}")
    if deadline_s is not None:
        if isinstance(deadline_s, bool) or not isinstance(deadline_s, int | float):
            raise TypeError(f"deadline_s must be a number of seconds such as 0.020, got {deadline_s!r}")
        if not 0.0 < deadline_s < math.inf:
            raise ValueError(
                f"deadline_s must be above 0 and finite (seconds from start), got {deadline_s!r}"
            )
    if runtime is not None and not isinstance(runtime, Runtime):
        raise TypeError(f"runtime must be a tr.Runtime, got {type(runtime).__name__} {runtime!r}")
