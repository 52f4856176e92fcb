"""Async steps and their loops: what they start, what they must not wait for, how they and their loops end."""

from __future__ import annotations

import asyncio
import contextvars
import gc
import threading

import pytest
import tailrace as tr
from tailrace import _core

WAIT_S = 20.0


@tr.step
def double(x):
    return 2 * x


@tr.step
async def pause(x):
    await asyncio.sleep(0)
    return x


doubled = tr.workflow(lambda x: double(x))


paused = tr.workflow(lambda x: double(pause(x)))


def test_an_async_step_awaits_a_nested_run_on_the_runtime_of_its_own_run(make_runtime, run_loop):
    runtime = make_runtime(workers=1, max_pending=1, name="small")

    @tr.step
    async def outer(x):
        await asyncio.sleep(0)
        assert _core.current_runtime() is runtime
        assert _core.current_step() == ("<lambda>", "outer")
        inner = await paused.start(x), await doubled.start(x)
        return [*inner, await runtime.submit(pow, 2, 5)]

    wf = tr.workflow(lambda x: outer(x)).options(runtime=runtime)

    async def main():
        return await wf.start(1)

    assert run_loop(main()) == [2, 2, 32]
    assert wf(1) == [2, 2, 32]
    counted = runtime.statistics_raw()
    assert (counted["submitted"], counted["rejected"], counted["nested"]) == (2, 0, 6)


def test_what_outlives_its_async_step_is_not_nested(rt):
    left, gone = [], []

    @tr.step
    async def outer():
        async def later():
            await gone[0].wait()
            return await doubled.options(runtime=rt).start(1), _core.current_step()

        left.append(asyncio.create_task(later()))

    async def main():
        gone.append(asyncio.Event())
        await tr.workflow(lambda: outer()).options(runtime=rt).start()
        gone[0].set()
        return await left[0]

    assert asyncio.run(main()) == (2, None)
    assert rt.statistics_raw()["nested"] == 0


def test_a_nested_run_inherits_the_deadline_of_an_async_step(virtual, clock):
    @tr.step
    async def forever():
        await tr.sleep(3600)

    endless = tr.workflow(lambda: forever())

    @tr.step
    async def outer():
        await endless.start()

    with pytest.raises(tr.DeadlineExceeded):
        tr.workflow(lambda: outer()).options(runtime=virtual, deadline_s=2.0)()
    clock.run_until_idle()
    assert clock.now_s < 3.0


@pytest.mark.parametrize("wait", ["await", "result"])
def test_an_async_step_that_waits_for_its_own_run_is_told_so(rt, run_loop, wait):
    started = []

    @tr.step
    async def own():
        await asyncio.sleep(0)
        return await started[0] if wait == "await" else started[0].result(WAIT_S)

    async def main():
        started.append(tr.workflow(lambda: own()).options(runtime=rt).start())
        await started[0]

    with pytest.raises(tr.StepFailed) as caught:
        run_loop(main())
    assert isinstance(caught.value.__cause__, tr.Deadlock)
    assert "'own'" in str(caught.value.__cause__)


def test_two_async_steps_that_wait_for_each_others_runs_are_told_so(rt):
    runs = {}

    @tr.step
    async def cross(me, other):
        while other not in runs:
            await asyncio.sleep(0)
        return await runs[other]

    crossed = tr.workflow(lambda me, other: cross(me, other)).options(runtime=rt)

    async def main():
        runs["a"] = crossed.start("a", "b")
        runs["b"] = crossed.start("b", "a")
        return await asyncio.wait_for(asyncio.gather(*runs.values(), return_exceptions=True), WAIT_S)

    found = asyncio.run(main())
    causes = [error.__cause__ for error in found]
    assert any(isinstance(cause, tr.Deadlock) for cause in causes)


def test_a_task_that_an_async_step_leaves_behind_may_wait_for_its_run(rt):
    runs, seen = [], []

    async def report():
        seen.append(await runs[0])

    @tr.step
    async def outer():
        await asyncio.sleep(0)
        seen.append(asyncio.create_task(report()))
        await asyncio.sleep(0)
        return 7

    async def main():
        runs.append(tr.workflow(lambda: outer()).options(runtime=rt).start())
        await runs[0]
        await seen[0]

    asyncio.run(main())
    assert seen[1] == 7


def test_draining_a_runtime_inside_its_own_async_step_is_refused(rt):
    @tr.step
    async def drains():
        rt.drain(WAIT_S)

    with pytest.raises(tr.StepFailed) as caught:
        tr.workflow(lambda: drains()).options(runtime=rt)()
    assert isinstance(caught.value.__cause__, tr.Deadlock)


def test_context_variables_are_seen_by_async_steps_and_what_they_set_is_not_seen_by_others(rt, run_loop):
    variable = contextvars.ContextVar("variable", default="none")

    @tr.step
    async def read_and_set(_before):
        seen = variable.get()
        variable.set("changed")
        await asyncio.sleep(0)
        return seen

    async def main():
        variable.set("mine")
        wf = tr.workflow(lambda: (read_and_set(read_and_set(0)), read_and_set(1)))
        return await wf.options(runtime=rt).start(), variable.get()

    assert run_loop(main()) == (("mine", "mine"), "mine")


@pytest.mark.parametrize("where", ["caller", "own"])
def test_cancelling_a_run_lets_its_async_steps_finish_what_they_clean_up(rt, where):
    begun, cleaned = threading.Event(), threading.Event()

    @tr.step
    async def careful():
        begun.set()
        try:
            await asyncio.sleep(WAIT_S)
        finally:
            await asyncio.sleep(0.001)
            cleaned.set()

    wf = tr.workflow(lambda: careful()).options(runtime=rt)

    async def main():
        run = wf.start()
        await asyncio.sleep(0)
        run.cancel()
        with pytest.raises(asyncio.CancelledError):
            await run
        assert await asyncio.to_thread(rt.drain, WAIT_S)

    if where == "caller":
        asyncio.run(main())
    else:
        run = wf.start()
        assert begun.wait(WAIT_S)
        run.cancel()
        assert rt.drain(WAIT_S)
    assert cleaned.is_set()


def test_closing_a_runtime_lets_its_async_steps_finish_what_they_clean_up(make_runtime):
    runtime, begun, cleaned = make_runtime(workers=1), threading.Event(), []

    @tr.step
    async def careful():
        begun.set()
        try:
            await asyncio.sleep(WAIT_S)
        finally:
            await asyncio.sleep(0.001)
            cleaned.append(1)

    run = tr.workflow(lambda: careful()).options(runtime=runtime).start()
    assert begun.wait(WAIT_S)
    runtime.close()
    assert run.state == "cancelled"
    assert cleaned == [1]


def test_a_loop_that_ends_cancels_the_runs_that_are_awaited_and_logs_nothing(rt, caplog, run_loop):
    go = threading.Event()
    held = tr.workflow(lambda: tr.step(blocking=True)(go.wait)(WAIT_S)).options(runtime=rt)
    runs, futures = [], []

    async def main():
        runs.extend(held.start() for _ in range(2))
        futures.append(rt.submit(abs, -2))

        async def wait(target):
            return await target

        tasks = [asyncio.create_task(wait(runs[0])), asyncio.create_task(wait(futures[0]))]
        await asyncio.sleep(0)
        return len(tasks)

    assert run_loop(main()) == 2
    assert runs[0].state == "cancelled"
    go.set()
    assert runs[1].result(WAIT_S) is True  # nobody awaited it: it goes on without its loop
    gc.collect()
    assert rt.drain(WAIT_S)
    assert [record.getMessage() for record in caplog.records] == []


def test_a_coroutine_that_is_closed_while_it_awaits_leaves_the_run_alone(rt):
    go = threading.Event()
    run = tr.workflow(lambda: tr.step(blocking=True)(go.wait)(WAIT_S)).options(runtime=rt).start()

    async def main():
        iterator = run.__await__()
        iterator.send(None)
        iterator.close()

    asyncio.run(main())
    go.set()
    assert run.result(WAIT_S) is True


def test_an_async_generator_inside_a_step_is_closed_with_it(rt):
    closed = []

    async def numbers():
        try:
            for i in range(10):
                yield i
        finally:
            closed.append(1)

    @tr.step
    async def first():
        async for number in (source := numbers()):
            await source.aclose()
            return number

    async def main():
        return await tr.workflow(lambda: first()).options(runtime=rt).start()

    assert asyncio.run(main()) == 0
    assert closed == [1]


def test_loops_in_several_threads_await_runs_and_tasks_at_once(rt, run_loop):
    results = {}

    def work(name):
        async def one(i):
            return await paused.options(runtime=rt).start(i) + await rt.submit(pow, i, 1)

        async def main():
            return await asyncio.gather(*map(one, range(100)))

        results[name] = run_loop(main())

    threads = [threading.Thread(target=work, args=(i,)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(WAIT_S)
    assert results == {name: [3 * i for i in range(100)] for name in range(4)}


def test_a_run_whose_task_is_cancelled_before_its_first_step_ends_without_the_collector(rt, run_loop):
    async def never_begins():
        pass

    step = tr.step(never_begins)

    def cancel_others():
        for task in asyncio.all_tasks() - {asyncio.current_task()}:
            task.cancel()

    async def main():
        run = tr.workflow(lambda: step()).options(runtime=rt).start()
        cancel_others()
        with pytest.raises(tr.StepFailed):
            await asyncio.wait_for(run, WAIT_S)

    gc.disable()
    try:
        run_loop(main())
        assert rt.drain(WAIT_S)
    finally:
        gc.enable()
