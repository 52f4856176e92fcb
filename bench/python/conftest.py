"""Runs one work on one engine under pytest-benchmark; three turns, so that the engines alternate.

    pytest bench/python --benchmark-json FILE          then: python bench/report.py FILE
    pytest bench/python --peers dask,langgraph         rivals that have to be installed, too

Each row of the goals is one benchmark group; `extra_info` carries what a report needs: row, engine, unit
and how many operations a call has.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest
from tailrace._bench import peers, timing

_TURNS = 3
_SECONDS = 0.3
_MOST_ROUNDS = 2000
_works: dict[str, timing.Work] = {}


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the names of rivals that have to be installed."""
    parser.addoption("--peers", default="", help=f"further rivals: {', '.join(peers.PEERS)}")


def pytest_configure(config: pytest.Config) -> None:
    """Gather the works once, with the rivals that were asked for."""
    found = peers.add(timing.all_works(), peers.wanted(config.getoption("--peers")))
    _works.update({work.id: work for work in found})


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Give each test its work's engines, in turn: A, B, C, A, B, C, ..."""
    mark = metafunc.definition.get_closest_marker("benchmark")
    if mark is None or "engine" not in metafunc.fixturenames:
        return
    work = _works[mark.kwargs["group"]]
    turns = [(engine, turn) for turn in range(1, _TURNS + 1) for engine in work.engines]
    metafunc.parametrize(("engine", "turn"), turns, ids=[f"{engine}-{turn}" for engine, turn in turns])


@pytest.fixture
def measure(benchmark) -> Callable[[str], None]:
    """Return a function that measures an engine on the row that the test's group names."""
    work = _works[benchmark.group]

    def run(engine: str) -> None:
        with work.engines[engine]() as op:
            began = time.perf_counter()
            timing.check(work, engine, op.call())
            timing.check(work, engine, op.call())
            each_s = (time.perf_counter() - began) / 2 + work.pause_s
            benchmark.extra_info.update(
                row=work.id, work=work.title, unit=work.unit, engine=engine, operations=op.operations
            )
            rounds = min(max(int(_SECONDS / each_s), 2), _MOST_ROUNDS)
            answer = benchmark.pedantic(op.call, setup=lambda: time.sleep(work.pause_s), rounds=rounds)
            timing.check(work, engine, answer)

    return run
