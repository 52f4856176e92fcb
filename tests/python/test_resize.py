"""Workers come and go: resize, replacements for bodies that overrun, affinity, and their statistics."""

from __future__ import annotations

import os
import threading

import pytest
import tailrace as tr

WAIT_S = 20.0


def wait_until(condition):
    """Spin until a state that must come; the suite's own limit ends a test that hangs here."""
    pause = threading.Event()
    while not condition():
        pause.wait(0.001)


def meet(runtime, count):
    """Run `count` blocking waits as plain tasks: they end only when all are inside at once."""
    barrier = threading.Barrier(count)
    futures = [runtime.submit(barrier.wait, WAIT_S) for _ in range(count)]
    wait_until(lambda: barrier.n_waiting == count or all(f.done() for f in futures))
    return sorted(f.result(WAIT_S) for f in futures) == list(range(count))


def test_a_runtime_that_grows_runs_more_bodies_at_once(make_runtime):
    runtime = make_runtime(workers=1)
    assert runtime.workers == 1
    assert runtime.max_workers == 17
    runtime.resize(3)
    assert runtime.workers == 3
    assert meet(runtime, 3)


def test_a_runtime_that_shrinks_retires_workers_and_goes_on(make_runtime):
    runtime = make_runtime(workers=4)
    assert meet(runtime, 4)
    runtime.resize(1)
    wait_until(lambda: runtime.statistics().spares == 3)
    assert runtime.statistics().threads == 4
    assert [runtime.submit(pow, i, 2).result(WAIT_S) for i in range(5)] == [0, 1, 4, 9, 16]
    runtime.resize(2)
    assert runtime.statistics().spares == 2
    assert meet(runtime, 2)


def test_a_step_may_resize_its_own_runtime(make_runtime):
    runtime = make_runtime(workers=2)
    assert runtime.submit(lambda: runtime.resize(3)).result(WAIT_S) is None
    assert runtime.workers == 3


def test_work_goes_on_and_adds_up_while_workers_come_and_go(make_runtime):
    runtime = make_runtime(workers=2, max_workers=6)
    square = tr.step(lambda x: x * x)
    flow = tr.workflow(lambda x: square(square(x))).options(runtime=runtime)
    results, errors = [], []

    def produce(base):
        try:
            futures = [runtime.submit(pow, base + i, 2) for i in range(300)]
            results.extend(flow(base + i) == (base + i) ** 4 for i in range(100))
            results.extend(f.result(WAIT_S) == (base + i) ** 2 for i, f in enumerate(futures))
        except Exception as error:
            errors.append(error)

    threads = [threading.Thread(target=produce, args=(1000 * p,)) for p in range(3)]
    for thread in threads:
        thread.start()
    size = 1
    while any(thread.is_alive() for thread in threads):
        size = size % 6 + 1
        runtime.resize(size)
    for thread in threads:
        thread.join()
    assert errors == []
    assert results == [True] * 1200
    assert runtime.drain(WAIT_S)
    tr.testing.check_accounting(runtime)


@pytest.mark.parametrize(
    ("workers", "error"),
    [(0, ValueError), (-1, ValueError), (5, ValueError), (1.5, TypeError), (True, TypeError)],
)
def test_a_wrong_number_of_workers_is_refused_and_changes_nothing(make_runtime, workers, error):
    runtime = make_runtime(workers=2, max_workers=4)
    with pytest.raises(error, match=r"resize: workers must be (an int of )?at least 1 and at most 4, got"):
        runtime.resize(workers)
    assert runtime.workers == 2


def test_resize_after_close_is_refused(make_runtime):
    runtime = make_runtime(workers=1)
    runtime.close()
    with pytest.raises(tr.RuntimeClosed, match="make a new one"):
        runtime.resize(2)


def test_a_limit_below_the_workers_or_above_all_limits_is_refused():
    with pytest.raises(ValueError, match=r"max_workers must be workers \(4\) to 256, got 2"):
        tr.Runtime(workers=4, max_workers=2)
    with pytest.raises(ValueError, match="max_workers must be at least 1 and at most 256, got 257"):
        tr.Runtime(workers=4, max_workers=257)


@pytest.mark.parametrize("affinity", ["core", 3, None, ["0"], [-1], [True]])
def test_a_wrong_affinity_is_refused_with_the_right_call(affinity):
    with pytest.raises(TypeError, match='write affinity="cores"'):
        tr.Runtime(workers=1, affinity=affinity)


def test_a_cpu_that_may_not_be_used_is_refused_by_its_number():
    with pytest.raises(ValueError, match="names CPU 65000, which this process may not use"):
        tr.Runtime(workers=1, affinity=[65000])
    with pytest.raises(ValueError, match="without one"):
        tr.Runtime(workers=1, affinity=[])


def test_pinned_workers_run_on_their_cpu_only(make_runtime):
    allowed = sorted(os.sched_getaffinity(0))
    runtime = make_runtime(workers=1, affinity="cores")
    done = threading.Event()
    seen = []
    runtime.submit(lambda: (seen.append(os.sched_getaffinity(0)), done.set()))
    assert done.wait(WAIT_S)  # not by result(): a caller that helps is no worker
    assert seen == [{allowed[0]}]
    assert sorted(os.sched_getaffinity(0)) == allowed


def test_a_virtual_runtime_is_resized_too(virtual):
    virtual.resize(2)
    assert virtual.workers == 2
    assert virtual.submit(pow, 2, 3).result() == 8


def test_a_step_that_overruns_its_deadline_is_replaced_on_its_worker(make_runtime):
    runtime = make_runtime(workers=1)
    begun, go = threading.Event(), threading.Event()

    @tr.step
    def overruns():
        begun.set()
        go.wait(WAIT_S)

    run = tr.workflow(lambda: overruns()).options(runtime=runtime, deadline_s=0.05).start()
    assert begun.wait(WAIT_S)
    with pytest.raises(tr.DeadlineExceeded):
        run.result(WAIT_S)
    wait_until(lambda: runtime.statistics().blocked == 1)
    ran = threading.Event()
    runtime.submit(ran.set)
    assert ran.wait(WAIT_S)  # the only worker still sits in the step
    assert runtime.statistics().threads == 2
    go.set()
    assert runtime.drain(WAIT_S)
    wait_until(lambda: runtime.statistics().spares == 1)
    assert runtime.statistics().blocked == 0


def test_statistics_name_lanes_threads_and_timers(make_runtime):
    runtime = make_runtime(workers=1)
    begun, go = threading.Event(), threading.Event()
    held = runtime.submit(lambda: (begun.set(), go.wait(WAIT_S)))
    assert begun.wait(WAIT_S)
    queued = [runtime.submit(pow, 2, i) for i in range(3)]
    now = runtime.statistics()
    assert now.lanes.gated == 3
    assert (now.lanes.open, now.lanes.affine, now.lanes.injection, now.lanes.deques) == ((0, 0, 0), 0, 0, 0)
    assert (now.threads, now.spares, now.blocked, now.timers_armed) == (1, 0, 0, 0)
    go.set()
    held.result(WAIT_S)
    assert [f.result(WAIT_S) for f in queued] == [1, 2, 4]
    assert runtime.drain(WAIT_S)
    wait_until(lambda: runtime.statistics().sleeping == 1)
    (worker,) = runtime.statistics().workers
    assert worker.name == f"{runtime.name}-w0"
    assert worker.items >= 1
    assert worker.gate_entries >= 1
    assert worker.injected == 0
    assert worker.busy_s > 0.0
    assert runtime.statistics().lanes.gated == 0
