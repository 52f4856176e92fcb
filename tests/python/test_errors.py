"""The error tree, and what the core's failures become."""

from __future__ import annotations

import concurrent.futures

import pytest
import tailrace as tr
from tailrace.errors import make_error

DETAILS = {
    "cancelled": {"workflow": "wf"},
    "timed_out": {"workflow": "wf", "deadline_s": 0.02},
    "overloaded": {"runtime": "rt", "max_pending": 7},
    "closed": {"runtime": "rt"},
    "deadlock": {"workflow": "wf", "step": "s"},
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


def test_a_failed_step_carries_step_workflow_attempt_and_the_untouched_cause():
    cause = KeyError("user")
    error = make_error("step_failed", {"workflow": "wf", "step": "s", "attempt": 2, "cause": cause})
    assert isinstance(error, tr.StepFailed)
    assert (error.step, error.workflow, error.attempt) == ("s", "wf", 2)
    assert error.__cause__ is cause
    assert str(error) == "step 's' of workflow 'wf' failed on attempt 2: KeyError: 'user'"
