"""P5 and P6: a diamond of ten trivial steps, called, awaited, and awaited by 64 asyncio tasks."""

import pytest


@pytest.mark.benchmark(group="P5")
def test_the_diamond_called(measure, engine, turn):
    measure(engine)


@pytest.mark.benchmark(group="P5.awaited")
def test_the_diamond_awaited(measure, engine, turn):
    measure(engine)


@pytest.mark.benchmark(group="P6")
def test_the_diamond_awaited_by_64_tasks(measure, engine, turn):
    measure(engine)
