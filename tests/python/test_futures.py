"""What `submit` returns is a `concurrent.futures.Future` to everything that takes one."""

from __future__ import annotations

import concurrent.futures
import gc
import logging
import subprocess
import sys
import threading
import weakref
from collections.abc import Callable

import pytest
import tailrace as tr


def test_wait_counts_a_cancelled_task_as_done() -> None:
    with tr.Runtime(workers=1) as runtime:
        hold = threading.Event()
        holder = runtime.submit(hold.wait)
        task = runtime.submit(pow, 2, 3)
        assert task.cancel()
        done, _ = concurrent.futures.wait([task], timeout=10)
        hold.set()
        holder.result()
        assert done == {task}
        with pytest.raises(concurrent.futures.CancelledError):
            task.result()


def test_a_future_cancelled_by_hand_is_done_once_its_maker_says_so() -> None:
    future = type(tr.default_runtime().submit(int))()
    assert future.cancel()
    assert concurrent.futures.wait([future], timeout=0).not_done == {future}
    assert not future.set_running_or_notify_cancel()
    assert concurrent.futures.wait([future], timeout=0).done == {future}


def test_as_completed_yields_every_task_once_while_they_end() -> None:
    with tr.Runtime(workers=2) as runtime:
        for _ in range(100):
            tasks = [runtime.submit(int) for _ in range(20)]
            assert len(list(concurrent.futures.as_completed(tasks, timeout=30))) == 20


def test_an_error_in_a_callback_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    def fail(_: object) -> None:
        raise LookupError("lost")

    with tr.Runtime(workers=1) as runtime, caplog.at_level(logging.ERROR, logger="concurrent.futures"):
        hold = threading.Event()
        task = runtime.submit(hold.wait)
        task.add_done_callback(fail)
        hold.set()
        runtime.drain()
        task.add_done_callback(fail)
    assert [record.exc_info[0] for record in caplog.records if record.exc_info] == [LookupError, LookupError]


def test_a_limit_beyond_every_clock_is_no_limit() -> None:
    with tr.Runtime(workers=1) as runtime:
        assert runtime.submit(pow, 2, 3).result(timeout=1e300) == 8

        @tr.step
        def one() -> int:
            return 1

        @tr.workflow
        def flow() -> int:
            return one()

        assert flow.options(runtime=runtime, deadline_s=1e300)() == 1


def test_a_runtime_with_a_watch_and_no_workers_can_be_dropped() -> None:
    text = """
import tailrace as tr
@tr.step
def one(): return 1
@tr.workflow
def flow(): return one()
warm = tr.Runtime(workers=1)
for _ in range(200): flow.options(runtime=warm)()
other = tr.Runtime(workers=1)
flow.options(runtime=other, deadline_s=5.0)()
del other
"""
    subprocess.run([sys.executable, "-c", text], check=True, timeout=30)


def test_two_steps_that_wait_for_each_other_are_told_so() -> None:
    runs: dict[str, tr.Run[int]] = {}
    ready = threading.Barrier(3)

    @tr.step
    def wait_for(name: str) -> int:
        ready.wait()
        return runs[name].result()

    @tr.workflow
    def flow(name: str) -> int:
        return wait_for(name)

    with tr.Runtime(workers=2) as runtime:
        for name, other in (("a", "b"), ("b", "a")):
            runs[name] = flow.options(runtime=runtime).start(other)
        ready.wait()
        errors = [runs[name].exception(timeout=30) for name in "ab"]
    assert any(isinstance(error and error.__cause__, tr.Deadlock) for error in errors)


def test_a_long_step_does_not_keep_short_ones_beside_it_waiting() -> None:
    hold = threading.Event()

    @tr.step
    def root() -> int:
        return 1

    @tr.step
    def long(_: int) -> bool:
        return hold.wait(timeout=30)

    @tr.step
    def short(_: int) -> bool:
        hold.set()
        return True

    @tr.step
    def both(a: bool, b: bool) -> bool:
        return a and b

    @tr.workflow
    def teach() -> bool:
        return short(root())

    @tr.workflow
    def flow() -> bool:
        r = root()
        return both(long(r), short(r))

    with tr.Runtime(workers=2) as runtime:
        for _ in range(100):
            teach.options(runtime=runtime)()
        hold.clear()
        assert flow.options(runtime=runtime).start().result(timeout=60)


class Box:
    """Something that can lead back to the future it belongs to."""


def lead_back_by_its_result(runtime: tr.Runtime, box: Box) -> None:
    box.future = runtime.submit(lambda: [box])
    box.future.result()


def lead_back_by_an_attribute(runtime: tr.Runtime, box: Box) -> None:
    box.future = runtime.submit(int)
    box.future.result()
    box.future.box = box


def lead_back_by_its_dictionary(runtime: tr.Runtime, box: Box) -> None:
    box.future = runtime.submit(int)
    vars(box.future)["box"] = box
    box.future.result()


def lead_back_by_its_exception(runtime: tr.Runtime, box: Box) -> None:
    def fail() -> None:
        raise LookupError(box)

    box.future = runtime.submit(fail)
    box.future.exception()


def lead_back_by_a_callback_of_one_made_by_hand(runtime: tr.Runtime, box: Box) -> None:
    box.future = type(runtime.submit(int))()
    box.future.add_done_callback(lambda _: box)


@pytest.mark.parametrize(
    "lead_back",
    [
        lead_back_by_its_result,
        lead_back_by_an_attribute,
        lead_back_by_its_dictionary,
        lead_back_by_its_exception,
        lead_back_by_a_callback_of_one_made_by_hand,
    ],
)
def test_a_future_in_a_cycle_is_collected(lead_back: Callable[[tr.Runtime, Box], None]) -> None:
    with tr.Runtime(workers=1) as runtime:
        box = Box()
        reference = weakref.ref(box)
        lead_back(runtime, box)
        runtime.drain()
        del box
        for _ in range(2):
            gc.collect()
        assert reference() is None


def test_a_runtime_with_its_own_ended_task_as_an_attribute_is_collected() -> None:
    runtime = tr.Runtime(workers=1)
    runtime.task = runtime.submit(int)  # type: ignore[attr-defined]
    runtime.task.result()
    assert runtime.close()
    reference = weakref.ref(runtime)
    del runtime
    gc.collect()
    assert reference() is None


@pytest.mark.parametrize("count", range(5))
def test_any_number_of_arguments_arrives_in_order_and_is_released(count: int) -> None:
    class Argument:
        pass

    def take(*args: object, **kwargs: object) -> tuple[int, list[str]]:
        return len(args), list(kwargs)

    with tr.Runtime(workers=1) as runtime:
        given = [Argument() for _ in range(count)]
        references = [weakref.ref(each) for each in given]
        assert runtime.submit(take, *given).result() == (count, [])
        tasks = (
            runtime.submit(take, *given, a=1, b=2),
            runtime.submit(take, **{str(i): x for i, x in enumerate(given)}),
        )
        assert tasks[0].result() == (count, ["a", "b"])
        assert tasks[1].result() == (0, [str(i) for i in range(count)])
        runtime.drain()
        del given
        assert [reference() for reference in references] == [None] * count


@pytest.mark.parametrize("ask", ["result", "exception"])
def test_a_wrong_argument_of_result_is_a_type_error_that_shows_the_call(ask: str) -> None:
    with tr.Runtime(workers=1) as runtime:
        method = getattr(runtime.submit(int), ask)
        for args, kwargs in (((1, 2), {}), ((1,), {"timeout": 2}), ((), {"limit": 1})):
            with pytest.raises(TypeError, match=rf"{ask}\(timeout=None\)"):
                method(*args, **kwargs)
        assert method(timeout=5) in (0, None)
        assert method(5) in (0, None)
