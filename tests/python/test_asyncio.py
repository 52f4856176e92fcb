"""Workflows and asyncio: awaiting, async steps, cancelling, streams, loops that end."""

from __future__ import annotations

import asyncio
import gc
import threading

import pytest
import tailrace as tr

WAIT_S = 20.0


@tr.step
async def fetch(x):
    await asyncio.sleep(0)
    return 2 * x


@tr.step
def double(x):
    return 2 * x


@tr.step
async def where():
    return asyncio.get_running_loop(), threading.get_ident()


kept = []  # a task that nothing refers to could be collected


async def hang():
    kept.append(asyncio.Event())
    await kept[-1].wait()


fetched = tr.workflow(lambda x: double(fetch(x)))
doubled = tr.workflow(lambda x: double(x))
located = tr.workflow(lambda: where())


@pytest.fixture(params=["asyncio", "uvloop"])
def run_loop(request):
    if request.param == "asyncio":
        return asyncio.run
    uvloop = pytest.importorskip("uvloop", reason="uvloop is not installed")
    return uvloop.run


def test_a_run_can_be_awaited(rt, run_loop):
    async def main():
        return await fetched.options(runtime=rt).start(1), await doubled.options(runtime=rt).start(1)

    assert run_loop(main()) == (4, 2)


def test_many_runs_can_be_awaited_at_once(rt, run_loop):
    async def main():
        return await asyncio.gather(*(fetched.options(runtime=rt).start(i) for i in range(200)))

    assert run_loop(main()) == [4 * i for i in range(200)]


def test_a_run_is_awaited_by_several_tasks_and_after_it_is_done(rt):
    async def main():
        run = fetched.options(runtime=rt).start(1)

        async def wait():
            return await run

        return [*await asyncio.gather(wait(), wait()), await run]

    assert asyncio.run(main()) == [4, 4, 4]


def test_async_steps_run_on_the_loop_that_started_the_run(rt, run_loop):
    async def main():
        return await located.options(runtime=rt).start(), (asyncio.get_running_loop(), threading.get_ident())

    ran, expected = run_loop(main())
    assert ran == expected


def test_async_steps_of_other_runs_share_one_loop_of_the_runtime(rt):
    wf = located.options(runtime=rt)
    first, second = wf(), wf.start().result(WAIT_S)
    assert first == second
    assert first[1] != threading.get_ident()


def test_closing_a_runtime_ends_its_loop(make_runtime):
    runtime = make_runtime(workers=1)
    loop, _ = located.options(runtime=runtime)()
    runtime.close()
    assert loop.is_closed()


def test_a_failed_run_raises_step_failed_from_the_original_when_awaited(rt):
    error = LookupError("gone")

    @tr.step
    async def fail():
        raise error

    async def main():
        await tr.workflow(lambda: fail()).options(runtime=rt).start()

    with pytest.raises(tr.StepFailed, match="step 'fail'") as caught:
        asyncio.run(main())
    assert caught.value.__cause__ is error


def test_calling_a_plan_with_async_steps_on_a_loop_raises_at_once_and_shows_the_right_call(rt):
    async def main():
        return fetched.options(runtime=rt)(1)

    with pytest.raises(tr.TailraceError, match=r"write `await <lambda>\.start\(\.\.\.\)`"):
        asyncio.run(main())


def test_calling_a_plan_without_async_steps_on_a_loop_just_runs(rt):
    async def main():
        return doubled.options(runtime=rt)(1)

    assert asyncio.run(main()) == 2


def test_cancelling_the_awaiter_cancels_the_run_and_its_task(rt):
    begun, cancelled = [], []

    @tr.step
    async def forever():
        begun.append(1)
        try:
            await hang()
        finally:
            cancelled.append(1)

    wf = tr.workflow(lambda: forever()).options(runtime=rt)

    async def main():
        run = wf.start()

        async def wait():
            await run

        task = asyncio.create_task(wait())
        while not begun:
            await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        while not cancelled:
            await asyncio.sleep(0)
        return run.state

    assert asyncio.run(main()) == "cancelled"


def test_awaiting_a_cancelled_run_raises_asyncio_cancelled_error(rt):
    @tr.step
    async def forever():
        await hang()

    async def main():
        run = tr.workflow(lambda: forever()).options(runtime=rt).start()

        async def wait():
            await run

        task = asyncio.create_task(wait())
        await asyncio.sleep(0)
        run.cancel()
        for _ in range(2):  # waiting when it was cancelled, and asking later
            with pytest.raises(asyncio.CancelledError):
                await (task if not task.done() else run)

    asyncio.run(main())


def test_a_run_left_behind_by_its_loop_ends(rt):
    @tr.step
    async def forever():
        await hang()

    runs = []

    async def main():
        runs.append(tr.workflow(lambda: forever()).options(runtime=rt).start())
        await asyncio.sleep(0)

    asyncio.run(main())
    gc.collect()
    assert rt.drain(WAIT_S)
    assert runs[0].done()
    assert runs[0].exception(WAIT_S) is not None


def test_an_async_step_whose_loop_is_closed_is_a_clear_error_with_step_and_workflow(rt):
    go = threading.Event()

    @tr.step(blocking=True)
    def wait():
        return go.wait(WAIT_S)

    late = tr.workflow(lambda: fetch(wait())).options(runtime=rt)
    runs = []

    async def main():
        runs.append(late.start())

    asyncio.run(main())
    go.set()
    with pytest.raises(tr.TailraceError) as caught:
        runs[0].result(WAIT_S)
    told = f"{caught.value} {caught.value.__cause__}"
    assert "event loop" in told
    assert "closed" in told
    assert "'fetch'" in told
    assert "await <lambda>.start(...)" in told


def test_two_loops_in_two_threads_get_their_own_steps(rt):
    results = {}

    def work(name):
        async def main():
            return all(
                [
                    await located.options(runtime=rt).start()
                    == (asyncio.get_running_loop(), threading.get_ident())
                    for _ in range(20)
                ]
            )

        results[name] = asyncio.run(main())

    threads = [threading.Thread(target=work, args=(i,)) for i in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == {0: True, 1: True}


def test_streams_take_sync_and_async_sources_and_yield_in_order(rt, run_loop):
    async def numbers():
        for i in range(100):
            await asyncio.sleep(0)
            yield i

    async def main():
        wf = fetched.options(runtime=rt)
        return [[x async for x in wf.stream(source, concurrency=8)] for source in (range(100), numbers())]

    expected = [4 * i for i in range(100)]
    assert run_loop(main()) == [expected, expected]


def test_a_stream_hands_out_a_result_while_its_source_is_slow(rt):
    async def main():
        more = asyncio.Event()

        async def source():
            yield 1
            await more.wait()
            yield 2

        stream = doubled.options(runtime=rt).stream(source())
        first = await asyncio.wait_for(anext(stream), WAIT_S)
        more.set()
        return [first, *[x async for x in stream]]

    assert asyncio.run(main()) == [2, 4]


def test_a_stream_waits_where_the_runtime_is_full(make_runtime):
    small = make_runtime(workers=1, max_pending=2)

    async def main():
        streams = [doubled.options(runtime=small).stream(range(20)) for _ in range(3)]

        async def collect(stream):
            return [x async for x in stream]

        return await asyncio.gather(*map(collect, streams))

    assert asyncio.run(main()) == [list(range(0, 40, 2))] * 3


def test_closing_a_stream_early_cancels_what_is_in_flight(rt):
    @tr.step
    async def first_only(x):
        if x:
            await hang()
        return x

    async def main():
        stream = tr.workflow(lambda x: first_only(x)).options(runtime=rt).stream(range(10), concurrency=4)
        assert await anext(stream) == 0
        await stream.aclose()
        await asyncio.sleep(0)

    asyncio.run(main())
    assert rt.drain(WAIT_S)
    assert 3 <= rt.statistics().cancelled <= 4


def test_what_the_source_raises_comes_after_the_results_before_it(rt):
    def source():
        yield 1
        raise OSError("source broke")

    async def main():
        seen = []
        try:
            async for x in doubled.options(runtime=rt).stream(source()):
                seen.append(x)
        except OSError as error:
            seen.append(str(error))
        return seen

    assert asyncio.run(main()) == [2, "source broke"]


def test_awaiting_without_a_loop_is_a_clear_error_that_shows_the_right_call(rt):
    go = threading.Event()
    wait = tr.step(blocking=True)(lambda: go.wait(WAIT_S))
    run = tr.workflow(lambda: wait()).options(runtime=rt).start()
    with pytest.raises(tr.BackendUnavailable, match=r"workflow '<lambda>'.*write run\.result\(\)"):
        run.__await__().send(None)
    go.set()
    assert run.result(WAIT_S) is True
