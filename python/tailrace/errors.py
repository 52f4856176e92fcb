"""What tailrace raises, and the one place where the core's failures become exceptions.

Wrong Python calls raise the ordinary `TypeError` and `ValueError`. Everything else is in this tree:

    TailraceError
    ├── WorkflowError        a bad graph, or a placeholder used as if it were a value
    ├── Overloaded           the runtime already holds `max_pending` runs
    ├── RuntimeClosed        used after close, or after a fork    (also RuntimeError)
    ├── Cancelled            the run was cancelled                (also concurrent.futures.CancelledError)
    ├── DeadlineExceeded     the run was too late                 (also TimeoutError)
    ├── StepTimeout          one step was too slow                (also TimeoutError)
    ├── StepFailed           a step raised; the original is `__cause__`
    │   └── StepsFailed      several did                          (also ExceptionGroup)
    ├── Deadlock             a wait that could never end          (also RuntimeError)
    ├── Stalled              virtual time: nothing can run, no timer is set
    ├── PoolExhausted        the memory pool is at its limit      (also MemoryError)
    ├── StaleHandle          the shared block is gone             (also LookupError)
    ├── NoHealthyReplica     every replica of an agent is out of service
    └── BackendUnavailable   a device, library or loop that is needed is not there
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import CancelledError
from typing import Any, Self, cast

__all__ = [
    "BackendUnavailable",
    "Cancelled",
    "DeadlineExceeded",
    "Deadlock",
    "NoHealthyReplica",
    "Overloaded",
    "PoolExhausted",
    "RuntimeClosed",
    "StaleHandle",
    "Stalled",
    "StepFailed",
    "StepTimeout",
    "StepsFailed",
    "TailraceError",
    "WorkflowError",
]


class TailraceError(Exception):
    """The root of everything that tailrace raises on its own account."""


class WorkflowError(TailraceError):
    """A workflow cannot be compiled, or one of its placeholders was used as a value."""


class Overloaded(TailraceError):
    """The runtime already holds as many runs as it accepts; try later or raise `max_pending`."""


class RuntimeClosed(TailraceError, RuntimeError):
    """The runtime, executor or event loop that should do the work is closed."""


class Cancelled(TailraceError, CancelledError):
    """The run was cancelled before it had a result."""


class DeadlineExceeded(TailraceError, TimeoutError):
    """The run was not done at its deadline; what came later was dropped."""


class StepTimeout(TailraceError, TimeoutError):
    """One attempt of a step took longer than the step allows."""


class Deadlock(TailraceError, RuntimeError):
    """A wait was refused because it could never end."""


class Stalled(TailraceError):
    """In virtual time nothing can run and no timer is set, yet something is awaited."""


class PoolExhausted(TailraceError, MemoryError):
    """The memory pool has reached its limit."""


class StaleHandle(TailraceError, LookupError):
    """Nobody holds the shared block of a handle any more."""


class NoHealthyReplica(TailraceError):
    """Every replica of an agent is out of service."""


class BackendUnavailable(TailraceError):
    """A device, library or loop that is needed is not there."""


class StepFailed(TailraceError):
    """A step raised an exception; the untouched original is `__cause__`.

    Attributes:
        step: Name of the step, prefixed with the nested workflows it was called in.
        workflow: Name of the workflow that was run.
        attempt: Which attempt failed, counted from 1.

    >>> error = StepFailed("score", "recommend", 1)
    >>> str(error)
    "step 'score' of workflow 'recommend' failed on attempt 1"
    """

    def __init__(self, step: str, workflow: str, attempt: int, reason: str = "") -> None:
        super().__init__(step, workflow, attempt, reason)
        self.step = step
        self.workflow = workflow
        self.attempt = attempt
        self.reason = reason

    def __str__(self) -> str:
        text = f"step {self.step!r} of workflow {self.workflow!r} failed on attempt {self.attempt}"
        return f"{text}: {self.reason}" if self.reason else text


class StepsFailed(StepFailed, ExceptionGroup[StepFailed]):
    """Several steps of one run raised: a group of one `StepFailed` each, the one that ended the run first.

    It is a `StepFailed` too, with step, attempt and `__cause__` of that first one, so that
    `except tr.StepFailed` is all that most callers write; `except*` takes the group apart.

    >>> def failed(step: str, cause: Exception) -> StepFailed:
    ...     error = StepFailed(step, "recommend", 1, repr(cause))
    ...     error.__cause__ = cause
    ...     return error
    >>> error = StepsFailed([failed("score[3]", KeyError("user")), failed("score[5]", ValueError("nan"))])
    >>> print(error)
    step 'score[3]' of workflow 'recommend' failed on attempt 1: KeyError('user') (and 1 more step failed)
    >>> [type(one.__cause__).__name__ for one in error.exceptions]
    ['KeyError', 'ValueError']
    """

    def __new__(cls, failures: Sequence[StepFailed]) -> Self:
        """Make the group; ExceptionGroup wants its message here."""
        return ExceptionGroup.__new__(cls, "several steps failed", list(failures))

    def __init__(self, failures: Sequence[StepFailed]) -> None:
        first = failures[0]
        self.step, self.workflow, self.attempt, self.reason = first.args
        self.__cause__ = first.__cause__

    def __str__(self) -> str:
        count = len(self.exceptions) - 1
        return f"{StepFailed.__str__(self)} (and {count} more step{'' if count == 1 else 's'} failed)"

    def __reduce__(self) -> tuple[type[StepsFailed], tuple[list[StepFailed]]]:
        return type(self), (cast("list[StepFailed]", list(self.exceptions)),)

    def derive(self, excs: Sequence[StepFailed], /) -> StepsFailed:  # type: ignore[override]
        """Return the group of some of them; `split` and `except*` ask for it."""
        return StepsFailed(excs)


_TEXTS: dict[str, tuple[type[TailraceError], str]] = {
    "cancelled": (Cancelled, "the run of workflow {workflow!r} was cancelled"),
    "timed_out": (
        DeadlineExceeded,
        "the run of workflow {workflow!r} was not done within its deadline of {deadline_s:g} s; "
        "give it longer with {workflow}.options(deadline_s=...)",
    ),
    "overloaded": (
        Overloaded,
        "runtime {runtime!r} already holds max_pending={max_pending} runs; try again later, use map() or "
        "stream() which wait, or make it larger: tr.Runtime(max_pending=...)",
    ),
    "closed": (
        RuntimeClosed,
        "{runtime!r} is closed; use it inside its `with` block, or make a new one with tr.Runtime()",
    ),
    "drained_inside": (
        Deadlock,
        "step {step!r} of workflow {workflow!r} waits until runtime {runtime!r} has nothing in flight, which "
        "the step itself is; call drain() outside of steps",
    ),
    "stalled": (
        Stalled,
        "nothing can run in virtual runtime {runtime!r} and no timer is set; waiting: {waiting}",
    ),
    "async_on_loop": (
        Deadlock,
        "workflow {workflow!r} has async steps and was called on the thread of a running event loop, which "
        "would block that loop; write `await {workflow}.start(...)`",
    ),
}


def make_error(kind: str, detail: dict[str, Any]) -> BaseException:
    """Return a fresh exception for a failure that the core reports by `kind`.

    >>> make_error("cancelled", {"workflow": "recommend"})
    Cancelled("the run of workflow 'recommend' was cancelled")
    """
    if kind == "step_failed":
        return _step_failed(**detail)
    if kind == "deadlock":
        alone = (detail.get("step", ""), detail.get("workflow", ""), detail.get("workflow", ""))
        return Deadlock(_circle(detail.get("waits", [alone])))  # a task has no run, and waits for itself only
    if kind not in _TEXTS:
        return TailraceError(f"{kind}: {detail}")
    error_type, text = _TEXTS[kind]
    if "waiting" in detail:
        detail = {**detail, "waiting": ", ".join(detail["waiting"]) or "nothing"}
    return error_type(text.format_map(detail))


def _step_failed(workflow: str, failures: Sequence[tuple[str, int, BaseException]]) -> StepFailed:
    errors = []
    for step, attempt, cause in failures:
        error = StepFailed(step, workflow, attempt, f"{type(cause).__name__}: {cause}")
        error.__cause__ = cause
        errors.append(error)
    return errors[0] if len(errors) == 1 else StepsFailed(errors)


def _circle(waits: Sequence[tuple[object, str, str]]) -> str:
    """Return the text for a circle of waits: (step, its workflow, who it waits for), its closer first."""
    # A submitted task is known by its callable.
    named = [(getattr(step, "__name__", step), workflow, wanted) for step, workflow, wanted in waits]
    (step, workflow, wanted), *others = named
    if not others and workflow == wanted:
        return (
            f"step {step!r} of workflow {workflow!r} waits for its own run, which cannot end before the step "
            "does; return the value from the step instead"
        )
    chain = "".join(
        f", whose step {other!r} waits for a run of workflow {next_!r}" for other, _, next_ in others
    )
    return (
        f"step {step!r} of workflow {workflow!r} waits for a run of workflow {wanted!r}{chain}, which cannot "
        f"end before step {step!r} does; return a value from one of them instead of waiting for it"
    )
