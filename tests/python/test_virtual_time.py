"""The virtual clock: no threads, no waiting, the same seed gives the same run."""

from __future__ import annotations

import asyncio
import threading

import pytest
import tailrace as tr


@tr.step
async def nap(seconds):
    await tr.sleep(seconds)
    return seconds


napping = tr.workflow(lambda seconds: nap(seconds))


def test_a_virtual_runtime_starts_no_thread(virtual):
    before = threading.active_count()
    assert virtual.submit(pow, 2, 5).result() == 32
    assert napping.options(runtime=virtual)(10) == 10
    assert threading.active_count() == before


def test_an_hour_passes_at_once(virtual, clock):
    assert napping.options(runtime=virtual)(3600) == 3600
    assert clock.now_s == pytest.approx(3600)


def test_advance_fires_only_the_timers_within(virtual, clock):
    runs = [napping.options(runtime=virtual).start(seconds) for seconds in (1, 2, 3)]
    clock.advance(2.5)
    assert [run.done() for run in runs] == [True, True, False]
    assert clock.now_s == pytest.approx(2.5)
    clock.run_until_idle()
    assert runs[2].result() == 3


def test_sleeps_of_parallel_steps_overlap(virtual, clock):
    wf = tr.workflow(lambda: [nap(5), nap(7), nap(6)])
    assert wf.options(runtime=virtual)() == [5, 7, 6]
    assert clock.now_s == pytest.approx(7)


def test_costs_of_parallel_steps_overlap_on_logical_workers(make_runtime):
    clock = tr.VirtualClock(seed=1)
    runtime = make_runtime(workers=2, clock=clock)
    work = tr.testing.cost(tr.step(lambda x: x), 1.0)
    runs = [tr.workflow(lambda: work(1)).options(runtime=runtime).start() for _ in range(4)]
    clock.run_until_idle()
    assert [run.result() for run in runs] == [1] * 4
    assert clock.now_s == pytest.approx(2.0)


def test_the_same_seed_gives_the_same_order(make_runtime):
    def order(seed):
        log = []
        note = tr.step(log.append)
        runtime = make_runtime(clock=tr.VirtualClock(seed=seed))
        for i in range(40):
            tr.workflow(lambda i: note(i)).options(runtime=runtime).start(i)
        runtime.drain()
        return log

    assert order(3) == order(3)
    assert sorted(order(4)) == list(range(40))


def test_nothing_to_run_and_no_timer_is_stalled_with_what_waits_and_the_seed(virtual):
    @tr.step
    async def forever():
        await asyncio.get_running_loop().create_future()

    @tr.workflow
    def hopeless():
        return forever()

    run = hopeless.options(runtime=virtual).start()
    with pytest.raises(tr.Stalled, match="hopeless") as caught:
        run.result()
    assert "VirtualClock(seed=0" in "".join(caught.value.__notes__)
    run.cancel()
    virtual.clock.run_until_idle()


def test_a_coroutine_runs_on_the_virtual_loop(virtual, clock):
    async def main():
        await tr.sleep(10)
        return [x async for x in napping.options(runtime=virtual).stream([3, 1, 2])]

    assert clock.run(main()) == [3, 1, 2]
    assert clock.now_s == pytest.approx(13)


def test_a_coroutine_that_waits_for_ever_is_stalled(virtual, clock):
    async def main():
        await asyncio.get_running_loop().create_future()

    with pytest.raises(tr.Stalled, match="waits for something that never comes"):
        clock.run(main())


def test_a_virtual_run_can_be_awaited_on_a_real_loop(virtual, clock):
    async def main():
        return await napping.options(runtime=virtual).start(3600)

    assert asyncio.run(main()) == 3600
    assert clock.now_s == pytest.approx(3600)


def test_closing_a_virtual_runtime_ends_its_loop(virtual, clock):
    run = napping.options(runtime=virtual).start(5)
    clock.advance(1)
    virtual.close()
    assert run.state == "cancelled"
    assert clock.loop.is_closed()
    assert clock.now_s == pytest.approx(1)


def test_the_repr_shows_the_seed_and_the_time(virtual, clock):
    clock.advance(1.5)
    assert repr(clock) == "VirtualClock(seed=0, now_s=1.5)"
    assert repr(clock) in repr(virtual)


@pytest.mark.parametrize(("seed", "error"), [("7", TypeError), (True, TypeError), (-1, ValueError)])
def test_a_wrong_seed_is_refused(seed, error):
    with pytest.raises(error, match="seed"):
        tr.VirtualClock(seed)


@pytest.mark.parametrize(("seconds", "error"), [(-1, ValueError), ("1", TypeError)])
def test_wrong_seconds_are_refused(virtual, clock, seconds, error):
    with pytest.raises(error, match="advance"):
        clock.advance(seconds)
    with pytest.raises(error, match="cost"):
        tr.testing.cost(nap, seconds)


def test_a_clock_has_one_runtime(virtual, clock):
    with pytest.raises(ValueError, match="is the clock of"):
        tr.Runtime(clock=clock)
    with pytest.raises(ValueError, match="has no runtime"):
        tr.VirtualClock().run_until_idle()


def test_the_cost_of_something_that_is_no_step_is_a_type_error():
    with pytest.raises(TypeError, match=r"decorate the function with @tr\.step"):
        tr.testing.cost(print, 1.0)
