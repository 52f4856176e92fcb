"""While a workflow is traced, a placeholder refuses what needs a value, and says what to write."""

from __future__ import annotations

import copy
import math
import operator
import threading

import pytest
import tailrace as tr


@tr.step
def profile(user_id):
    return {"id": user_id}


@tr.step
def pair(x):
    return (x, -x)


MISUSES = {
    "bool": bool,
    "not": operator.not_,
    "==": lambda v: v == 1,
    "!=": lambda v: v != 1,
    "<": lambda v: v < 1,
    "<=": lambda v: v <= 1,
    ">": lambda v: v > 1,
    ">=": lambda v: v >= 1,
    "hash": hash,
    "dict key": lambda v: {v: 1},
    "len": len,
    "iter": iter,
    "unpack": lambda v: [*v],
    "in": lambda v: 1 in v,
    "str": str,
    "format": lambda v: f"{v}",
    "bytes": bytes,
    "int": int,
    "float": float,
    "complex": complex,
    "index": lambda v: [1, 2][v],
    "round": round,
    "floor": math.floor,
    "call": lambda v: v(),
    "attribute": lambda v: v.name,
    "set attribute": lambda v: setattr(v, "name", 1),
    "delete attribute": lambda v: delattr(v, "name"),
    "set item": lambda v: operator.setitem(v, 0, 1),
    "delete item": lambda v: operator.delitem(v, 0),
    "+": lambda v: v + 1,
    "right +": lambda v: 1 + v,
    "in-place +": lambda v: operator.iadd(v, 1),
    "*": lambda v: v * 2,
    "/": lambda v: v / 2,
    "//": lambda v: v // 2,
    "%": lambda v: v % 2,
    "**": lambda v: v**2,
    "-": lambda v: v - 1,
    "@": lambda v: v @ v,
    "&": lambda v: v & 1,
    "|": lambda v: v | 1,
    "<<": lambda v: v << 1,
    "neg": operator.neg,
    "invert": operator.invert,
    "abs": abs,
    "divmod": lambda v: divmod(v, 2),
    "with": lambda v: v.__enter__(),
    "await": lambda v: v.__await__(),
    "copy": copy.copy,
    "deepcopy": copy.deepcopy,
}


@pytest.mark.parametrize("misuse", MISUSES.values(), ids=MISUSES.keys())
def test_a_placeholder_used_as_a_value_names_workflow_step_and_advice(misuse):
    @tr.workflow
    def recommend(user_id):
        return misuse(profile(user_id))

    with pytest.raises(tr.WorkflowError) as caught:
        recommend.compile()
    text = str(caught.value)
    assert "workflow 'recommend'" in text
    assert "the result of step 'profile'" in text
    assert ";" in text, "the advice"


def test_a_placeholder_of_an_argument_names_the_argument():
    @tr.workflow
    def recommend(user_id):
        return profile(user_id if user_id else 0)

    with pytest.raises(tr.WorkflowError, match="the argument 'user_id'"):
        recommend(1)


def test_the_repr_of_a_placeholder_is_allowed_for_debugging():
    seen = []

    @tr.workflow
    def recommend(user_id):
        seen.append(repr(profile(user_id)["id"]))
        return profile(user_id)

    recommend.compile()
    assert seen == ["<item 'id' of the result of step 'profile' of workflow 'recommend'>"]


def test_unknown_dunder_attributes_are_plain_attribute_errors_so_that_probes_work():
    seen = []

    @tr.workflow
    def recommend(user_id):
        seen.append(hasattr(user_id, "__array_interface__"))
        return profile(user_id)

    recommend.compile()
    assert seen == [False]


def test_items_are_taken_by_key_index_slice_and_by_other_results(rt):
    @tr.workflow
    def items(x):
        both = pair(x)
        return [both[0], both[-1], both[0:1], profile(x)["id"], both[pair(0)[0]]]

    assert items.options(runtime=rt)(5) == [5, -5, (5,), 5, 5]


def test_a_missing_item_is_a_failed_step(rt):
    @tr.workflow
    def items(x):
        return profile(x)["no such key"]

    with pytest.raises(tr.StepFailed, match="no such key") as caught:
        items.options(runtime=rt)(5)
    assert isinstance(caught.value.__cause__, KeyError)


def test_a_placeholder_from_another_trace_is_a_workflow_error_that_names_both():
    leaked = []

    @tr.workflow
    def first(x):
        leaked.append(profile(x))
        return leaked[0]

    @tr.workflow
    def second(x):
        return pair(leaked[0])

    first.compile()
    with pytest.raises(tr.WorkflowError, match=r"workflow 'second'.*belongs to another trace.*'first'"):
        second.compile()


def test_a_placeholder_that_escaped_still_teaches():
    leaked = []

    @tr.workflow
    def first(x):
        leaked.append(profile(x))
        return leaked[0]

    first.compile()
    with pytest.raises(tr.WorkflowError, match="truth value"):
        bool(leaked[0])


def test_another_thread_is_not_traced():
    results = []

    @tr.workflow
    def traced(x):
        thread = threading.Thread(target=lambda: results.append(profile(7)))
        thread.start()
        thread.join()
        return profile(x)

    traced.compile()
    assert results == [{"id": 7}]
