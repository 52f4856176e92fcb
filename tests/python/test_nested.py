"""Workflows inside workflows."""

from __future__ import annotations

import pytest
import tailrace as tr


@tr.step
def double(x):
    return 2 * x


@tr.step
def fail(x):
    raise ValueError(f"bad {x}")


@tr.workflow
def quadruple(x, *, unused=None):
    return double(double(x))


def test_a_nested_workflow_is_drawn_into_the_outer_one(rt):
    @tr.workflow
    def outer(x):
        return quadruple(quadruple(x))

    assert outer.options(runtime=rt)(1) == 16
    assert [node.label for node in outer.compile()._definition.nodes] == ["quadruple/double"] * 4


def test_a_nested_call_is_bound_as_a_python_call():
    outer = tr.workflow(lambda x: quadruple(x, tmes=3))
    with pytest.raises(TypeError, match=r"workflow 'quadruple': .*'tmes'; the workflow is quadruple\(x"):
        outer.compile()


def test_a_failure_inside_names_the_path_of_the_step(rt):
    @tr.workflow
    def inner(x):
        return fail(x)

    @tr.workflow
    def outer(x):
        return inner(double(x))

    with pytest.raises(tr.StepFailed) as caught:
        outer.options(runtime=rt)(1)
    assert caught.value.step == "inner/fail"
    assert caught.value.workflow == "outer"
    assert caught.value.attempt == 1
    assert isinstance(caught.value.__cause__, ValueError)


def test_a_nested_workflow_may_return_containers_constants_arguments_and_nothing(rt):
    def nested(fn):
        inner = tr.workflow(lambda x: fn(x, double(x)))

        @tr.workflow
        def outer(x):
            return [inner(x), double(x)]

        return outer.options(runtime=rt)(5)

    assert nested(lambda x, y: (x, y)) == [(5, 10), 10]
    assert nested(lambda x, y: "c") == ["c", 10]
    assert nested(lambda x, y: x) == [5, 10]
    assert nested(lambda x, y: None) == [None, 10]


def _nest(depth):
    wf = tr.workflow(lambda x: double(x))
    for _ in range(depth):
        wf = _wrap(wf)
    return wf


def _wrap(inner):
    return tr.workflow(lambda x: inner(x))


def test_64_levels_are_allowed_and_one_more_is_a_workflow_error():
    _nest(64).compile()
    with pytest.raises(tr.WorkflowError, match="nested more than 64 deep"):
        _nest(65).compile()


def test_options_of_a_nested_workflow_are_a_workflow_error():
    outer = tr.workflow(lambda x: quadruple.options(deadline_s=1.0)(x))
    with pytest.raises(tr.WorkflowError, match="options of the nested workflow 'quadruple' cannot be kept"):
        outer.compile()


@pytest.mark.parametrize("method", ["start", "map", "stream", "warm"])
def test_runs_are_not_started_while_a_workflow_is_traced(method):
    outer = tr.workflow(lambda x: getattr(quadruple, method)(x))
    with pytest.raises(tr.WorkflowError, match=rf"quadruple\.{method}\(\) starts runs.*inner\(x\)"):
        outer.compile()


def test_a_step_may_call_a_workflow_as_a_run_of_its_own(rt):
    @tr.step
    def recurse(x):
        return 0 if x == 0 else 1 + wf(x - 1)

    @tr.workflow
    def wf(x):
        return recurse(x)

    assert wf.options(runtime=rt)(5) == 5
