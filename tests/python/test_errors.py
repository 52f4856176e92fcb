"""The error tree, and what the core's failures become."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import gc
import pickle
import sys
import threading
import traceback
import weakref
from collections import deque

import pytest
import tailrace as tr
from tailrace.errors import make_error

WAIT_S = 20.0

DETAILS = {
    "cancelled": {"workflow": "wf"},
    "timed_out": {"workflow": "wf", "deadline_s": 0.02},
    "overloaded": {"runtime": "rt", "max_pending": 7},
    "closed": {"runtime": "rt"},
    "stalled": {"runtime": "rt", "waiting": ["wf/a", "wf/b"]},
    "async_on_loop": {"workflow": "wf"},
}


@pytest.mark.parametrize(
    ("error", "base"),
    [
        (tr.DeadlineExceeded, TimeoutError),
        (tr.StepTimeout, TimeoutError),
        (tr.Cancelled, concurrent.futures.CancelledError),
        (tr.PoolExhausted, MemoryError),
        (tr.RuntimeClosed, RuntimeError),
        (tr.Overloaded, tr.TailraceError),
        (tr.StepFailed, tr.TailraceError),
        (tr.Deadlock, tr.TailraceError),
        (tr.Stalled, tr.TailraceError),
        (tr.NoHealthyReplica, tr.TailraceError),
        (tr.BackendUnavailable, tr.TailraceError),
        (tr.WorkflowError, tr.TailraceError),
    ],
)
def test_every_error_has_its_standard_base_and_is_a_tailrace_error(error, base):
    assert issubclass(error, base)
    assert issubclass(error, tr.TailraceError)


@pytest.mark.parametrize("kind", DETAILS)
def test_the_text_of_a_failure_names_what_it_is_about(kind):
    error = make_error(kind, DETAILS[kind])
    assert isinstance(error, tr.TailraceError)
    for value in DETAILS[kind].values():
        for part in value if isinstance(value, list) else [value]:
            assert str(part) in str(error)


def test_a_failure_is_a_fresh_exception_each_time():
    assert make_error("closed", DETAILS["closed"]) is not make_error("closed", DETAILS["closed"])


def test_an_unknown_kind_is_still_a_tailrace_error():
    assert type(make_error("moonstruck", {"a": 1})) is tr.TailraceError


def failed(*failures):
    return make_error("step_failed", {"workflow": "wf", "failures": list(failures)})


def test_a_failed_step_carries_step_workflow_attempt_and_the_untouched_cause():
    cause = KeyError("user")
    error = failed(("s", 2, cause))
    assert type(error) is tr.StepFailed
    assert (error.step, error.workflow, error.attempt) == ("s", "wf", 2)
    assert error.__cause__ is cause
    assert str(error) == "step 's' of workflow 'wf' failed on attempt 2: KeyError: 'user'"


def test_several_failures_are_a_group_that_is_a_step_failure_too():
    causes = KeyError("user"), ValueError("nan"), OSError("gone")
    error = failed(*((f"s[{at}]", 1, cause) for at, cause in enumerate(causes)))
    assert isinstance(error, tr.StepsFailed)
    assert isinstance(error, tr.StepFailed)
    assert isinstance(error, ExceptionGroup)
    assert (error.step, error.workflow, error.attempt) == ("s[0]", "wf", 1)
    assert error.__cause__ is causes[0]
    assert [one.__cause__ for one in error.exceptions] == list(causes)
    assert {type(one) for one in error.exceptions} == {tr.StepFailed}
    assert str(error) == (
        "step 's[0]' of workflow 'wf' failed on attempt 1: KeyError: 'user' (and 2 more steps failed)"
    )


def test_a_group_is_split_into_groups_of_its_kind():
    error = failed(("a", 1, KeyError()), ("b", 1, ValueError()), ("c", 1, KeyError()))
    # The group itself is asked first, and is a StepFailed with the cause of its first.
    keys, others = error.split(lambda one: one is not error and isinstance(one.__cause__, KeyError))
    assert type(keys) is tr.StepsFailed
    assert [one.step for one in keys.exceptions] == ["a", "c"]
    assert [one.step for one in others.exceptions] == ["b"]
    taken = []
    try:
        raise error
    except* tr.StepFailed as group:
        taken += [one.step for one in group.exceptions]
    assert taken == ["a", "b", "c"]


def test_a_group_survives_pickling_and_printing():
    error = failed(("a", 1, KeyError("k")), ("b", 1, ValueError("v")))
    copied = pickle.loads(pickle.dumps(error))
    assert type(copied) is tr.StepsFailed
    assert [one.step for one in copied.exceptions] == ["a", "b"]
    text = "".join(traceback.format_exception(error))
    assert "KeyError: 'k'" in text
    assert "ValueError: v" in text


def test_the_text_of_a_wait_for_oneself_names_step_and_workflow():
    error = make_error("deadlock", {"waits": [("s", "wf", "wf")]})
    assert type(error) is tr.Deadlock
    assert "step 's' of workflow 'wf' waits for its own run" in str(error)


def test_a_submitted_task_that_waits_for_itself_is_a_deadlock_error(rt):
    futures = []
    submitted = threading.Event()

    def wait():
        assert submitted.wait(WAIT_S)
        return futures[0].result()

    futures.append(rt.submit(wait))
    submitted.set()
    with pytest.raises(tr.Deadlock, match=r"step 'wait' of workflow 'submit' waits for its own run"):
        futures[0].result(WAIT_S)


def test_the_text_of_a_circle_of_waits_names_all_of_it():
    waits = [("a", "one", "two"), ("b", "two", "three"), ("c", "three", "one")]
    error = make_error("deadlock", {"waits": waits})
    assert str(error) == (
        "step 'a' of workflow 'one' waits for a run of workflow 'two', whose step 'b' waits for a run of "
        "workflow 'three', whose step 'c' waits for a run of workflow 'one', which cannot end before "
        "step 'a' does; return a value from one of them instead of waiting for it"
    )


class Local:
    """Something whose end can be seen."""


@pytest.fixture
def no_collector():
    gc.collect()
    gc.disable()
    yield
    gc.enable()


def raiser(error, seen):
    @tr.step
    def fail(_x):
        local = Local()
        seen.append(weakref.ref(local))
        raise error()

    return tr.workflow(lambda x: fail(x))


def test_each_awaiter_gets_a_fresh_error_from_the_same_original(rt):
    run = raiser(ValueError, []).options(runtime=rt).start(1)
    errors = []
    for _ in range(3):
        with pytest.raises(tr.StepFailed) as caught:
            run.result(WAIT_S)
        errors.append(caught.value)
    errors.append(run.exception(WAIT_S))
    assert len({id(error) for error in errors}) == 4
    assert len({id(error.__cause__) for error in errors}) == 1


def test_the_original_keeps_its_traceback_and_gets_no_context(rt):
    run = raiser(ValueError, []).options(runtime=rt).start(1)
    lengths = []
    for _ in range(3):
        try:
            raise KeyError("handled while somebody waits")
        except KeyError:
            with pytest.raises(tr.StepFailed) as caught:
                run.result(WAIT_S)
        original = caught.value.__cause__
        lengths.append(len(traceback.extract_tb(original.__traceback__)))
        assert original.__context__ is None
        assert original.__cause__ is None
    assert lengths == [1, 1, 1]


@pytest.mark.parametrize("how", ["called", "started"])
def test_an_error_that_is_dropped_leaves_no_frame_of_the_step_behind(rt, no_collector, how):
    if how == "started" and not getattr(sys, "_is_gil_enabled", lambda: True)():
        pytest.skip("without a GIL, what a worker has made is freed when it next runs Python")
    seen = []
    wf = raiser(ValueError, seen).options(runtime=rt)
    if how == "called":
        with pytest.raises(tr.StepFailed):
            wf(1)
    else:
        run = wf.start(1)
        assert rt.drain(WAIT_S)  # on a worker: who helps has the step's frame above its own
        with contextlib.suppress(tr.StepFailed):
            run.result(WAIT_S)
        del run
    assert len(seen) == 1
    assert seen[0]() is None


def test_a_thousand_errors_leave_no_object_behind(rt, no_collector):
    wf = raiser(ValueError, deque(maxlen=1)).options(runtime=rt)

    def fail(times):
        for _ in range(times):
            with contextlib.suppress(tr.StepFailed):
                wf(1)

    fail(100)
    before = len(gc.get_objects())
    fail(1000)
    assert len(gc.get_objects()) - before <= 5


class Stop(BaseException):
    """Not an Exception."""


@pytest.mark.parametrize("kind", [Stop, SystemExit, GeneratorExit, KeyboardInterrupt])
def test_a_base_exception_reaches_each_awaiter_as_it_is_and_no_worker_dies(rt, kind):
    original = kind("as it is")

    @tr.step
    def leave(_x):
        raise original

    wf = tr.workflow(lambda x: leave(x)).options(runtime=rt)
    run = wf.start(1)
    assert rt.drain(WAIT_S)
    lengths = []
    for _ in range(3):
        try:
            raise KeyError("handled while somebody waits")
        except KeyError:
            with pytest.raises(kind) as caught:
                run.result(WAIT_S)
        assert caught.value is original
        assert original.__context__ is None
        lengths.append(len(traceback.extract_tb(original.__traceback__)))
    assert lengths == [lengths[0]] * 3
    with pytest.raises(kind):
        wf(1)
    assert rt.submit(lambda: 5).result(WAIT_S) == 5


@pytest.mark.parametrize("kind", [Stop, SystemExit, KeyboardInterrupt])
def test_who_awaits_gets_a_base_exception_as_it_is(rt, kind):
    original = kind("as it is")

    @tr.step
    def leave(_x):
        raise original

    run = tr.workflow(lambda x: leave(x)).options(runtime=rt).start(1)
    assert rt.drain(WAIT_S)
    seen = []

    async def main():
        try:
            await run
        except BaseException as error:
            seen.append(error)

    asyncio.run(main())
    assert len(seen) == 1
    assert seen[0] is original


def test_bodies_that_fail_while_the_run_ends_are_told_together(rt):
    meet = threading.Barrier(3)

    @tr.step(blocking=True)
    def fail(at):
        meet.wait(WAIT_S)
        raise ValueError(at)

    run = tr.workflow(lambda: [fail(0), fail(1), fail(2)]).options(runtime=rt).start()
    assert rt.drain(WAIT_S)
    error = run.exception(WAIT_S)
    assert isinstance(error, tr.StepsFailed)
    assert sorted(one.__cause__.args[0] for one in error.exceptions) == [0, 1, 2]
    assert error.__cause__ is error.exceptions[0].__cause__
    assert run.state == "failed"


def test_in_virtual_time_a_failure_counts_when_its_step_ends(virtual, clock):
    @tr.step
    def slow():
        raise ValueError("slow")

    @tr.step
    def quick():
        raise KeyError("quick")

    tr.testing.cost(slow, 5.0)
    tr.testing.cost(quick, 1.0)
    run = tr.workflow(lambda: [slow(), quick()]).options(runtime=virtual).start()
    clock.advance(2.0)
    assert type(run.exception()) is tr.StepFailed
    assert run.exception().step == "quick"
    clock.run_until_idle()
    assert [one.step for one in run.exception().exceptions] == ["quick", "slow"]


def test_what_a_cancelled_run_still_raises_is_nobodys_business(rt):
    begun, go_on = threading.Event(), threading.Event()

    @tr.step(blocking=True)
    def fail():
        begun.set()
        go_on.wait(WAIT_S)
        raise ValueError

    run = tr.workflow(lambda: fail()).options(runtime=rt).start()
    assert begun.wait(WAIT_S)
    assert run.cancel()
    go_on.set()
    assert rt.drain(WAIT_S)
    with pytest.raises(tr.Cancelled):
        run.result()


def test_a_result_that_holds_its_own_run_is_collected(rt):
    def make():
        box = []

        @tr.step
        def wrap(_x):
            return (box, Local())  # a tuple cannot be cleared: the run has to be

        run = tr.workflow(lambda x: wrap(x)).options(runtime=rt).start(1)
        gone = weakref.ref(run.result(WAIT_S)[1])
        assert rt.drain(WAIT_S)
        box.append(run)
        return gone

    gone = make()
    gc.collect()
    assert gone() is None


def test_two_steps_that_wait_for_each_others_run_are_told_both_sides(rt):
    runs = {}
    meet = threading.Barrier(2)

    @tr.step(blocking=True)
    def ask(_x):
        meet.wait(WAIT_S)
        return runs["other"].result()

    @tr.step(blocking=True)
    def answer(_x):
        meet.wait(WAIT_S)
        return runs["one"].result()

    @tr.workflow
    def one(x):
        return ask(x)

    @tr.workflow
    def other(x):
        return answer(x)

    runs["one"] = one.options(runtime=rt).start(1)
    runs["other"] = other.options(runtime=rt).start(1)
    errors = [runs[name].exception(WAIT_S).__cause__ for name in runs]
    # Who came second is told; the first gets what that makes of the second's run.
    deadlock = next(error for error in errors if isinstance(error, tr.Deadlock))
    for part in ("'ask'", "'answer'", "'one'", "'other'"):
        assert part in str(deadlock)
    runs.clear()
