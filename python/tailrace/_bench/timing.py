"""Measures works: every engine once per pass, in turn, so that what the machine does hits all of them."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass
from statistics import median

from tailrace._bench.rows import Row

_SCALES = {"us": 1e6, "ms": 1e3}


@dataclass(frozen=True)
class Op:
    """One timed call.

    Args:
        call: does the work and returns its answer.
        operations: how many times `call` does it.
        measured_s: what the last call has measured itself, in seconds, where that counts instead of its time.
        figure: what the last call has measured itself, where that is no time.
    """

    call: Callable[[], object]
    operations: int = 1
    measured_s: Callable[[], float] | None = None
    figure: Callable[[], float] | None = None


@dataclass(frozen=True)
class Work:
    """What is measured, and who does it.

    Args:
        id: the row in the goals.
        title: what is done, and by which thread where that matters.
        unit: "us" or "ms" for the time of one operation, "/s" for operations per second, "B" for bytes.
        expected: the answer of every engine's call.
        engines: opens each engine; the one to be judged is called `tailrace`.
        pause_s: seconds to sleep before each call, so that the engine's threads have parked.
        quantile: what stands for the calls of a pass: 0.5, their median, or a tail.
        least_calls: of one pass, whatever time they take: a tail needs some.
        flops: operations of one call, for its share of the roofline; 0 where nothing is to be counted.
        bytes: the least that one call moves, for the same.
    """

    id: str
    title: str
    unit: str
    expected: object
    engines: Mapping[str, Callable[[], AbstractContextManager[Op]]]
    pause_s: float = 0.0
    quantile: float = 0.5
    least_calls: int = 1
    flops: int = 0
    bytes: int = 0


class WrongAnswer(Exception):
    """An engine returned something else than the work's answer."""


def value(unit: str, seconds: float) -> float:
    """Return the time of one operation in the unit of its row.

    >>> value("us", 0.001), value("/s", 0.001)
    (1000.0, 1000.0)
    """
    return 1 / seconds if unit == "/s" else seconds * _SCALES[unit]


def check(work: Work, engine: str, answer: object) -> None:
    """Compare an answer.

    Raises:
        WrongAnswer: if it is not the one of the work.
    """
    if answer != work.expected:
        raise WrongAnswer(f"{work.id}: {engine} answered {answer!r}, expected {work.expected!r}")


def measure(work: Work, passes: int, budget_s: float, progress: Callable[[str], object]) -> Row:
    """Run all engines of `work` in turn and return their row.

    Args:
        passes: turns per engine; the value of a pass is the median of its calls.
        budget_s: seconds that the calls of one pass should take together; at least one is made.
        progress: is told what is being done.
    """
    row = Row(work.id, work.title, work.unit)
    with ExitStack() as stack:
        ops = {name: stack.enter_context(opened()) for name, opened in work.engines.items()}
        for name, op in ops.items():  # warm: first traces, thread starts
            progress(f"{work.id}: warming {name}")
            check(work, name, op.call())
        for turn in range(1, passes + 1):
            for name, op in ops.items():
                progress(f"{work.id}: {work.title}, pass {turn} of {passes}, {name}")
                seconds = _one_pass(work, name, op, budget_s)
                row.add(name, value(work.unit, seconds) if op.figure is None else op.figure())
    return row


def _one_pass(work: Work, name: str, op: Op, budget_s: float) -> float:
    samples: list[float] = []
    spent = 0.0
    while len(samples) < work.least_calls or spent < budget_s:
        if work.pause_s:
            time.sleep(work.pause_s)
        began = time.perf_counter()
        answer = op.call()
        took = time.perf_counter() - began
        check(work, name, answer)
        samples.append(took if op.measured_s is None else op.measured_s())
        spent += took + work.pause_s
    return _quantile(samples, work.quantile) / op.operations


def _quantile(samples: list[float], quantile: float) -> float:
    """Return the nearest rank; the median of an even number is the mean of two.

    >>> _quantile([3.0, 1.0, 2.0, 4.0], 0.5), _quantile([3.0, 1.0, 2.0, 4.0], 0.99)
    (2.5, 4.0)
    """
    if quantile == 0.5:
        return median(samples)
    return sorted(samples)[min(int(quantile * len(samples)), len(samples) - 1)]


class Progress:
    """One line on the error stream that says what is being done; whole lines where it is no terminal."""

    def __init__(self) -> None:
        self._live = sys.stderr.isatty()
        self._last = ""

    def __call__(self, text: str) -> None:
        """Show `text` instead of the last one."""
        if self._live:
            sys.stderr.write(f"\r\x1b[K{text[:100]}")
        elif text.split(":", maxsplit=1)[0] != self._last:
            self._last = text.split(":", maxsplit=1)[0]
            sys.stderr.write(f"measuring {self._last}\n")
        sys.stderr.flush()

    def clear(self) -> None:
        """Leave an empty line to write on."""
        if self._live:
            sys.stderr.write("\r\x1b[K")
            sys.stderr.flush()


def all_works() -> list[Work]:
    """Return the works of the Python rows, in the order of the goals."""
    from tailrace._bench import (
        awaits,
        buffers,
        cfuncs,
        convoys,
        crossings,
        diamonds,
        executors,
        fans,
        gc_pauses,
        matmuls,
        parallel_python,
        sleeps,
        submits,
    )

    groups = (
        submits,
        executors,
        diamonds,
        matmuls,
        fans,
        awaits,
        cfuncs,
        sleeps,
        convoys,
        gc_pauses,
        parallel_python,
        crossings,
        buffers,
    )
    return [work for group in groups for work in group.works()]


def chosen(works: Iterable[Work], only: str | None) -> list[Work]:
    """Return the works whose row is named by `only`, as in "P1,P5.awaited"; all of them for None.

    Raises:
        ValueError: if `only` names no row.
    """
    works = list(works)
    if only is None:
        return works
    names = [name.strip() for name in only.split(",")]
    for name in names:
        if not any(_named(work, name) for work in works):
            raise ValueError(f"no row is called {name!r}; there are {', '.join(work.id for work in works)}")
    return [work for work in works if any(_named(work, name) for name in names)]


def _named(work: Work, name: str) -> bool:
    return work.id == name or work.id.startswith(f"{name}.")
