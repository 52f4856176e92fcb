"""Containers that hold placeholders: find them, and build the same container from their values."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from copy import copy
from dataclasses import fields, is_dataclass
from typing import Any

from tailrace._value import Value
from tailrace.errors import WorkflowError

__all__ = ["MAX_GROUP", "holds_values", "leaves", "rebuilder"]

MAX_DEPTH = 64
MAX_GROUP = 255  # values that one gathering call takes


def holds_values(content: object) -> bool:
    """Tell whether a placeholder is in `content`, a container of containers or anything else."""
    seen: set[int] = set()
    waiting: list[object] = [content]
    while waiting:
        item = waiting.pop()
        if type(item) is Value:
            return True
        parts = _parts(item)
        if parts is not None and id(item) not in seen:
            seen.add(id(item))
            waiting.extend(parts)
    return False


def leaves(content: object, workflow: str) -> tuple[Value, ...]:
    """Return the placeholders in `content`, in the order in which `rebuilder` takes their values.

    Raises:
        WorkflowError: if the containers are nested more than 64 deep.
    """
    return tuple(_walk(content, workflow, 0))


def rebuilder(content: Any) -> Callable[..., Any]:
    """Return a function that takes the values of all `leaves` and returns `content` made of them.

    The values may arrive in groups: tuples of tuples, all of the same depth, in order.
    """
    count = sum(1 for _ in _walk(content, "", 0))
    flat = all(type(part) is Value for part in _parts(content) or ())
    if flat and count <= MAX_GROUP and type(content) in (list, tuple, dict):
        if type(content) is dict:
            keys = tuple(content)
            return lambda *values: dict(zip(keys, values, strict=True))
        return _tuple if type(content) is tuple else _list
    fill = _compile(content)

    def build(*groups: Any) -> Any:
        values: Any = groups
        while len(values) < count:
            values = [value for group in values for value in group]
        return fill(iter(values))

    return build


def _tuple(*values: Any) -> tuple[Any, ...]:
    return values


def _list(*values: Any) -> list[Any]:
    return list(values)


def _parts(item: object) -> list[object] | None:
    if isinstance(item, list | tuple):
        return list(item)
    if isinstance(item, dict):
        return list(item.values())
    if type(item) is slice:
        return [item.start, item.stop, item.step]
    if is_dataclass(item) and not isinstance(item, type):
        return [getattr(item, entry.name, None) for entry in fields(item)]
    return None


def _walk(item: object, workflow: str, depth: int) -> Iterator[Value]:
    if type(item) is Value:
        yield item
        return
    if depth > MAX_DEPTH:
        raise WorkflowError(
            f"workflow {workflow!r}: results are packed in containers nested more than {MAX_DEPTH} deep; "
            "build such a structure inside a step"
        )
    for part in _parts(item) or ():
        if type(part) is Value or holds_values(part):
            yield from _walk(part, workflow, depth + 1)


def _compile(item: Any) -> Callable[[Iterator[Any]], Any]:
    if type(item) is Value:
        return next
    parts = _parts(item)
    if parts is None or not holds_values(item):
        return lambda _values: item
    fills = [_compile(part) for part in parts]
    make = _maker(item)
    return lambda values: make([fill(values) for fill in fills])


def _maker(item: Any) -> Callable[[list[Any]], Any]:
    if type(item) is dict:
        keys = tuple(item)
        return lambda parts: dict(zip(keys, parts, strict=True))
    if isinstance(item, dict):  # an ordered or default dict keeps what else it knows
        return lambda parts: _refilled(item, parts)
    if type(item) is slice:
        return lambda parts: slice(*parts)
    if is_dataclass(item):
        return lambda parts: _reset(item, parts)
    named_tuple: Callable[[list[Any]], Any] | None = getattr(item, "_make", None)
    return named_tuple or type(item)


def _refilled(item: dict[Any, Any], parts: list[Any]) -> dict[Any, Any]:
    made = copy(item)
    made.update(zip(item, parts, strict=True))
    return made


def _reset(item: Any, parts: list[Any]) -> Any:
    made = copy(item)
    for entry, part in zip(fields(item), parts, strict=True):
        object.__setattr__(made, entry.name, part)  # frozen ones too: nobody else has seen this copy
    return made
