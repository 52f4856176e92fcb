"""Calling, starting, options: arguments are bound as a Python call, options are checked early."""

from __future__ import annotations

import math
import threading

import pytest
import tailrace as tr

WAIT_S = 20.0


@tr.step
def join(a, b, c):
    return f"{a}{b}{c}"


@tr.workflow
def joined(a, b="B", *, c="C"):
    """Three letters."""
    return join(a, b, c)


def test_arguments_are_bound_as_a_python_call_with_defaults(rt):
    wf = joined.options(runtime=rt)
    assert wf("x") == "xBC"
    assert wf("x", "y") == "xyC"
    assert wf(b="y", a="x", c="z") == "xyz"
    assert wf.start("x", c="z").result(WAIT_S) == "xBz"


@pytest.mark.parametrize(
    ("args", "kwargs", "word"),
    [((), {}, "missing a required argument: 'a'"), ((1,), {"d": 1}, "'d'"), ((1, 2, 3), {}, "too many")],
)
@pytest.mark.parametrize("method", ["__call__", "start", "warm"])
def test_wrong_arguments_are_a_type_error_with_name_and_signature(rt, method, args, kwargs, word):
    with pytest.raises(TypeError) as caught:
        getattr(joined.options(runtime=rt), method)(*args, **kwargs)
    assert "workflow 'joined'" in str(caught.value)
    assert word in str(caught.value)
    assert "joined(a, b='B', *, c='C')" in str(caught.value)


def test_a_workflow_looks_like_its_function():
    assert joined.__name__ == joined.name == "joined"
    assert joined.__doc__ == "Three letters."


def test_start_returns_a_run_that_knows_its_workflow_state_and_history(rt):
    run = joined.options(runtime=rt).start("x")
    assert isinstance(run, tr.Run)
    assert run.result(WAIT_S) == "xBC"
    assert (run.workflow, run.state, run.done()) == ("joined", "ok", True)
    (record,) = run.history()
    assert isinstance(record, tr.StepRecord)
    assert (record.step, record.attempt) == ("join", 1)
    assert record.duration_s >= 0.0


def test_start_with_nobody_waiting_runs(rt):
    ran = threading.Event()
    note = tr.step(ran.set)
    tr.workflow(lambda: note()).options(runtime=rt).start()
    assert ran.wait(WAIT_S)


def test_every_awaiter_of_a_failed_run_gets_a_fresh_error_with_the_same_cause(rt):
    error = ValueError("no")

    @tr.step
    def fail():
        raise error

    run = tr.workflow(lambda: fail()).options(runtime=rt).start()
    seen = []
    for _ in range(2):
        with pytest.raises(tr.StepFailed) as caught:
            run.result(WAIT_S)
        seen.append(caught.value)
    assert seen[0] is not seen[1]
    assert seen[0].__cause__ is seen[1].__cause__ is error
    assert run.state == "failed"


def test_a_result_that_is_not_there_in_time_is_a_timeout_and_the_run_goes_on(rt):
    go = threading.Event()
    wait = tr.step(blocking=True)(lambda: go.wait(WAIT_S))
    run = tr.workflow(lambda: wait()).options(runtime=rt).start()
    with pytest.raises(TimeoutError):
        run.result(timeout=0.01)
    assert not run.done()
    go.set()
    assert run.result(WAIT_S) is True


def test_a_cancelled_run_raises_cancelled_and_skips_the_steps_that_are_left(rt):
    begun, go, after = threading.Event(), threading.Event(), []

    @tr.step(blocking=True)
    def wait():
        begun.set()
        return go.wait(WAIT_S)

    note = tr.step(after.append)
    run = tr.workflow(lambda: note(wait())).options(runtime=rt).start()
    assert begun.wait(WAIT_S)
    assert run.cancel() is True
    assert run.state == "cancelled"
    with pytest.raises(tr.Cancelled, match="cancelled"):
        run.result(WAIT_S)
    assert run.cancel() is False
    go.set()
    rt.drain(WAIT_S)
    assert after == []


def test_options_are_a_frozen_handle_and_merge(rt):
    handle = joined.options(priority=tr.Priority.HIGH).options(deadline_s=5.0, runtime=rt)
    assert handle("x") == "xBC"
    assert repr(handle) == "<workflow 'joined' with priority=HIGH, deadline_s=5, runtime='test'>"
    with pytest.raises(AttributeError, match="immutable"):
        handle._priority = 2


def test_options_and_arguments_never_mix(rt):
    with pytest.raises(TypeError, match="'priority'"):
        joined("x", priority=tr.Priority.HIGH)
    with pytest.raises(TypeError):
        joined.options("x")


@pytest.mark.parametrize(
    ("option", "value", "error"),
    [
        ("priority", 0, TypeError),
        ("priority", "HIGH", TypeError),
        ("deadline_s", 0, ValueError),
        ("deadline_s", -1.0, ValueError),
        ("deadline_s", math.nan, ValueError),
        ("deadline_s", math.inf, ValueError),
        ("deadline_s", "1", TypeError),
        ("deadline_s", True, TypeError),
        ("runtime", "rt", TypeError),
    ],
)
def test_an_option_of_the_wrong_type_or_range_is_refused_at_once(option, value, error):
    with pytest.raises(error, match=option):
        joined.options(**{option: value})


def test_an_unknown_option_is_an_ordinary_type_error():
    with pytest.raises(TypeError, match="unexpected keyword argument 'retry'"):
        joined.options(retry=3)


def test_a_run_that_is_too_late_raises_deadline_exceeded_in_virtual_time(virtual, clock):
    slow = tr.testing.cost(tr.step(lambda x: x), 1.0)
    wf = tr.workflow(lambda x: slow(slow(x))).options(runtime=virtual)
    assert wf.options(deadline_s=10.0)(1) == 1
    run = wf.options(deadline_s=0.5).start(1)
    with pytest.raises(tr.DeadlineExceeded, match=r"'<lambda>'.*0\.5 s"):
        run.result()
    assert run.state == "timed_out"
    clock.run_until_idle()
    assert virtual.statistics().timed_out == 1


def test_warm_runs_the_workflow_so_that_costs_are_known(rt):
    @tr.step
    def work(x):
        return x

    wf = tr.workflow(lambda x: work(x))
    wf.options(runtime=rt).warm(1)
    assert wf.statistics().steps["work"].calls >= 8


def test_statistics_of_a_workflow_before_and_after_compiling():
    wf = tr.workflow(lambda x: join(x, x, [x]))
    assert wf.statistics().nodes == 0
    assert wf.compile().statistics().nodes == 2
    assert set(wf.statistics().steps) == {"join", "gather"}
