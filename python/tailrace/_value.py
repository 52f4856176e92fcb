"""The placeholder that stands for a result while a workflow is traced.

It can be handed to steps, put in containers and indexed. Everything else would need the value itself,
which does not exist yet; so everything else raises a `WorkflowError` that says what to write instead.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NoReturn

from tailrace.errors import WorkflowError

if TYPE_CHECKING:
    from tailrace._trace import Trace

__all__ = ["Value"]


class Value:
    """A result, or an argument, of a workflow that is being traced.

    Attributes are private, since a user's attribute access must raise: `_trace` owns it, `_slot` is its
    value slot in the plan, `_origin` says in words where it comes from.
    """

    __slots__ = ("_origin", "_slot", "_trace")
    _origin: str
    _slot: int
    _trace: Trace

    def __init__(self, trace: Trace, slot: int, origin: str) -> None:
        object.__setattr__(self, "_trace", trace)
        object.__setattr__(self, "_slot", slot)
        object.__setattr__(self, "_origin", origin)

    def __getitem__(self, key: Any) -> Value:
        return self._trace.item(self, key)

    def __getattr__(self, name: str) -> NoReturn:
        if name.startswith("__") and name.endswith("__"):
            # Protocol probes (copy, inspect, numpy) must see a plain missing attribute.
            raise AttributeError(name)
        refuse(
            self,
            f"its attribute {name!r} cannot be read",
            f"write a step that returns `value.{name}`; items can be taken as value[{name!r}]",
        )

    def __setattr__(self, name: str, value: object) -> NoReturn:
        refuse(self, f"its attribute {name!r} cannot be set", _IN_A_STEP)

    def __delattr__(self, name: str) -> NoReturn:
        refuse(self, f"its attribute {name!r} cannot be deleted", _IN_A_STEP)

    def __repr__(self) -> str:
        return f"<{self._origin} of workflow {self._trace.workflow!r}>"


def refuse(value: Value, what: str, advice: str) -> NoReturn:
    """Raise the `WorkflowError` for a use of `value` that needs more than a placeholder."""
    raise WorkflowError(
        f"workflow {value._trace.workflow!r}: {value._origin} is not known while the workflow is traced, "
        f"so {what}; {advice}"
    )


_IN_A_STEP = "do it inside a step: `@tr.step def change(value): ...` and call change(value) here"
_DECIDE = "decide inside a step: `@tr.step def choose(value): ...` and call choose(value) here"
_ITERATE = "pass it whole to a step, or take its items by index: value[0], value[1]"
_FORMAT = "build the text inside a step: `@tr.step def render(value): return f'{value}'`"

# Reason and advice -> the special methods that get them.
_REFUSED: dict[tuple[str, str], str] = {
    ("it has no truth value for `if`, `and`, `or`, `not`", _DECIDE): "bool",
    ("it cannot be compared", _DECIDE): "eq ne lt le gt ge",
    ("it has no hash and cannot be a dict key or a set member", _IN_A_STEP): "hash",
    ("it has no len()", _IN_A_STEP): "len length_hint",
    ("it cannot be iterated or unpacked", _ITERATE): "iter next reversed aiter anext",
    ("`in` cannot look into it", _DECIDE): "contains",
    ("it cannot be formatted or printed", _FORMAT): "str format bytes fspath",
    ("it is no number yet", _IN_A_STEP): "int float complex index round trunc floor ceil",
    ("it cannot be called", _IN_A_STEP): "call",
    ("its items cannot be changed", _IN_A_STEP): "setitem delitem",
    ("it cannot be awaited", "steps wait for their arguments by themselves; drop the `await`"): "await",
    ("it cannot be entered", "use `with` inside a step"): "enter exit aenter aexit",
    ("it cannot be copied or pickled", "pass it to a step as it is"): "copy deepcopy reduce_ex",
    ("it cannot be calculated with", _IN_A_STEP): (
        "add sub mul truediv floordiv mod divmod pow matmul and or xor lshift rshift "
        "radd rsub rmul rtruediv rfloordiv rmod rdivmod rpow rmatmul rand ror rxor rlshift rrshift "
        "neg pos abs invert"
    ),
}


def _refusal(what: str, advice: str) -> Any:
    def method(self: Value, *_args: object) -> NoReturn:
        refuse(self, what, advice)

    return method


for (_what, _advice), _names in _REFUSED.items():
    for _name in _names.split():
        setattr(Value, f"__{_name}__", _refusal(_what, _advice))
