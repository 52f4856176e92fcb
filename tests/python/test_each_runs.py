"""Runs with `tr.each`: ends, threads, priorities, waits for themselves; and they leave no memory behind."""

from __future__ import annotations

import asyncio
import gc
import sys
import threading

import pytest
import tailrace as tr

WAIT_S = 20.0


@tr.step
def square(x):
    return x * x


@tr.step
def total(xs):
    return sum(xs)


@tr.step
def count_to(n):
    return range(n)


@tr.step
async def square_later(x):
    await asyncio.sleep(0)
    return x * x


@tr.step(blocking=True)
def square_apart(x):
    return x * x


KINDS = {"sync": square, "async": square_later, "blocking": square_apart}


@tr.workflow
def squares(items):
    return tr.each(square, items)


def test_in_virtual_time_each_item_costs_its_step_on_a_worker_of_its_own(make_runtime):
    clock = tr.VirtualClock(seed=5)
    rt = make_runtime(workers=3, clock=clock)
    slow = tr.step(lambda x: x)
    tr.testing.cost(slow, 2.0)
    run = tr.workflow(lambda n: tr.each(slow, count_to(n))).options(runtime=rt).start(7)
    assert run.result() == list(range(7))
    assert clock.now_s == 6.0
    starts = sorted(record.started_s for record in run.history() if record.step != "count_to")
    assert starts == [0.0] * 3 + [2.0] * 3 + [4.0]
    assert len({record.worker for record in run.history()}) == 3


@pytest.mark.parametrize("end", ["deadline", "cancel"])
def test_a_deadline_or_a_cancel_stops_what_has_not_begun(make_runtime, end):
    clock = tr.VirtualClock(seed=2)
    rt = make_runtime(workers=2, clock=clock)
    begun = []
    slow = tr.step(begun.append)
    tr.testing.cost(slow, 1.0)
    wf = tr.workflow(lambda n: tr.each(slow, count_to(n))).options(
        runtime=rt, deadline_s=2.5 if end == "deadline" else 99
    )
    run = wf.start(100)
    clock.advance(2.5)
    if end == "cancel":
        assert run.cancel()
    clock.run_until_idle()
    assert begun == list(range(6))
    with pytest.raises(tr.DeadlineExceeded if end == "deadline" else tr.Cancelled):
        run.result()


@pytest.mark.parametrize("kind", KINDS)
def test_a_cancel_while_items_run_ends_the_run_and_leaves_nothing_in_flight(rt, kind):
    begun = threading.Event()
    go_on = threading.Event()

    async def later(x):
        begun.set()
        await asyncio.sleep(WAIT_S)
        return x

    def body(x):
        begun.set()
        go_on.wait(WAIT_S)
        return x

    step = tr.step(later) if kind == "async" else tr.step(body, blocking=kind == "blocking")
    run = tr.workflow(lambda n: tr.each(step, count_to(n))).options(runtime=rt).start(50)
    assert begun.wait(WAIT_S)
    assert run.cancel()
    go_on.set()
    assert run.state == "cancelled"
    assert rt.drain(WAIT_S)


def meeting(**options):
    """A step whose bodies wait for each other, two by two; it has no other cost."""
    meet = threading.Barrier(2)

    @tr.step(**options)
    def wait(x):
        meet.wait(WAIT_S)
        return x

    return wait


@pytest.mark.parametrize("how", ["called", "started", "awaited"])
def test_items_of_unknown_length_are_run_by_several_threads_at_once(rt, how):
    wf = tr.workflow(lambda xs: tr.each(step, xs)).options(runtime=rt)
    step = meeting()

    async def wait():
        return await wf.start([1, 2])

    runs = {"called": lambda: wf([1, 2]), "started": lambda: wf.start([1, 2]).result(WAIT_S)}
    assert (asyncio.run(wait()) if how == "awaited" else runs[how]()) == [1, 2]


def test_blocking_items_run_beside_each_other_on_a_runtime_with_one_worker(make_runtime):
    step = meeting(blocking=True)
    wf = tr.workflow(lambda xs: tr.each(step, xs)).options(runtime=make_runtime(workers=1))
    assert wf([1, 2, 3, 4]) == [1, 2, 3, 4]


def test_leaving_a_runtime_by_an_exception_ends_a_run_in_the_middle_of_its_items():
    begun = threading.Event()
    go_on = threading.Event()

    @tr.step
    def wait(x):
        begun.set()
        go_on.wait(WAIT_S)
        return x

    wf = tr.workflow(lambda xs: tr.each(wait, xs))
    with pytest.raises(KeyError), tr.Runtime(workers=1) as rt:  # noqa: PT012
        run = wf.options(runtime=rt).start(range(100))
        assert begun.wait(WAIT_S)
        threading.Timer(0.05, go_on.set).start()
        raise KeyError
    assert run.state == "cancelled"
    assert rt.drain(WAIT_S)
    tr.testing.check_accounting(rt)


def test_a_run_that_is_raised_in_priority_between_items_goes_on_with_them(virtual, clock):
    slow = tr.step(lambda x: x)
    tr.testing.cost(slow, 1.0)
    run = (
        tr.workflow(lambda xs: tr.each(slow, xs))
        .options(runtime=virtual, priority=tr.Priority.LOW)
        .start(range(9))
    )
    clock.advance(1.5)
    assert run.set_priority(tr.Priority.HIGH)
    assert run.result() == list(range(9))


def test_a_step_of_each_may_call_workflows_with_each(rt):
    @tr.step
    def inside(n):
        return sum(squares([n, n]))

    assert tr.workflow(lambda xs: tr.each(inside, xs)).options(runtime=rt)([1, 2, 3]) == [2, 8, 18]


def test_an_item_that_waits_for_its_own_run_is_a_deadlock_error(rt):
    runs = []
    started = threading.Event()

    @tr.step
    def wait(_x):
        assert started.wait(WAIT_S)
        return runs[0].result()

    runs.append(tr.workflow(lambda xs: tr.each(wait, xs)).options(runtime=rt).start([1]))
    started.set()
    assert isinstance(runs[0].exception(WAIT_S).__cause__, tr.Deadlock)
    runs.clear()


def test_calls_leave_no_block_of_memory_behind(rt):
    sync = tr.workflow(lambda xs: total(tr.each(square, xs))).options(runtime=rt)
    blocking = tr.workflow(lambda xs: total(tr.each(square_apart, xs))).options(runtime=rt)

    def work(times):
        for _ in range(times):
            sync([1, 2, 3])
            sync.start([1, 2, 3]).history()
            blocking([1, 2])
            with pytest.raises(tr.StepFailed):
                sync([1, "two"])
        assert rt.drain(WAIT_S)
        gc.collect()

    work(200)
    grown = []
    for _ in range(4):  # the least of some: other threads of the process allocate too
        before = sys.getallocatedblocks()
        work(100)
        grown.append(sys.getallocatedblocks() - before)
    assert min(grown) <= 20, grown


@pytest.mark.parametrize("kind", [SystemExit, KeyboardInterrupt])
def test_a_base_exception_of_an_item_reaches_the_awaiter_as_it_is(rt, kind):
    original = kind("as it is")

    @tr.step
    def leave(x):
        if x == 2:
            raise original
        return x

    run = tr.workflow(lambda xs: tr.each(leave, xs)).options(runtime=rt).start(range(5))
    assert rt.drain(WAIT_S)
    with pytest.raises(kind) as caught:
        run.result(WAIT_S)
    assert caught.value is original
