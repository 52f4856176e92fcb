"""Tracing: a workflow's function runs once with placeholders, and every step call becomes a node.

The trace of a thread lives in `state`; while it is None, steps run their bare bodies.
"""

from __future__ import annotations

import operator
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar

from tailrace import _core
from tailrace._gather import MAX_GROUP, holds_values, leaves, rebuilder
from tailrace._value import Value
from tailrace.errors import WorkflowError

if TYPE_CHECKING:
    from inspect import Signature

__all__ = ["MAX_ARGUMENTS", "MAX_NESTING", "MAX_STEPS", "Trace", "after", "state"]

MAX_STEPS = 10_000
MAX_NESTING = 64
MAX_ARGUMENTS = 255

T = TypeVar("T")

_ITEM = _core.Step(operator.getitem, "item", _core.SYNC)


class _State(threading.local):
    trace: Trace | None = None


state = _State()


@dataclass(slots=True)
class Node:
    """One call in the graph, or one `tr.each`, as `_core.Plan` wants it; `after` grows while tracing."""

    step: _core.Step
    label: str
    slots: tuple[int, ...]
    consts: tuple[Any, ...]
    kwnames: tuple[str, ...]
    after: set[int] = field(default_factory=set)
    is_each: bool = False


@dataclass(frozen=True, slots=True)
class Payload:
    """What a native step hands on: a block of `dtype`, which `view` shows to Python."""

    dtype: Any
    view: _core.Step


class Trace:
    """The graph of one workflow while it is drawn: arguments first, then one slot per node.

    Attributes:
        workflow: Name of the outermost workflow; errors show it.
        names: Names of its arguments, in order.
        nodes: What has been called so far.
    """

    def __init__(self, owner: object, workflow: str, names: tuple[str, ...]) -> None:
        self.workflow = workflow
        self.names = names
        self.nodes: list[Node] = []
        self._owner = owner
        self._steps = 0
        self._nested: list[tuple[object, str]] = []
        self._spans: dict[int, range] = {}
        self._payloads: dict[int, Payload] = {}
        self._views: dict[int, Value] = {}

    def arguments(self) -> list[Value]:
        """Return one placeholder per argument of the outermost workflow."""
        return [Value(self, slot, f"the argument {name!r}") for slot, name in enumerate(self.names)]

    def check_call(
        self, name: str, signature: Signature | None, args: tuple[Any, ...], kwargs: Mapping[str, Any]
    ) -> None:
        """Refuse a step call that the step's function would refuse when it runs."""
        count = len(args) + len(kwargs)
        if count > MAX_ARGUMENTS:
            raise WorkflowError(
                f"workflow {self.workflow!r}: step {name!r} is called with {count} arguments, at most "
                f"{MAX_ARGUMENTS} are allowed; pass one list instead: {name}([a, b, ...])"
            )
        if signature is None:
            return
        try:
            signature.bind(*args, **kwargs)
        except TypeError as error:
            raise TypeError(
                f"step {name!r} in workflow {self.workflow!r}: {error}; the step is {name}{signature}"
            ) from None

    def add(
        self,
        step: _core.Step,
        name: str,
        args: tuple[Any, ...],
        kwargs: Mapping[str, Any],
        origin: str = "",
        *,
        is_each: bool = False,
        payload: Payload | None = None,
    ) -> Value:
        """Add the call of a user's step, or of `tr.each` with it; return the placeholder of its result.

        With `payload` it is a native step, which takes the one it is given as it is and hands one on.
        """
        self._steps += 1
        if self._steps > MAX_STEPS:
            raise WorkflowError(
                f"workflow {self.workflow!r}: more than {MAX_STEPS:,} steps; the call of {name!r} is one too "
                "many; let one step work on a list of items"
            )
        label = "/".join([*(nested for _, nested in self._nested), name])
        origin = origin or f"the result of {'tr.each with ' if is_each else ''}step {label!r}"
        value = self._node(step, label, args, kwargs, origin, raw=payload is not None)
        self.nodes[-1].is_each = is_each
        if payload is not None:
            self._payloads[value._slot] = payload
        return value

    def payload_of(self, value: Any) -> Payload | None:
        """Return what `value` hands on if it is the result of a native step, else None."""
        return self._payloads.get(self._own(value)._slot) if type(value) is Value else None

    def helper(self, step: _core.Step, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Value:
        """Add a node that is no call of the user's."""
        return self._node(step, step.name, args, kwargs, step.name)

    def span(self, value: Value, first: int) -> Value:
        """Let `value` stand for all nodes from `first` on in `after`; return it."""
        self._spans[value._slot] = range(first, len(self.nodes))
        return value

    def item(self, value: Value, key: Any) -> Value:
        """Add a node that takes `value[key]`."""
        shown = repr(key) if isinstance(key, str | int) else "..."
        return self.add(_ITEM, f"[{shown}]", (value, key), {}, f"item {shown} of {value._origin}")

    def gather(self, content: Any) -> Any:
        """Return `content` as one argument: a placeholder if it holds any, else itself."""
        if type(content) is Value or not holds_values(content):
            return content
        parts = leaves(content, self.workflow)
        build = _core.Step(rebuilder(content), "gather", _core.SYNC)
        groups: tuple[Any, ...] = parts
        while len(groups) > MAX_GROUP:  # a fan-in of any width, in calls of allowed size
            groups = tuple(
                self._node(_PACK, "gather", groups[at : at + MAX_GROUP], {}, "a list")
                for at in range(0, len(groups), MAX_GROUP)
            )
        return self._node(build, "gather", groups, {}, "a list")

    def constant(self, content: Any) -> Value:
        """Add a node that only returns `content`."""
        step = _core.Step(lambda value: value, "constant", _core.SYNC)
        return self._node(step, "constant", (content,), {}, "a constant")

    @contextmanager
    def nested(self, owner: object, name: str) -> Iterator[None]:
        """Enter a workflow that is called inside this one; its steps are drawn here."""
        path = [self.workflow, *(nested for _, nested in self._nested), name]
        if owner is self._owner or any(owner is outer for outer, _ in self._nested):
            raise WorkflowError(recursion(path))
        if len(self._nested) >= MAX_NESTING:
            raise WorkflowError(
                f"workflow {self.workflow!r}: workflows are nested more than {MAX_NESTING} deep: "
                f"{' -> '.join(path[:3])} -> ... -> {name}"
            )
        self._nested.append((owner, name))
        try:
            yield
        finally:
            self._nested.pop()

    def close_span(self, result: Any, first: int) -> Value:
        """Return a nested workflow's result, which stands for all nodes from `first` on in `after`."""
        result = self.gather(result)
        # A result handed through from outside, or none at all, gets a node of its own.
        if type(result) is not Value or self._own(result)._slot < len(self.names) + first:
            result = self.constant(result)
        value: Value = result
        self._spans[value._slot] = range(first, len(self.nodes))
        return value

    def order(self, later: Value, earlier: Value) -> None:
        """Let everything that made `later` wait for everything that made `earlier`."""
        self._own(later)
        self._own(earlier)
        if later._slot < len(self.names):
            raise WorkflowError(
                f"workflow {self.workflow!r}: tr.after(b, a) orders the step call b, but {later._origin} is "
                "no call; write tr.after(step(x), other_result)"
            )
        if earlier._slot < len(self.names):
            return  # an argument is there from the start
        sinks = self._members(earlier)
        used = {dependency for index in sinks for dependency in self._dependencies(index)}
        members = self._members(later)
        for index in members:
            if not members & self._dependencies(index):
                self.nodes[index].after.update(sinks - used)

    def plan(self, result: Any) -> _core.Plan:
        """Return the finished plan whose value is `result`."""
        if not self._steps:
            raise WorkflowError(
                f"workflow {self.workflow!r} has no steps; call at least one function decorated with @tr.step"
            )
        result = self.gather(result)
        if result is None:
            output = -1
        else:
            if type(result) is not Value:
                result = self.constant(result)
            output = self._readable(self._own(result))._slot
        nodes = [
            (
                node.step,
                node.label,
                node.slots,
                node.consts,
                node.kwnames,
                tuple(sorted(node.after)),
                node.is_each,
            )
            for node in self.nodes
        ]
        try:
            return _core.Plan(self.workflow, len(self.names), nodes, output)
        except ValueError as error:
            raise WorkflowError(f"workflow {self.workflow!r}: {error}; check its tr.after calls") from error

    def _node(
        self,
        step: _core.Step,
        label: str,
        args: tuple[Any, ...],
        kwargs: Mapping[str, Any],
        origin: str,
        *,
        raw: bool = False,
    ) -> Value:
        slots: list[int] = []
        consts: list[Any] = []
        for given in (*args, *kwargs.values()):
            argument = self.gather(given)
            is_value = type(argument) is Value
            if is_value:
                argument = self._own(argument) if raw else self._readable(self._own(argument))
            slots.append(argument._slot if is_value else -1)
            consts.append(None if is_value else argument)
        self.nodes.append(Node(step, label, tuple(slots), tuple(consts), tuple(kwargs)))
        return Value(self, len(self.names) + len(self.nodes) - 1, origin)

    def _readable(self, value: Value) -> Value:
        """Return `value` for a reader in Python: a native step's payload as a record, viewed once."""
        payload = self._payloads.get(value._slot)
        if payload is None:
            return value
        view = self._views.get(value._slot)
        if view is None:
            view = self._node(payload.view, payload.view.name, (value,), {}, value._origin, raw=True)
            self._views[value._slot] = view
        return view

    def _own(self, value: Value) -> Value:
        if value._trace is not self:
            raise WorkflowError(
                f"workflow {self.workflow!r}: {value._origin} belongs to another trace (of workflow "
                f"{value._trace.workflow!r}); a placeholder is only good inside the call that made it, so "
                "do not keep it in globals or closures; pass it as an argument"
            )
        return value

    def _members(self, value: Value) -> set[int]:
        index = value._slot - len(self.names)
        return set(self._spans.get(value._slot, (index,)))

    def _dependencies(self, index: int) -> set[int]:
        node = self.nodes[index]
        return {slot - len(self.names) for slot in node.slots if slot >= len(self.names)} | node.after


def recursion(path: list[str]) -> str:
    """Return the text for a workflow that reaches itself while it is traced."""
    return (
        f"workflow {path[-1]!r} calls itself while traced: {' -> '.join(path)}; a plan has no cycles, so "
        "recurse in plain Python inside a step, or repeat the call a fixed number of times"
    )


def after(call: T, *results: object) -> T:
    """Order a step call behind results that it does not use; return the call's own placeholder.

    Args:
        call: What a step, or a workflow, returned inside the workflow being traced.
        results: What must be finished first; containers of results are fine.

    Raises:
        WorkflowError: outside a workflow, if `call` is no step call, or (when compiled) for a cycle.

    >>> import tailrace as tr
    >>> log = []
    >>> write = tr.step(log.append)
    >>> @tr.workflow
    ... def both():
    ...     first = write("first")
    ...     return tr.after(write("second"), first)
    >>> both()
    >>> log
    ['first', 'second']
    """
    trace = state.trace
    if trace is None or type(call) is not Value:
        raise WorkflowError(
            f"tr.after orders step calls inside a workflow, got {call!r}; write "
            "tr.after(b(x), a_result) in a function decorated with @tr.workflow"
        )
    later: Any = call
    for result in results:
        for value in leaves(result, trace.workflow):
            trace.order(later, value)
    return call


def refuse_in_trace(what: str) -> None:
    """Raise if this thread traces a workflow: there, a run can be described but not started."""
    trace = state.trace
    if trace is not None:
        raise WorkflowError(
            f"workflow {trace.workflow!r}: {what} starts runs, which is not possible while a workflow is "
            "traced; call the inner workflow as it is: inner(x)"
        )


def _pack(*values: Any) -> tuple[Any, ...]:
    return values


_PACK = _core.Step(_pack, "gather", _core.SYNC)
