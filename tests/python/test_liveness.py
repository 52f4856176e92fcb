"""Nothing hangs: helping, waiting and blocking never stop somebody else's work."""

from __future__ import annotations

import threading

import pytest
import tailrace as tr

WAIT_S = 20.0


def test_a_step_that_waits_for_its_own_run_is_a_deadlock_error_with_step_and_workflow(rt):
    box, ready = [], threading.Event()

    @tr.step
    def own():
        ready.wait(WAIT_S)
        return box[0].result()

    @tr.workflow
    def selfish():
        return own()

    box.append(selfish.options(runtime=rt).start())
    ready.set()
    with pytest.raises(tr.TailraceError) as caught:
        box[0].result(WAIT_S)
    error = caught.value if isinstance(caught.value, tr.Deadlock) else caught.value.__cause__
    assert isinstance(error, tr.Deadlock)
    assert "'own'" in str(error)
    assert "'selfish'" in str(error)


def test_a_caller_that_holds_a_lock_and_waits_never_runs_a_strangers_step(make_runtime):
    runtime = make_runtime(workers=1)
    lock, threads = threading.Lock(), []

    def stranger():
        threads.append(threading.get_ident())
        with lock:
            return True

    take = tr.step(stranger)
    strange = tr.workflow(lambda: take()).options(runtime=runtime)
    own = tr.workflow(lambda: tr.step(int)()).options(runtime=runtime)
    with lock:
        begun = strange.start()  # sits on the only worker, waiting for the lock
        queued = [strange.start() for _ in range(4)]
        submitted = runtime.submit(stranger)
        for _ in range(3):
            assert own() == 0
    assert all(run.result(WAIT_S) for run in [begun, *queued, submitted])
    main = threading.get_ident()
    assert threads.count(main) <= 5  # only by waiting for those runs themselves, after the lock was free


def test_workers_inside_long_bodies_do_not_stop_a_timer(rt):
    go, begun = threading.Event(), threading.Semaphore(0)

    @tr.step
    def hold():
        begun.release()
        return go.wait(WAIT_S)

    held = [tr.workflow(lambda: hold()).options(runtime=rt).start() for _ in range(2)]
    for _ in held:
        assert begun.acquire(timeout=WAIT_S)
    wait = tr.step(blocking=True)(lambda: go.wait(WAIT_S))
    timed = tr.workflow(lambda: wait()).options(runtime=rt, deadline_s=0.05).start()
    with pytest.raises(tr.DeadlineExceeded):
        timed.result(WAIT_S)
    assert not any(run.done() for run in held)
    go.set()
    assert all(run.result(WAIT_S) for run in held)


def test_blocking_steps_take_no_worker(make_runtime):
    runtime = make_runtime(workers=1)
    together = threading.Barrier(8)
    meet = tr.step(blocking=True)(lambda: together.wait(WAIT_S))
    runs = [tr.workflow(lambda: meet()).options(runtime=runtime).start() for _ in range(8)]
    assert sorted(run.result(WAIT_S) for run in runs) == list(range(8))


def test_a_waiting_step_is_no_obstacle_to_what_it_waits_for(make_runtime):
    runtime = make_runtime(workers=1)
    inner = tr.workflow(lambda x: tr.step(abs)(x))

    @tr.step
    def outer(x):
        return sum(inner.start(i).result() for i in range(x)) + inner(x)

    assert tr.workflow(lambda x: outer(x)).options(runtime=runtime).start(4).result(WAIT_S) == 10


def nested_ways():
    """Inner workflows that cannot be finished by the one worker whose step waits for them."""
    double = tr.step(lambda x: 2 * x)
    fetch = tr.step(blocking=True)(lambda x: x)
    other = tr.workflow(lambda x: double(x))

    async def ask(x):
        return await other.start(x)

    return {
        "a blocking step": tr.workflow(lambda x: double(fetch(x))),
        "a deadline": other.options(deadline_s=WAIT_S),
        "an async step": tr.workflow(lambda x: tr.step(ask)(x)),
    }


@pytest.mark.parametrize("way", ["a blocking step", "a deadline", "an async step"])
def test_a_step_on_the_only_worker_may_call_a_workflow_with(make_runtime, way):
    runtime = make_runtime(workers=1)
    inner = nested_ways()[way]
    outer = tr.step(lambda x: inner(x) + inner.start(x).result(WAIT_S))
    run = tr.workflow(lambda x: outer(x)).options(runtime=runtime).start(3)
    done = threading.Event()  # to wait for the run itself would be to help
    run.add_done_callback(lambda _: done.set())
    assert done.wait(WAIT_S)
    assert run.result() == 12


def test_steps_on_all_workers_may_wait_for_each_others_kind(rt):
    inner = nested_ways()["a blocking step"]
    together = threading.Barrier(2)
    outer = tr.step(lambda x: together.wait(WAIT_S) * 0 + inner(x))
    runs = [tr.workflow(lambda x: outer(x)).options(runtime=rt).start(i) for i in range(2)]
    assert [run.result(WAIT_S) for run in runs] == [0, 2]


@pytest.mark.parametrize("of", ["a run", "a task"])
def test_a_callback_may_wait_for_another_run(make_runtime, of):
    runtime = make_runtime(workers=1)
    inner = nested_ways()["a blocking step"].options(runtime=runtime)
    begun, go, done, got = threading.Event(), threading.Event(), threading.Event(), []

    def hold():
        begun.set()
        return go.wait(WAIT_S)

    def ask(_):
        got.append(inner.start(5).result(WAIT_S))
        done.set()

    held = tr.step(hold)
    first = (
        tr.workflow(lambda: held()).options(runtime=runtime).start()
        if of == "a run"
        else runtime.submit(hold)
    )
    assert begun.wait(WAIT_S)
    first.add_done_callback(ask)
    go.set()
    assert done.wait(WAIT_S)
    assert got == [10]


def test_a_step_that_drains_its_own_runtime_is_a_deadlock_error(rt):
    drain = tr.step(lambda: rt.drain())
    with pytest.raises(tr.StepFailed) as caught:
        tr.workflow(lambda: drain()).options(runtime=rt)()
    assert isinstance(caught.value.__cause__, tr.Deadlock)
    assert "'test'" in str(caught.value.__cause__)


def test_a_failed_run_is_released_though_its_traceback_leads_back_to_it(rt):
    import gc
    import weakref

    class Marked(Exception):
        pass

    def fail():
        raise Marked

    failing = tr.step(fail)

    def start():
        run = tr.workflow(lambda: failing()).options(runtime=rt).start()
        with pytest.raises(tr.StepFailed) as caught:
            run.result(WAIT_S)
        return weakref.ref(run), weakref.ref(caught.value.__cause__)

    references = start()
    rt.drain(WAIT_S)
    gc.collect()
    assert [reference() for reference in references] == [None, None]


def test_results_and_arguments_are_released_after_the_run(rt):
    import gc
    import weakref

    class Big:
        pass

    make = tr.step(lambda _: Big())
    keep = tr.step(weakref.ref)
    reference = tr.workflow(lambda x: keep(make(x))).options(runtime=rt)(Big())
    gc.collect()
    assert reference() is None


def test_failed_runs_that_nobody_awaited_are_logged(rt, caplog):
    import gc

    fail = tr.step(lambda: 1 / 0)
    tr.workflow(lambda: fail()).options(runtime=rt).start()
    rt.drain(WAIT_S)
    gc.collect()
    assert any("nobody awaited" in record.message and record.name == "tailrace" for record in caplog.records)


def test_nothing_is_ever_pickled(rt):
    class Unpicklable:
        def __reduce_ex__(self, protocol):
            raise AssertionError("pickled")

    echo = tr.step(lambda x: x)
    echo_later = tr.step(_later)
    wf = tr.workflow(lambda x: [echo(x), echo_later(x)]).options(runtime=rt)
    thing = Unpicklable()
    assert wf(thing) == [thing, thing]


async def _later(x):
    return x
