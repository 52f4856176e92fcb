"""A budget for each turn of a loop: what runs on its thread, what goes to workers, and who gets a turn."""

from __future__ import annotations

import asyncio
import time

import pytest
import tailrace as tr


@tr.step
def double(x):
    return 2 * x


doubled = tr.workflow(lambda x: double(x))


async def _later(x):
    return x


def test_awaiting_results_that_are_there_at_once_lets_others_have_their_turns(rt, run_loop):
    later = tr.workflow(lambda x: tr.step(_later)(x)).options(runtime=rt)
    wf = doubled.options(runtime=rt)
    wf.warm(1)

    async def main():
        turns, busy = 0, True

        async def ask():
            nonlocal busy
            for _ in range(100_000):
                await wf.start(1)
            busy = False

        await wf.start(1)
        for _ in range(1_000):  # starts that run no step here count for nothing
            await later.start(1)
        task = asyncio.create_task(ask())
        while busy:
            turns += 1
            await asyncio.sleep(0)
        await task
        return turns

    assert run_loop(main()) >= 3


def test_a_burst_of_starts_leaves_the_loop_when_its_turn_is_spent(rt):
    def body():
        for _ in range(500):
            pass

    step = tr.step(body)

    @tr.workflow
    def several():
        return [step() for _ in range(3)]

    wf = several.options(runtime=rt)
    wf.warm()

    async def main():
        runs = [wf.start() for _ in range(1000)]
        await asyncio.gather(*map(ask, runs))
        return [run.history()[0].worker for run in runs].count("caller")

    async def ask(run):
        return await run

    assert asyncio.run(main()) < 1000


def test_a_loop_that_is_left_in_a_long_turn_leaves_nothing_to_the_next_one(rt):
    step = tr.step(lambda: sum(range(300)))
    wf = tr.workflow(lambda: step()).options(runtime=rt)
    wf.warm()

    async def ended_at_once():
        for _ in range(5_000):
            wf.start()
        raise SystemExit  # not one more callback of this loop is called

    async def here():
        run = wf.start()
        await run
        return run.history()[0].worker == "caller"

    loop = asyncio.new_event_loop()
    with pytest.raises(SystemExit):
        loop.run_until_complete(ended_at_once())
    loop.close()
    until_s = time.monotonic() + 20.0
    while not asyncio.run(here()):  # after a tenth of a second the thread begins anew
        assert time.monotonic() < until_s
