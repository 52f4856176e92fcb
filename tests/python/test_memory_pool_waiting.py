"""Waiting for memory: threads with a timeout, tasks of a loop in line; nobody is forgotten."""

from __future__ import annotations

import asyncio
import gc
import threading
import time

import pytest
import tailrace as tr

MIB = 1 << 20
WAIT_S = 20.0
POOL_LIMIT = "16MiB"  # of the fixture `pool`


def until(condition):
    end_s = time.monotonic() + WAIT_S
    while not condition():
        assert time.monotonic() < end_s


def started(target):
    thread = threading.Thread(target=target)
    thread.start()
    return thread


def test_a_thread_waits_until_another_frees(pool):
    held = [pool.empty(12 * MIB, "u1")]
    got = []
    waiter = started(lambda: got.append(pool.empty(12 * MIB, "u1", timeout_s=WAIT_S).nbytes))
    until(lambda: pool.statistics().n_exhausted > 0)
    assert not got
    held.clear()
    waiter.join(WAIT_S)
    assert got == [12 * MIB]


def test_a_thread_that_waited_in_vain_says_for_how_long(pool):
    held = pool.empty(12 * MIB, "u1")
    with pytest.raises(tr.PoolExhausted, match=r"cannot give 12MiB within timeout_s=0\.01"):
        pool.empty(12 * MIB, "u1", timeout_s=0.01)
    del held


def test_a_thread_waits_for_its_tag(pool):
    part = pool.tag("part", limit="4MiB")
    held = [part.empty(4 * MIB, "u1")]
    got = []
    waiter = started(lambda: got.append(part.empty(4 * MIB, "u1", timeout_s=WAIT_S).nbytes))
    until(lambda: part.statistics().n_refused > 0)
    held.clear()
    waiter.join(WAIT_S)
    assert got == [4 * MIB]


def test_closing_wakes_who_waits(pool):
    held = pool.empty(12 * MIB, "u1")
    errors = []

    def wait():
        try:
            pool.empty(12 * MIB, "u1", timeout_s=1e6)
        except tr.TailraceError as error:
            errors.append(type(error))

    async def wait_on_loop():
        with pytest.raises(tr.RuntimeClosed):
            await pool.acquire(12 * MIB, "u1")

    async def main():
        task = asyncio.create_task(wait_on_loop())
        await asyncio.sleep(0)
        pool.close()
        await task

    waiter = started(wait)
    asyncio.run(main())
    waiter.join(WAIT_S)
    assert errors == [tr.RuntimeClosed]
    del held


def test_a_step_that_waits_lets_other_steps_run(make_runtime, pool):
    rt = make_runtime(workers=1)
    held = [pool.empty(12 * MIB, "u1")]
    first = rt.submit(lambda: pool.empty(12 * MIB, "u1", timeout_s=WAIT_S).nbytes)
    until(lambda: pool.statistics().n_exhausted > 0)
    second = rt.submit(held.clear)
    assert first.result(WAIT_S) == 12 * MIB
    second.result(WAIT_S)


def test_a_virtual_runtime_does_not_wait_for_what_nobody_can_free(virtual, pool):
    held = pool.empty(12 * MIB, "u1")
    take = tr.workflow(lambda: tr.step(lambda: pool.empty(12 * MIB, "u1", timeout_s=1e6))())
    with pytest.raises(tr.StepFailed) as caught:
        take.options(runtime=virtual)()
    assert isinstance(caught.value.__cause__, tr.PoolExhausted)
    del held, caught


def test_acquire_gives_at_once_what_there_is(pool, run_loop):
    async def main():
        array = await pool.acquire((1024, 256), "f4", tag="frames")
        assert (array.shape, array.nbytes) == ((1024, 256), MIB)
        assert pool.statistics().tags["frames"].used_bytes == MIB

    run_loop(main())


def test_tasks_are_served_in_the_order_in_which_they_came(pool, run_loop):
    async def main():
        held = [pool.empty(4 * MIB, "u1") for _ in range(4)]
        order = []

        async def take(name, size):
            array = await pool.acquire(size, "u1", timeout_s=WAIT_S)
            order.append(name)
            await asyncio.sleep(0)
            return array.nbytes

        tasks = [asyncio.create_task(take(n, s * MIB)) for n, s in (("large", 12), ("small", 1), ("next", 4))]
        for _ in range(3):
            await asyncio.sleep(0)
        held.pop()
        for _ in range(3):
            await asyncio.sleep(0)
        assert order == []  # the small one would fit, but the large one was there before
        held.clear()
        assert await asyncio.gather(*tasks) == [12 * MIB, MIB, 4 * MIB]
        assert order[0] == "large"

    run_loop(main())


def test_memory_that_another_thread_frees_wakes_the_loop(pool, run_loop):
    async def main():
        held = [pool.empty(12 * MIB, "u1")]
        task = asyncio.create_task(pool.acquire(12 * MIB, "u1", timeout_s=WAIT_S))
        await asyncio.sleep(0)
        freer = started(held.clear)
        assert (await task).nbytes == 12 * MIB
        freer.join()

    run_loop(main())


def test_who_is_cancelled_leaves_the_line_and_the_next_is_served(pool, run_loop):
    async def main():
        held = pool.empty(12 * MIB, "u1")
        large = asyncio.create_task(pool.acquire(8 * MIB, "u1"))
        small = asyncio.create_task(pool.acquire(2 * MIB, "u1"))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        large.cancel()
        assert (await small).nbytes == 2 * MIB
        with pytest.raises(asyncio.CancelledError):
            await large
        del held

    run_loop(main())


def test_what_was_given_to_a_task_that_is_cancelled_goes_back(pool, run_loop):
    async def main():
        held = [pool.empty(12 * MIB, "u1")]
        first = asyncio.create_task(pool.acquire(12 * MIB, "u1"))
        second = asyncio.create_task(pool.acquire(12 * MIB, "u1"))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        held.clear()
        while pool.statistics().used_bytes == 0:  # the loop has given it to the first, who has not run yet
            await asyncio.sleep(0)
        first.cancel()
        assert (await second).nbytes == 12 * MIB
        outcome = (await asyncio.gather(first, return_exceptions=True))[0]
        assert isinstance(outcome, asyncio.CancelledError) or outcome.nbytes

    run_loop(main())


def test_acquire_gives_up_after_its_time_and_at_once_where_it_never_fits(pool, run_loop):
    async def main():
        held = pool.empty(12 * MIB, "u1")
        with pytest.raises(tr.PoolExhausted, match=r"cannot give 12MiB within timeout_s=0\.01"):
            await pool.acquire((12, MIB), "u1", timeout_s=0.01)
        with pytest.raises(tr.PoolExhausted, match="More than the limit never fits"):
            await pool.acquire(1 << 30, "u1")
        with pytest.raises(TypeError, match="none that NumPy knows"):
            await pool.acquire(3, "flot")
        with pytest.raises(ValueError, match="timeout_s"):
            await pool.acquire(3, timeout_s=-1)
        assert (await pool.acquire(MIB, "u1")).nbytes == MIB
        del held

    run_loop(main())


def test_acquire_collects_garbage_before_it_waits(pool, run_loop):
    class Holder:
        pass

    def leave_a_cycle():
        holder = Holder()
        holder.me, holder.frame = holder, pool.empty(12 * MIB, "u1")

    async def main():
        leave_a_cycle()
        assert (await pool.acquire(12 * MIB, "u1")).nbytes == 12 * MIB

    gc.disable()
    try:
        run_loop(main())
    finally:
        gc.enable()


def test_acquire_waits_in_virtual_time(virtual, clock, pool):
    async def main():
        held = [pool.empty(12 * MIB, "u1")]
        asyncio.get_running_loop().call_later(3600, held.clear)
        with pytest.raises(tr.PoolExhausted, match="within timeout_s=60"):
            await pool.acquire(12 * MIB, "u1", timeout_s=60)
        await tr.sleep(3600)
        return (await pool.acquire(12 * MIB, "u1", timeout_s=60)).nbytes

    assert clock.run(main()) == 12 * MIB


def test_many_tasks_and_threads_share_a_small_pool_and_all_are_served(pool, run_loop):
    async def take(size):
        for _ in range(5):
            array = await pool.acquire(size, "u1", timeout_s=WAIT_S * 10)
            array[0] = 1
            await asyncio.sleep(0)
            del array
        return size

    def work():
        for size in range(1, 8):
            pool.empty(size * MIB, "u1", timeout_s=WAIT_S * 10)[0] = 1

    async def main():
        threads = [started(work) for _ in range(2)]
        sizes = [(i % 9 + 1) * MIB for i in range(30)]
        assert await asyncio.gather(*map(take, sizes)) == sizes
        for thread in threads:
            thread.join()

    run_loop(main())
