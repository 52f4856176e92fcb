"""`tr.Runtime(debug=True)`: every body on the caller's thread, at once, in order; the rest as ever."""

from __future__ import annotations

import asyncio
import logging
import sys
import threading
from contextvars import ContextVar

import pytest
import tailrace as tr

WAIT_S = 20.0
user: ContextVar[str] = ContextVar("user", default="nobody")
order: list[tuple[str, int]] = []


def told(name: str) -> None:
    order.append((name, threading.get_ident()))


@tr.step
def plain(x=0):
    told("plain")
    return x + 1


@tr.step(blocking=True)
def blocking(x=0):
    told("blocking")
    return 2 * x


@tr.step
async def later(x=0):
    await asyncio.sleep(0)
    told("later")
    return 3 * x


@tr.workflow
def mixed(x):
    found = []
    for _ in range(3):
        first = plain(x)
        found += [blocking(first), later(later(first)), plain(x)]
    return found


IN_ORDER = ["plain", "blocking", "later", "later", "plain"] * 3
ANSWER = [4, 18, 2] * 3


@pytest.fixture
def debug(make_runtime):
    return make_runtime(debug=True, name="debug")


@pytest.fixture(autouse=True)
def fresh():
    order.clear()


def names():
    assert {thread for _, thread in order} <= {threading.get_ident()}
    return [name for name, _ in order]


def test_start_runs_the_whole_plan_here_in_order_before_it_returns(debug):
    run = mixed.options(runtime=debug).start(1)
    assert names() == IN_ORDER
    assert (run.state, run.done(), run.result(0)) == ("ok", True, ANSWER)
    assert {record.worker for record in run.history()} == {"caller"}
    assert [record.step for record in run.history()][:-1] == IN_ORDER  # the last one gathers


def test_a_call_map_and_with_do_the_same_and_no_thread_is_made(debug):
    before = threading.active_count()
    assert mixed.options(runtime=debug)(1) == ANSWER
    assert list(mixed.options(runtime=debug).map([1, 1])) == [ANSWER] * 2
    assert names() == IN_ORDER * 3
    assert threading.active_count() == before
    now = debug.statistics()
    assert (now.submitted, now.ok, now.threads, now.blocking.threads) == (3, 3, 0, 0)


def test_map_takes_an_item_only_when_the_last_one_is_done(debug):
    taken = []

    def items():
        for item in range(3):
            taken.append(item)
            yield item

    results = tr.workflow(lambda x: blocking(x)).options(runtime=debug).map(items(), concurrency=8)
    assert next(results) == 0
    assert len(taken) <= 2
    assert list(results) == [2, 4]


def test_a_submitted_task_has_ended_when_submit_returns(debug):
    here = debug.submit(threading.get_ident)
    assert here.done()
    assert here.result() == threading.get_ident()
    failed = debug.submit(lambda: 1 / 0)
    assert isinstance(failed.exception(0), ZeroDivisionError)
    called = []
    here.add_done_callback(called.append)
    assert called == [here]
    assert (debug.statistics().ok, debug.statistics().failed) == (1, 1)


def test_awaited_on_a_loop_async_steps_run_on_that_loop_and_order_is_kept(debug):
    async def main():
        run = mixed.options(runtime=debug).start(1)
        assert names() == ["plain", "blocking"]  # the rest waits for the first async step
        value = await run
        return value, {record.worker for record in run.history() if record.step == "later"}

    assert asyncio.run(main()) == (ANSWER, {"loop"})
    assert names() == IN_ORDER


def test_stream_runs_item_by_item(debug):
    async def main():
        return [value async for value in mixed.options(runtime=debug).stream([1, 1])]

    assert asyncio.run(main()) == [ANSWER] * 2


def test_async_steps_of_one_thread_share_one_loop(debug):
    async def loop():
        return asyncio.get_running_loop()

    one = tr.step(loop)
    wf = tr.workflow(lambda: [one(), one()]).options(runtime=debug)
    loops = wf() + wf()
    assert len(set(loops)) == 1
    debug.close()
    assert loops[0].is_closed()


def test_a_failure_has_the_callers_frames_in_its_traceback_and_skips_what_follows(debug):
    def breaks(_):
        raise ValueError("broken")

    bad = tr.step(breaks)
    run = tr.workflow(lambda x: plain(bad(plain(x)))).options(runtime=debug).start(1)
    with pytest.raises(tr.StepFailed) as caught:
        run.result()
    assert names() == ["plain"]
    assert caught.value.step == "breaks"
    trace, functions = caught.value.__cause__.__traceback__, []
    while trace is not None:
        functions.append(trace.tb_frame.f_code.co_name)
        trace = trace.tb_next
    assert functions[-1] == "breaks"


def test_tracing_with_settrace_reaches_every_body(debug):
    seen = set()

    def trace(frame, event, _arg):
        if event == "call":
            seen.add(frame.f_code.co_name)

    async def pause():
        return None

    asleep = tr.step(pause)
    wf = tr.workflow(lambda x: [plain(x), blocking(x), asleep()]).compile().options(runtime=debug)
    previous = sys.gettrace()
    sys.settrace(trace)
    try:
        wf(1)
        debug.submit(told, "task")
    finally:
        sys.settrace(previous)
    assert {"plain", "blocking", "pause", "told"} <= seen


def test_a_debugger_can_look_from_a_step_up_into_the_caller(debug):
    def look():
        frame, found = sys._getframe(), []
        while frame is not None:
            found.append(frame.f_code.co_name)
            frame = frame.f_back
        return found

    stack = tr.workflow(lambda: tr.step(look)()).options(runtime=debug).start().result()
    assert "test_a_debugger_can_look_from_a_step_up_into_the_caller" in stack


def test_every_step_still_runs_in_a_copy_of_the_callers_context(debug):
    def read_and_set(_=None):
        seen = user.get()
        user.set("a step")
        return seen

    async def read_async(_=None):
        return user.get()

    read, read_later = tr.step(read_and_set), tr.step(read_async)
    wf = tr.workflow(lambda: [read(), read(), tr.step(blocking=True)(read_and_set)(), read_later()])
    token = user.set("caller")
    try:
        assert wf.options(runtime=debug)() == ["caller"] * 4
        assert debug.submit(read_and_set).result() == "caller"
        assert user.get() == "caller"
    finally:
        user.reset(token)


@pytest.mark.parametrize("kind", ["plain", "blocking", "later"])
def test_each_runs_item_by_item_here(debug, kind):
    step = {"plain": plain, "blocking": blocking, "later": later}[kind]
    wf = tr.workflow(lambda n: plain(tr.step(sum)(tr.each(step, n))))
    run = wf.options(runtime=debug).start(range(5))
    assert run.done()
    assert run.result(0) == 1 + {"plain": 15, "blocking": 20, "later": 30}[kind]
    assert names() == [kind] * 5 + ["plain"]


def test_each_on_a_loop_runs_one_async_item_at_a_time(debug):
    async def alone(x):
        told("begin")
        await asyncio.sleep(0)
        told("end")
        return x

    wf = tr.workflow(lambda n: tr.each(tr.step(alone), n)).options(runtime=debug)

    async def main():
        return await wf.start(range(3))

    assert asyncio.run(main()) == [0, 1, 2]
    assert names() == ["begin", "end"] * 3


def test_a_failing_item_of_each_ends_the_run_and_skips_the_rest(debug):
    def fails(x):
        told("fails")
        return 1 // (1 - x)

    with pytest.raises(tr.StepFailed):
        tr.workflow(lambda n: plain(tr.each(tr.step(fails), n))).options(runtime=debug)(range(5))
    assert names() == ["fails"] * 2


def test_nested_workflows_run_inside_the_step_that_calls_them(debug):
    inner = tr.workflow(lambda x: later(plain(x)))

    def ask(x):
        return inner(x) + inner.start(x).result()

    assert tr.workflow(lambda x: tr.step(ask)(x)).options(runtime=debug)(1) == 12
    assert names() == ["plain", "later"] * 2


def test_a_step_that_waits_for_its_own_run_is_a_deadlock_here_too(debug):
    async def main():
        box = []
        own = tr.step(lambda _: box[0].result())
        box.append(tr.workflow(lambda: own(later())).options(runtime=debug).start())
        await box[0]

    with pytest.raises(tr.StepFailed) as caught:
        asyncio.run(main())
    assert isinstance(caught.value.__cause__, tr.Deadlock)


def test_a_deadline_ends_the_run_and_the_late_result_is_counted(debug):
    def slow():
        give_up = threading.Event()
        for _ in range(20_000):  # until the run was ended from outside, at most WAIT_S
            if debug.statistics().timed_out or give_up.wait(WAIT_S / 20_000):
                break
        return "late"

    wf = tr.workflow(lambda: plain(tr.step(slow)())).options(runtime=debug, deadline_s=0.02)
    with pytest.raises(tr.DeadlineExceeded):
        wf()
    assert names() == []
    assert (debug.statistics().timed_out, debug.statistics().late) == (1, 1)


def test_a_run_cancelled_by_its_own_step_skips_the_rest(debug):
    async def main():
        box = []

        async def first():
            await asyncio.sleep(0)
            box[0].cancel()

        wf = tr.workflow(lambda: tr.after(plain(), tr.step(first)()))
        box.append(wf.options(runtime=debug).start())
        with pytest.raises(asyncio.CancelledError):
            await box[0]
        return box[0].state

    assert asyncio.run(main()) == "cancelled"
    assert names() == []


def test_a_task_that_is_cancelled_cancels_its_run(debug):
    async def main():
        async def forever():
            await asyncio.sleep(3600)

        run = tr.workflow(lambda: plain(tr.step(forever)())).options(runtime=debug).start()
        waiter = asyncio.ensure_future(run)
        await asyncio.sleep(0)
        waiter.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiter
        return run.state

    assert asyncio.run(main()) == "cancelled"


def test_a_keyboard_interrupt_in_a_step_reaches_the_caller(debug):
    def interrupted():
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        tr.workflow(lambda: plain(tr.step(interrupted)())).options(runtime=debug)()
    assert names() == []


def test_more_than_max_pending_is_refused_as_ever(make_runtime):
    runtime = make_runtime(debug=True, max_pending=1)
    wf = tr.workflow(lambda: plain()).options(runtime=runtime)

    async def main():
        open_run = tr.workflow(lambda: later()).options(runtime=runtime).start()
        with pytest.raises(tr.Overloaded):
            wf.start()
        return await open_run

    assert asyncio.run(main()) == 0
    assert runtime.statistics().rejected == 1


def test_threads_that_use_one_debugging_runtime_each_run_their_own(debug):
    wf = mixed.options(runtime=debug)
    threads = [threading.Thread(target=lambda: results.append(wf(1))) for _ in range(4)]
    results = []
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == [ANSWER] * 4
    for thread in {ident for _, ident in order}:
        mine = [name for name, ident in order if ident == thread]
        assert mine == IN_ORDER * (len(mine) // len(IN_ORDER))  # an ended thread's number may be used again


def test_failed_runs_that_nobody_awaited_are_logged(debug, caplog):
    with caplog.at_level(logging.ERROR, logger="tailrace"):
        tr.workflow(lambda: tr.step(lambda: 1 / 0)()).options(runtime=debug).start()
    assert "nobody awaited" in caplog.text


def test_drain_close_and_the_context_manager_work(debug):
    with tr.Runtime(debug=True) as runtime:
        assert mixed(1) == ANSWER
        assert runtime.drain(0)
        assert "debug" in repr(runtime)
    assert runtime.closed
    with pytest.raises(tr.RuntimeClosed):
        mixed.options(runtime=runtime).start(1)


@pytest.mark.parametrize("wrong", [1, None, "yes"])
def test_debug_is_true_or_false(wrong):
    with pytest.raises(TypeError, match="debug must be True or False"):
        tr.Runtime(debug=wrong)


def test_debug_and_a_clock_exclude_each_other():
    with pytest.raises(ValueError, match="exclude each other"):
        tr.Runtime(debug=True, clock=tr.VirtualClock())
