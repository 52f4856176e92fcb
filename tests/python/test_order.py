"""In which order queued runs go: priority, deadline, service; and how a queued one changes its place."""

from __future__ import annotations

import random
import threading

import pytest
import tailrace as tr

WAIT_S = 60


def one_worker(make_runtime, seed=1):
    clock = tr.VirtualClock(seed=seed)
    return make_runtime(workers=1, clock=clock), clock


def chain(name, steps, cost_s):
    """A workflow of `steps` steps in a row, each of which takes `cost_s` virtual seconds."""
    work = tr.testing.cost(tr.step(lambda x: x), cost_s)

    def body(x):
        for _ in range(steps):
            x = work(x)
        return x

    body.__name__ = name
    return tr.workflow(body)


def latencies_of_short_runs(make_runtime, long_runs, seed):
    runtime, clock = one_worker(make_runtime, seed)
    long = chain("long", 200, 0.050).options(runtime=runtime)
    short = chain("short", 3, 0.001).options(runtime=runtime)
    behind = [long.start(1) for _ in range(long_runs)]
    clock.advance(4.0)  # so that each of the long ones has had a step at least
    took = []
    for _ in range(10):
        run, began = short.start(1), clock.now_s
        run.result()
        took.append(clock.now_s - began)
        clock.advance(0.1)
    assert not any(run.done() for run in behind)
    for run in behind:
        run.cancel()
    clock.run_until_idle()
    return took


@pytest.mark.parametrize("seed", range(5))
def test_a_short_run_does_not_wait_for_long_ones_however_many_there_are(make_runtime, seed):
    beside_few = latencies_of_short_runs(make_runtime, 2, seed)
    beside_many = latencies_of_short_runs(make_runtime, 60, seed)
    # At most the step that runs: back in the lane the run goes first. And now and then one by ageing.
    assert max(beside_few) <= 0.050 + 0.003 + 2 * 0.050 + 1e-9
    assert max(beside_many) <= 0.050 + 0.003 + 2 * 0.050 + 1e-9
    assert sum(beside_many) <= sum(beside_few) + 0.101


def test_long_runs_of_equal_service_share_and_all_end(make_runtime):
    runtime, clock = one_worker(make_runtime)
    long = chain("long", 20, 0.050).options(runtime=runtime)
    runs = [long.start(i) for i in range(5)]
    assert [run.result() for run in runs] == list(range(5))
    assert clock.now_s == pytest.approx(5 * 20 * 0.050)


@pytest.mark.parametrize("seed", range(10))
def test_the_earliest_deadline_goes_first_and_meets_what_the_order_of_arrival_would_miss(make_runtime, seed):
    runtime, clock = one_worker(make_runtime, seed)
    rng = random.Random(seed)
    work = chain("work", 1, 1.0)
    deadlines = [k + 1.5 for k in range(12)]  # feasible, just: the k-th must be among the first k + 1
    rng.shuffle(deadlines)
    runs = [work.options(runtime=runtime, deadline_s=d).start(1) for d in deadlines]
    clock.run_until_idle()
    assert [run.state for run in runs] == ["ok"] * 12
    missed_in_order_of_arrival = sum(k + 1 > deadline for k, deadline in enumerate(deadlines))
    assert missed_in_order_of_arrival > 0


def test_a_deadline_orders_within_its_priority_only(make_runtime):
    runtime, clock = one_worker(make_runtime)
    order = []
    note = tr.testing.cost(tr.step(order.append), 1.0)
    work = tr.workflow(lambda x: note(x))
    work.options(runtime=runtime, priority=tr.Priority.LOW, deadline_s=50.0).start("low, deadline")
    work.options(runtime=runtime).start("normal")
    work.options(runtime=runtime, deadline_s=60.0).start("normal, late deadline")
    work.options(runtime=runtime, deadline_s=40.0).start("normal, deadline")
    work.options(runtime=runtime, priority=tr.Priority.HIGH).start("high")
    clock.run_until_idle()
    assert order == ["high", "normal, deadline", "normal, late deadline", "normal", "low, deadline"]


def test_a_queued_run_that_is_raised_overtakes_and_one_that_is_lowered_falls_behind(make_runtime):
    runtime, clock = one_worker(make_runtime)
    order = []
    note = tr.testing.cost(tr.step(order.append), 1.0)
    work = tr.workflow(lambda x: note(x)).options(runtime=runtime)
    runs = [work.start(i) for i in range(6)]
    assert runs[4].set_priority(tr.Priority.HIGH)
    assert runs[1].set_priority(tr.Priority.LOW)
    assert runs[2].set_priority(tr.Priority.LOW)
    assert runs[2].set_priority(tr.Priority.HIGH)  # changed its mind
    clock.run_until_idle()
    assert set(order[:2]) == {2, 4}
    assert order[5] == 1
    assert sorted(order) == list(range(6))
    assert not runs[0].set_priority(tr.Priority.HIGH)  # it has ended


def test_a_run_keeps_its_new_priority_for_the_steps_to_come(make_runtime):
    runtime, clock = one_worker(make_runtime)
    raised = chain("raised", 4, 0.010).options(runtime=runtime).start(1)
    other = chain("other", 4, 0.010).options(runtime=runtime).start(1)
    raised.set_priority(tr.Priority.LOW)
    other.result()
    assert not raised.done()
    clock.run_until_idle()
    assert raised.result() == 1


def test_a_queued_task_that_is_raised_overtakes(make_runtime):
    runtime = make_runtime(workers=1)
    begun, go, order = threading.Event(), threading.Event(), []

    def hold():
        begun.set()
        assert go.wait(WAIT_S)

    holder = runtime.submit(hold)
    assert begun.wait(WAIT_S)
    assert not holder.set_priority(tr.Priority.HIGH)  # it runs
    # The open gate lets another worker in, of which there is none: these wait for the one worker.
    tasks = [runtime.submit(order.append, i) for i in range(8)]
    assert tasks[6].set_priority(tr.Priority.HIGH)
    assert tasks[0].set_priority(tr.Priority.LOW)
    go.set()
    assert runtime.drain(WAIT_S)
    assert order[0] == 6
    assert order[-1] == 0
    assert sorted(order) == list(range(8))
    assert not tasks[1].set_priority(tr.Priority.HIGH)


@pytest.mark.parametrize("seed", range(20))
def test_whatever_changes_its_place_runs_once_and_is_counted_once(make_runtime, seed):
    runtime, clock = one_worker(make_runtime, seed)
    rng = random.Random(seed)
    ran = []
    note = tr.step(lambda x: ran.append(x) or x)
    work = tr.workflow(lambda x: note(note(x))).options(runtime=runtime)
    queued = [work.start(i) if i % 2 else runtime.submit(ran.append, i) for i in range(40)]
    for _ in range(120):
        one = rng.choice(queued)
        one.set_priority(rng.choice(list(tr.Priority)))
        if rng.random() < 0.05:
            one.cancel()
        if rng.random() < 0.2:
            clock.advance(0)
    clock.run_until_idle()
    ended = [one for one in queued if one.done()]
    assert len(ended) == 40
    assert all(ran.count(i) <= (2 if i % 2 else 1) for i in range(40))
    counts = runtime.statistics()
    assert counts.submitted == counts.ok + counts.cancelled == 40


def test_a_stop_ends_what_stands_in_the_lane_twice_once(make_runtime):
    runtime = make_runtime(workers=1)
    begun, go = threading.Event(), threading.Event()

    def hold():
        begun.set()
        assert go.wait(WAIT_S)

    runtime.submit(hold)
    assert begun.wait(WAIT_S)
    work = tr.workflow(lambda x: tr.step(lambda y: y)(x)).options(runtime=runtime)
    queued = [work.start(1), runtime.submit(int), work.start(2), runtime.submit(int)]
    for one in queued:
        one.set_priority(tr.Priority.HIGH)
    go.set()
    runtime.close()
    counts = runtime.statistics()
    assert counts.in_flight == 0
    assert counts.submitted == counts.ok + counts.cancelled == 5


@pytest.mark.parametrize("wrong", [0, "HIGH", None, 2.0])
def test_only_a_priority_is_taken_for_one(make_runtime, wrong):
    runtime, clock = one_worker(make_runtime)
    run = chain("any", 1, 1.0).options(runtime=runtime).start(1)
    task = runtime.submit(int)
    for one in (run, task):
        with pytest.raises(TypeError, match=r"must be a tr\.Priority such as tr\.Priority\.HIGH, got"):
            one.set_priority(wrong)
    clock.run_until_idle()


def test_a_task_of_an_executor_has_no_priority():
    with tr.Executor(max_workers=1) as executor:
        begun, go = threading.Event(), threading.Event()
        executor.submit(lambda: begun.set() or go.wait(WAIT_S))
        assert begun.wait(WAIT_S)
        task = executor.submit(int)
        with pytest.raises(RuntimeError, match="only a task of a runtime has a priority"):
            task.set_priority(tr.Priority.HIGH)
        go.set()
