"""`@tr.step`: what it takes, and that a step stays a plain function."""

from __future__ import annotations

import asyncio
import dataclasses
import inspect

import pytest
import tailrace as tr


@tr.step
def double(x: int) -> int:
    """Twice as much."""
    return 2 * x


@tr.step
async def double_later(x: int) -> int:
    return 2 * x


@tr.step(blocking=True)
def double_slowly(x: int) -> int:
    return 2 * x


def test_outside_a_workflow_a_step_runs_its_bare_body():
    assert double(4) == 8
    assert double_slowly(x=4) == 8
    assert asyncio.run(double_later(4)) == 8


def test_a_step_looks_like_its_function():
    assert double.__name__ == "double"
    assert double.__doc__ == "Twice as much."
    assert str(inspect.signature(double)) == "(x: 'int') -> 'int'"
    assert double.fn is double.__wrapped__


def test_a_step_knows_its_kind():
    assert [s.kind for s in (double, double_later, double_slowly)] == ["sync", "async", "blocking"]
    assert repr(double_later) == "<step 'double_later' (async)>"


def test_builtins_lambdas_partials_classes_and_callable_objects_are_steps_too(rt):
    class Adder:
        def __call__(self, x):
            return x + 1

    for fn, expected in ((abs, 3), (lambda x: -x, 3), (Adder(), -2), (str, "-3")):
        s = tr.step(fn)
        wf = tr.workflow(_calling(s))
        assert wf.options(runtime=rt)(-3) == expected


def _calling(s):
    return lambda x: s(x)


def test_a_callable_object_with_an_async_call_is_an_async_step():
    class Fetch:
        async def __call__(self):
            return 1

    assert tr.step(Fetch()).kind == "async"


def test_a_step_in_a_class_binds_its_instance():
    class Model:
        factor = 3

        @tr.step
        def scale(self, x):
            return self.factor * x

    model = Model()
    assert model.scale(2) == 6
    assert tr.workflow(lambda x: model.scale(x))(2) == 6


@pytest.mark.parametrize("what", [42, "name", [1]])
def test_something_that_cannot_be_called_is_a_type_error_that_shows_the_right_call(what):
    with pytest.raises(TypeError, match=r"write @tr\.step above a `def`"):
        tr.step(what)


def test_an_async_blocking_step_is_a_type_error():
    async def fetch():
        pass

    with pytest.raises(TypeError, match=r"'fetch'.*blocking=True has no meaning"):
        tr.step(blocking=True)(fetch)


def test_an_unknown_option_is_an_ordinary_type_error():
    with pytest.raises(TypeError, match="unexpected keyword argument 'retrys'"):
        tr.step(retrys=3)


@pytest.mark.parametrize("blocking", [1, "yes", None])
def test_blocking_must_be_a_bool(blocking):
    with pytest.raises(TypeError, match="True or False"):
        tr.step(blocking=blocking)


def test_a_step_is_decorated_once():
    with pytest.raises(TypeError, match="step already"):
        tr.step(double)


def test_a_workflow_is_no_step():
    with pytest.raises(TypeError, match="is a workflow"):
        tr.step(tr.workflow(lambda x: double(x)))


def test_statistics_are_a_frozen_snapshot_of_calls_and_failures(rt):
    @tr.step
    def fragile(x):
        return 1 // x

    wf = tr.workflow(lambda x: fragile(x)).options(runtime=rt)
    assert wf(1) == 1
    with pytest.raises(tr.StepFailed):
        wf(0)
    seen = fragile.statistics()
    assert (seen.calls, seen.failures) == (2, 1)
    assert seen.max_s >= seen.mean_s >= 0.0
    with pytest.raises(dataclasses.FrozenInstanceError):
        seen.calls = 0
