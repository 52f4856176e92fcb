"""`tr.each`: one call of a step for each item of a value that is known only when the run gets there."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, TypeVar, cast

from tailrace import _trace
from tailrace._gather import holds_values
from tailrace._value import Value
from tailrace.step import Step

__all__ = ["each"]

R = TypeVar("R")


def each(step: Callable[..., R], items: Iterable[Any], /, **extra: Any) -> list[R]:
    """Call `step` once for each item and return the results in the order of the items.

    Inside a workflow this is one node, whose items run side by side where that pays. The first that fails
    fails the run, and items that have not begun are skipped. Elsewhere the bare body is called in order.

    Args:
        step: Made by `@tr.step`, of any kind; it gets one item as its first argument.
        items: A placeholder whose value is any iterable of at most 100,000 items, or such an iterable,
            which may hold placeholders.
        extra: Keyword arguments for every call; placeholders are fine.

    Raises:
        TypeError: if `step` is no step, `items` is not iterable, or the step would refuse the arguments.

    >>> import tailrace as tr
    >>> @tr.step
    ... def find(count: int) -> list[int]:
    ...     return list(range(count))
    >>> @tr.step
    ... def score(row: int, *, weight: int = 1) -> int:
    ...     return weight * row
    >>> @tr.workflow
    ... def best(count: int) -> list[int]:
    ...     return tr.each(score, find(count), weight=10)
    >>> best(4)
    [0, 10, 20, 30]
    """
    if not isinstance(step, Step):
        raise TypeError(_no_step(step))
    if type(items) is not Value and not isinstance(items, Iterable):
        raise TypeError(
            f"tr.each({step.name}, items): items must be iterable, got {type(items).__name__} {items!r}"
        )
    trace = _trace.state.trace
    if trace is None:
        return [step.fn(item, **extra) for item in items]
    given: Any = items
    if type(given) is not Value and not holds_values(given):
        given = tuple(given)  # now: a generator would be empty in the second run, and may yield placeholders
    trace.check_call(step.name, step._signature, (given,), extra)
    value = trace.add(step._core, step.name, (given,), extra, is_each=True)
    return cast("list[R]", value)


def _no_step(step: object) -> str:
    if getattr(step, "_is_tailrace_workflow", False):
        name = getattr(step, "name", "wf")
        return (
            f"tr.each needs a step, got {step!r}; call the workflow inside a step, as a run of its own for "
            f"each item: `@tr.step def one(item): return {name}(item)`, then tr.each(one, items)"
        )
    if callable(step):
        name = getattr(step, "__name__", "fn")
        return (
            f"tr.each needs a step, got {step!r}; write @tr.step above it, or tr.each(tr.step({name}), items)"
        )
    return f"tr.each needs a step, got {step!r}; the step comes first: tr.each(step, items)"
