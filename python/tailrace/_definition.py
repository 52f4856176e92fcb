"""What `@tr.workflow` was written above: a function, its signature, and the plan traced from it once."""

from __future__ import annotations

import inspect
import threading
from collections.abc import Callable
from typing import Any

from tailrace import _blas, _core, _trace
from tailrace._trace import Node, Trace
from tailrace.errors import WorkflowError

__all__ = ["Definition"]

_VARIABLE = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)


class Definition:
    """One workflow function; shared by the workflow and all handles that `options` makes of it.

    Attributes:
        name: The function's name.
        fn: The function.
        plan: The compiled plan, None until traced.
        nodes: What the plan was compiled from, for pictures and statistics.
        names: The workflow's arguments, in order.
        arity: How many positional arguments need no binding; -1 if some are keyword-only.
    """

    def __init__(self, fn: Callable[..., Any]) -> None:
        self.fn = fn
        self.name: str = fn.__name__
        self.plan: _core.Plan | None = None
        self.nodes: tuple[Node, ...] = ()
        self.signature = inspect.signature(fn)
        parameters = self.signature.parameters.values()
        for parameter in parameters:
            if parameter.kind in _VARIABLE:
                raise WorkflowError(
                    f"workflow {self.name!r}: parameter {str(parameter)!r} takes any number of arguments, "
                    "but a plan is traced once for all calls; take one list or dict instead: "
                    f"def {self.name}({parameter.name}): ..."
                )
        self.names = tuple(self.signature.parameters)
        keyword_only = any(parameter.kind is parameter.KEYWORD_ONLY for parameter in parameters)
        self.arity = -1 if keyword_only else len(self.names)
        self._lock = threading.Lock()
        self._tracer = 0

    def compiled(self) -> _core.Plan:
        """Return the plan; trace the function if nobody has yet.

        Raises:
            WorkflowError: for a bad graph. The next call tries again.
        """
        if self.plan is not None:
            return self.plan
        if self._tracer == threading.get_ident():
            raise WorkflowError(_trace.recursion([self.name, self.name]))
        with self._lock:
            if self.plan is None:
                self._tracer = threading.get_ident()
                try:
                    self._trace()
                finally:
                    self._tracer = 0
            assert self.plan is not None
            return self.plan

    def bind(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Any, ...]:
        """Return all arguments in the order of `names`, defaults applied.

        Raises:
            TypeError: as a Python call would, with the workflow's name and signature.
        """
        try:
            bound = self.signature.bind(*args, **kwargs)
        except TypeError as error:
            raise TypeError(
                f"workflow {self.name!r}: {error}; the workflow is {self.name}{self.signature}"
            ) from None
        bound.apply_defaults()
        return tuple(bound.arguments.values())

    def inline(self, trace: Trace, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Draw this workflow's steps into the trace of the workflow that calls it."""
        values = self.bind(args, kwargs)
        first = len(trace.nodes)
        with trace.nested(self, self.name):
            result = self._invoke(values)
            return trace.close_span(result, first)

    def _trace(self) -> None:
        trace = Trace(self, self.name, self.names)
        outer, _trace.state.trace = _trace.state.trace, trace
        try:
            result = self._invoke(tuple(trace.arguments()))
            plan = trace.plan(result)
            self.nodes = tuple(trace.nodes)
            self.plan = plan  # last: who sees it takes no lock
            _blas.limit()
        finally:
            _trace.state.trace = outer

    def _invoke(self, values: tuple[Any, ...]) -> Any:
        if self.arity >= 0:
            return self.fn(*values)
        positional: list[Any] = []
        keywords: dict[str, Any] = {}
        for parameter, value in zip(self.signature.parameters.values(), values, strict=True):
            if parameter.kind is parameter.KEYWORD_ONLY:
                keywords[parameter.name] = value
            else:
                positional.append(value)
        return self.fn(*positional, **keywords)
