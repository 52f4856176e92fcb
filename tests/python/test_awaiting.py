"""Awaiting what was submitted: on any loop, beside the ways of the standard library, cancelled or not."""

from __future__ import annotations

import asyncio
import concurrent.futures
import threading

import pytest
import tailrace as tr
from tailrace import aio

WAIT_S = 20.0


@pytest.fixture
def executor():
    with tr.Executor(max_workers=2) as made:
        yield made


@pytest.fixture
def one(make_runtime):
    """A runtime with one worker that is kept busy until `go` is set."""
    runtime, go, begun = make_runtime(workers=1), threading.Event(), threading.Event()

    def hold():
        begun.set()
        return go.wait(WAIT_S)

    runtime.go, runtime.held = go, runtime.submit(hold)
    assert begun.wait(WAIT_S)
    yield runtime
    go.set()


def increment(x):
    return x + 1


def fail(error):
    raise error


def test_a_submitted_task_can_be_awaited(rt, executor, run_loop):
    async def main():
        return await rt.submit(increment, 1), await executor.submit(increment, x=2)

    assert run_loop(main()) == (2, 3)


def test_many_tasks_are_awaited_at_once_from_runtime_and_executor(rt, executor, run_loop):
    async def main():
        return await asyncio.gather(
            *(pool.submit(increment, i) for pool in (rt, executor) for i in range(200))
        )

    assert run_loop(main()) == 2 * list(range(1, 201))


def test_a_failed_task_raises_its_own_exception_to_each_awaiter(rt, executor):
    error = LookupError("gone")

    async def main(future):
        for _ in range(2):
            with pytest.raises(LookupError) as caught:
                await future
            assert caught.value is error

    asyncio.run(main(rt.submit(fail, error)))
    asyncio.run(main(executor.submit(fail, error)))


def test_several_tasks_await_one_future_and_others_ask_it_from_threads(one):
    future = one.submit(increment, 1)

    async def main():
        async def wait():
            return await future

        waiting = [asyncio.create_task(wait()) for _ in range(3)]
        waiting.append(asyncio.create_task(asyncio.to_thread(future.result, WAIT_S)))
        await asyncio.sleep(0)
        one.go.set()
        return await asyncio.gather(*waiting)

    assert asyncio.run(main()) == [2, 2, 2, 2]


def test_a_callback_beside_an_awaiter_is_called_too(one):
    future, seen = one.submit(increment, 1), []

    async def main():
        async def wait():
            return await future

        waiting = asyncio.create_task(wait())
        await asyncio.sleep(0)
        future.add_done_callback(seen.append)
        one.go.set()
        return await waiting

    assert asyncio.run(main()) == 2
    assert concurrent.futures.wait([future], WAIT_S).done == {future}
    assert seen == [future]


def test_cancelling_the_awaiter_cancels_a_task_that_has_not_begun(one):
    future = one.submit(increment, 1)

    async def main():
        async def wait():
            await future

        waiting = asyncio.create_task(wait())
        await asyncio.sleep(0)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting

    asyncio.run(main())
    assert future.cancelled()
    one.go.set()
    assert one.drain(WAIT_S)
    assert one.statistics().cancelled == 1


def test_cancelling_the_awaiter_leaves_a_task_that_has_begun_to_its_end(one):
    async def main():
        async def wait():
            await one.held

        waiting = asyncio.create_task(wait())
        await asyncio.sleep(0)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting

    asyncio.run(main())
    one.go.set()
    assert one.held.result(WAIT_S) is True


def test_a_wait_that_takes_too_long_cancels_what_has_not_begun(one):
    future = one.submit(increment, 1)

    async def main():
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(future, 0.01)

    asyncio.run(main())
    assert future.cancelled()


def test_awaiting_a_cancelled_task_raises_asyncio_cancelled_error(one):
    future = one.submit(increment, 1)

    async def main():
        async def wait():
            await future

        waiting = asyncio.create_task(wait())
        await asyncio.sleep(0)
        assert future.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        with pytest.raises(asyncio.CancelledError, match="before it began"):
            await future

    asyncio.run(main())


def test_a_future_made_by_hand_is_awaited_and_cancelled_like_others():
    async def main():
        given, dropped = tr.Future(), tr.Future()

        async def wait(future):
            return await future

        waiting = [asyncio.create_task(wait(future)) for future in (given, dropped)]
        await asyncio.sleep(0)
        waiting[1].cancel()
        await asyncio.to_thread(given.set_result, 7)
        with pytest.raises(asyncio.CancelledError):
            await waiting[1]
        assert not dropped.set_running_or_notify_cancel()
        return await waiting[0]

    assert asyncio.run(main()) == 7


def test_an_awaiter_cancelled_in_the_turn_of_the_result_is_cancelled(one):
    async def main():
        future = one.submit(increment, 1)

        async def wait():
            return await future

        waiting = asyncio.create_task(wait())
        await asyncio.sleep(0)
        one.go.set()
        assert one.drain(WAIT_S)  # it has ended, and this loop has not turned since
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        return await future

    assert asyncio.run(main()) == 2


def test_the_ways_of_the_standard_library_work_as_before(rt, executor, run_loop):
    async def main():
        loop = asyncio.get_running_loop()
        found = [await loop.run_in_executor(executor, increment, 1)]
        found.append(await asyncio.wrap_future(rt.submit(increment, 2)))
        found += [await done for done in asyncio.as_completed([asyncio.wrap_future(rt.submit(increment, 3))])]
        done, _ = await asyncio.wait([asyncio.ensure_future(rt.submit(increment, 4))])
        return found + [task.result() for task in done]

    assert run_loop(main()) == [2, 3, 4, 5]


def test_awaiting_a_task_without_a_loop_shows_the_right_call(one):
    with pytest.raises(tr.BackendUnavailable, match=r"submitted task.*write future\.result\(\)"):
        one.submit(increment, 1).__await__().send(None)


def test_a_task_in_virtual_time_is_awaited_on_its_own_loop_and_on_another(virtual, clock):
    async def main():
        return await virtual.submit(increment, 1)

    assert clock.run(main()) == 2
    assert asyncio.run(main()) == 2


def test_an_await_is_over_when_it_is_over(rt):
    future = rt.submit(increment, 1)
    assert future.result(WAIT_S) == 2
    failed = rt.submit(fail, LookupError("gone"))
    concurrent.futures.wait([failed], WAIT_S)
    iterator = failed.__await__()
    with pytest.raises(LookupError):
        iterator.send(None)
    with pytest.raises(RuntimeError, match="this await is over"):
        iterator.send(None)
    with pytest.raises(ValueError, match="from outside"):
        failed.__await__().throw(ValueError("from outside"))
    with pytest.raises(TypeError, match="takes an exception, got 3"):
        failed.__await__().throw(3)


@pytest.mark.parametrize("workers", [1, 2])
def test_completions_that_come_together_wake_their_loop_once(make_runtime, run_loop, workers):
    runtime, go = make_runtime(workers=workers), threading.Event()

    async def main():
        held = [runtime.submit(go.wait, WAIT_S) for _ in range(workers)]
        futures = [*held, *(runtime.submit(increment, i) for i in range(64))]

        async def wait(future):
            return await future

        waiting = [asyncio.create_task(wait(future)) for future in futures]
        await asyncio.sleep(0)
        completions = aio._bridge_here(asyncio.get_running_loop()).completions
        before = completions.wakes
        go.set()
        assert runtime.drain(WAIT_S)  # all have ended while this loop could not turn
        assert not any(task.done() for task in waiting)
        results = await asyncio.gather(*waiting)
        return results[workers:], completions.wakes - before

    assert run_loop(main()) == (list(range(1, 65)), 1)


def test_what_a_loop_is_given_arrives_though_one_of_it_raises():
    completions, seen, unraisable = tr._core.Completions(), [], []
    completions.post(lambda: seen.append(1))
    completions.post(lambda: fail(ValueError("one")))
    completions.post(lambda: seen.append(2))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sys.unraisablehook", lambda info: unraisable.append(str(info.exc_value)))
        completions.deliver()
    assert (seen, unraisable) == ([1, 2], ["one"])
    completions.post(lambda: fail(KeyboardInterrupt()))
    completions.post(lambda: seen.append(3))
    with pytest.raises(KeyboardInterrupt):
        completions.deliver()
    assert seen == [1, 2]
    completions.deliver()
    assert seen == [1, 2, 3]
    completions.close()
    assert completions.fileno() == -1
