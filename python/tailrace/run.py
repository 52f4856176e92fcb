"""One run of a workflow, and the records of its history."""

from __future__ import annotations

from dataclasses import dataclass

from tailrace._core import Run

__all__ = ["Run", "StepRecord"]


@dataclass(frozen=True, slots=True)
class StepRecord:
    """One attempt of one step in a run; `run.history()` returns them in the order of their start.

    Attributes:
        step: Name of the step, prefixed with the nested workflows it was called in.
        attempt: Counted from 1.
        state: How it ended, or "running".
        started_s: Seconds from the start of the run.
        duration_s: Seconds that the attempt took.
        worker: Name of the worker or helping thread that ran it.
    """

    step: str
    attempt: int
    state: str
    started_s: float
    duration_s: float
    worker: str
