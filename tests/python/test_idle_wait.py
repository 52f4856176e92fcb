"""How a GC guard sees that nothing is in flight: counts over all runtimes, and a sleep that ends by them."""

import os
import sys
import threading

import pytest
import tailrace as tr
from tailrace import _core

WAIT_S = 20.0
FAR_S = 1e6


@pytest.fixture(autouse=True)
def no_nudge_is_left():
    yield
    if not _core.wait_idle(_core.work_begun() - 1, 0.0, 0.0):
        return  # took it


def waiting(seen: int, quiet_s: float, limit_s: float) -> tuple[threading.Thread, list[bool]]:
    found: list[bool] = []
    thread = threading.Thread(target=lambda: found.append(_core.wait_idle(seen, quiet_s, limit_s)))
    thread.start()
    return thread, found


def test_runs_and_tasks_of_all_runtimes_are_in_flight_together(make_runtime) -> None:
    hold = threading.Event()
    runtimes = [make_runtime(workers=1, name=f"rt{i}") for i in range(2)]
    assert _core.in_flight() == 0
    begun = _core.work_begun()
    tasks = [rt.submit(hold.wait, WAIT_S) for rt in runtimes]
    assert _core.in_flight() == 2
    hold.set()
    assert all(task.result() for task in tasks)
    for rt in runtimes:
        rt.drain()
    assert (_core.in_flight(), _core.work_begun()) == (0, begun + 2)


def test_bodies_at_work_are_counted_and_those_that_wait_are_not(rt: tr.Runtime) -> None:
    began, hold, seen = threading.Event(), threading.Event(), []

    @tr.step(blocking=True)
    def wait() -> None:
        began.set()
        hold.wait(WAIT_S)

    @tr.workflow
    def waiting_for_others() -> None:
        wait()

    assert _core.bodies_running() == 0
    run = waiting_for_others.options(runtime=rt).start()
    assert began.wait(WAIT_S)
    assert (_core.in_flight(), _core.bodies_running()) == (1, 0)
    rt.submit(lambda: seen.append(_core.bodies_running())).result()
    hold.set()
    run.result(timeout=WAIT_S)
    assert seen == [1]


def test_failed_and_cancelled_work_is_no_longer_in_flight(rt: tr.Runtime) -> None:
    @tr.step
    def fail() -> None:
        raise ValueError

    @tr.workflow
    def failing() -> None:
        fail()

    with pytest.raises(tr.StepFailed):
        failing.options(runtime=rt)()
    hold = threading.Event()
    tasks = [rt.submit(hold.wait, WAIT_S) for _ in range(8)]
    cancelled = [task.cancel() for task in tasks[4:]]
    hold.set()
    rt.drain()
    assert any(cancelled)
    assert _core.in_flight() == 0


def test_the_wait_ends_when_work_has_come_and_gone(rt: tr.Runtime) -> None:
    thread, found = waiting(_core.work_begun(), 0.0, FAR_S)
    rt.submit(pow, 2, 10).result()
    thread.join(WAIT_S)
    assert found == [True]


def test_the_wait_does_not_end_by_idleness_while_a_task_is_in_flight(rt: tr.Runtime) -> None:
    hold = threading.Event()
    seen = _core.work_begun()
    task = rt.submit(hold.wait, WAIT_S)
    assert _core.wait_idle(seen, 0.0, 0.01) is False
    hold.set()
    assert task.result()
    rt.drain()
    assert _core.wait_idle(seen, 0.0, FAR_S) is True


def test_a_nudge_ends_the_wait_that_sleeps_and_one_that_comes_later() -> None:
    thread, found = waiting(_core.work_begun(), 0.0, FAR_S)
    _core.nudge_idle()
    thread.join(WAIT_S)
    _core.nudge_idle()
    assert found == [False]
    assert _core.wait_idle(_core.work_begun(), 0.0, FAR_S) is False


@pytest.mark.skipif(sys.version_info >= (3, 12), reason="a fork beside threads warns")
def test_in_a_forked_child_nothing_is_in_flight(rt: tr.Runtime) -> None:
    hold = threading.Event()
    task = rt.submit(hold.wait, WAIT_S)
    child = os.fork()
    if child == 0:
        os._exit(_core.in_flight())
    assert os.waitpid(child, 0)[1] == 0
    assert _core.in_flight() == 1
    hold.set()
    assert task.result()


def test_a_wrong_argument_is_a_type_error() -> None:
    with pytest.raises(TypeError):
        _core.wait_idle("now", 0.0, 0.0)  # type: ignore[arg-type]
