"""Each op on each engine that is installed, three turns, so that the engines alternate."""

import time

import pytest
from tailrace._bench import kernels, timing

_SECONDS = 0.3
_WORKS = kernels.works()
_TURNS = [(work, engine, turn) for work in _WORKS for turn in (1, 2, 3) for engine in work.engines]


@pytest.mark.parametrize(
    ("work", "engine"),
    [
        pytest.param(
            work, engine, id=f"{work.id}-{engine}-{turn}", marks=pytest.mark.benchmark(group=work.id)
        )
        for work, engine, turn in _TURNS
    ],
)
def test_an_op(benchmark, work, engine):
    with work.engines[engine]() as op:
        began = time.perf_counter()
        timing.check(work, engine, op.call())
        each_s = time.perf_counter() - began
        benchmark.extra_info.update(
            row=work.id, work=work.title, unit=work.unit, engine=engine, operations=op.operations
        )
        timing.check(
            work, engine, benchmark.pedantic(op.call, rounds=min(max(int(_SECONDS / each_s), 2), 500))
        )
