"""The engines: the same answers from each, and errors that reach the one who asked."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import pytest
from tailrace.demos import pools, replay, steps
from tailrace.demos.pools import Engine
from tailrace.demos.workflow import Tailrace

WAIT_S = 30


@pytest.fixture(params=["tailrace", "tpe_steps", "tpe_whole"])
def engine(request: pytest.FixtureRequest, recommender: steps.Recommender) -> Iterator[Engine]:
    made: Engine
    if request.param == "tailrace":
        made = Tailrace(recommender, workers=2)
    elif request.param == "tpe_steps":
        made = pools.StepByStep(recommender.steps(), steps.GRAPH, workers=2)
    else:
        made = pools.WholeRequests(recommender.answer, workers=2)
    assert made.name == request.param
    yield made
    made.close()


def test_the_engines_agree_on_two_hundred_requests(
    engine: Engine, recommender: steps.Recommender, lines: list[str]
) -> None:
    tally = replay.open_loop(engine, lines, [0.0] * len(lines))
    assert tally.ends == {"ok": 200}
    assert tally.answers == [recommender.answer(line) for line in lines]


def test_a_closed_loop_ends_with_nothing_in_flight(engine: Engine, lines: list[str]) -> None:
    assert replay.closed_loop(engine, lines, 0.2, window=8) > 0


def test_an_error_in_a_step_reaches_the_one_who_asked(engine: Engine) -> None:
    ended = threading.Event()
    ends: list[tuple[Any, BaseException | None]] = []

    def done(answer: str | None, error: BaseException | None) -> None:
        ends.append((answer, error))
        ended.set()

    engine.start('{"user": 99999, "viewing": 0}', done)
    assert ended.wait(WAIT_S)
    answer, error = ends[0]
    assert answer is None
    assert error is not None
    cause = error if isinstance(error, ValueError) else error.__cause__
    assert isinstance(cause, ValueError)
    assert "99999" in str(cause)
    assert replay.outcome_of(error) == "failed"


def test_the_step_pool_waits_only_for_the_nearest_predecessors() -> None:
    needed = pools._needed_edges(steps.GRAPH)
    assert needed["merge"] == {"popular", "same_authors", "neighbours"}
    assert needed["features"] == {"merge"}
    assert needed["respond"] == {"diversify"}
    assert needed["parse"] == set()


def test_a_failed_branch_ends_a_request_of_the_step_pool_once() -> None:
    def broken(value: str) -> str:
        raise ValueError(value)

    ended = threading.Semaphore(0)
    ends: list[BaseException | None] = []

    def done(answer: str | None, error: BaseException | None) -> None:
        ends.append(error)
        ended.release()

    graph = {"one": ("line",), "two": ("line",), "both": ("one", "two")}
    pool = pools.StepByStep({"one": broken, "two": broken, "both": lambda a, b: a + b}, graph, workers=2)
    pool.start("x", done)
    assert ended.acquire(timeout=WAIT_S)
    pool._pool.shutdown(wait=True)
    assert len(ends) == 1


def test_closing_a_pool_ends_what_is_queued_as_cancelled(
    recommender: steps.Recommender, lines: list[str]
) -> None:
    for pool in (
        pools.WholeRequests(recommender.answer, 1),
        pools.StepByStep(recommender.steps(), steps.GRAPH, 1),
    ):
        ends: list[BaseException | None] = []
        for line in lines[:20]:
            pool.start(line, lambda answer, error, ends=ends: ends.append(error))  # type: ignore[misc]
        pool.close()
        assert len(ends) == 20
        assert {type(error).__name__ for error in ends} <= {"NoneType", "CancelledError", "RuntimeError"}
