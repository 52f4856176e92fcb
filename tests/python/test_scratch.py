"""Arrays for the time of a step: from which pool, under whose name, until when."""

from __future__ import annotations

import asyncio
import gc
import os
import subprocess
import sys

import numpy as np
import pytest
import tailrace as tr

MIB = 1 << 20
WAIT_S = 20.0


@pytest.fixture(params=["workers", "debug", "virtual"])
def rt(request, pool):
    kinds = {
        "workers": {"workers": 2},
        "debug": {"debug": True},
        "virtual": {"clock": tr.VirtualClock(seed=1)},
    }
    with tr.Runtime(memory_pool=pool, **kinds[request.param]) as runtime:
        yield runtime


def total_of_ones(count):
    work = tr.scratch(count, "uint8")
    work.fill(1)
    return int(work.sum())


@tr.step
def total(count):
    return total_of_ones(count)


@tr.step(blocking=True)
def blocking_total(count):
    return total_of_ones(count)


@tr.step
async def async_total(count):
    await tr.sleep(0)
    return total_of_ones(count)


@pytest.mark.parametrize("kind", [total, blocking_total, async_total])
def test_scratch_of_a_step_is_counted_under_its_name_and_back_when_it_has_ended(rt, pool, kind):
    assert tr.workflow(lambda n: kind(n)).options(runtime=rt)(MIB) == MIB
    tag = rt.statistics().memory.tags[kind.name]
    assert (tag.n_alloc, tag.n_free, tag.used_bytes) == (1, 1, 0)
    assert rt.memory_pool is pool


def test_items_of_each_and_steps_of_nested_workflows_are_counted_as_history_names_them(rt, pool):
    @tr.workflow
    def inner(n):
        return total(n)

    @tr.workflow
    def outer(ns):
        return tr.each(total, ns), inner(MIB)

    assert outer.options(runtime=rt)([MIB, 2 * MIB]) == ([MIB, 2 * MIB], MIB)
    tags = pool.statistics().tags
    assert (tags["total"].n_alloc, tags["inner/total"].n_alloc) == (2, 1)


def test_scratch_of_submitted_tasks_is_counted_under_submit(rt, pool):
    assert rt.submit(total_of_ones, MIB).result(WAIT_S) == MIB
    assert pool.statistics().tags["submit"].n_alloc == 1


def test_an_array_that_the_step_returns_lives_on_and_is_given_to_nobody_else(rt, pool):
    @tr.step
    def make(value):
        array = tr.scratch(MIB, "uint8")
        array.fill(value)
        return array[1:]

    wf = tr.workflow(lambda value: make(value)).options(runtime=rt)
    first, second = wf(1), wf(2)
    assert first.min() == first.max() == 1
    assert second.min() == second.max() == 2
    assert pool.statistics().tags["make"].used_bytes == 2 * MIB


def test_a_failed_step_keeps_its_scratch_as_long_as_its_error_is_kept(rt, pool):
    @tr.step
    def fail():
        work = tr.scratch(MIB, "uint8")
        raise ValueError(work.size)

    gc.disable()
    try:
        with pytest.raises(tr.StepFailed) as failure:
            tr.workflow(lambda: fail()).options(runtime=rt)()
        assert pool.statistics().tags["fail"].used_bytes == MIB
        del failure
        gc.collect()
        rt.close()  # a worker may be about to let go of the run
        assert pool.statistics().tags["fail"].used_bytes == 0
    finally:
        gc.enable()


def test_a_step_may_be_bounded_by_the_limit_of_its_tag(rt, pool):
    pool.tag("total", limit="1MiB")
    wf = tr.workflow(lambda n: total(n)).options(runtime=rt)
    assert wf(MIB) == MIB
    with pytest.raises(tr.StepFailed) as failure:
        wf(2 * MIB)
    assert isinstance(failure.value.__cause__, tr.PoolExhausted)
    assert "total" in str(failure.value.__cause__)


def test_a_runtime_without_a_pool_makes_one_at_its_first_use():
    with tr.Runtime(workers=1) as one, tr.Runtime(workers=1) as other:
        assert one.statistics().memory is None
        one.submit(total_of_ones, MIB).result(WAIT_S)
        assert one.statistics().memory.tags["submit"].n_alloc == 1
        assert other.statistics().memory is None
        assert other.memory_pool is not one.memory_pool


def test_a_bare_step_takes_from_the_runtime_that_is_entered_without_a_tag(pool):
    with tr.Runtime(workers=1, memory_pool=pool):
        assert total(MIB) == MIB
        assert asyncio.run(async_total.fn(MIB)) == MIB
    counts = pool.statistics()
    assert counts.n_alloc == 2
    assert not counts.tags


def test_a_bare_step_makes_no_runtime():
    program = """
import sys, tailrace as tr
work = tr.scratch((4, 4), "float32")
assert work.shape == (4, 4)
assert "tailrace.runtime" not in sys.modules
assert tr.default_runtime().memory_pool.statistics().n_alloc == 1
"""
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)


def test_steps_in_an_executor_take_from_the_runtime_that_is_entered(pool):
    with tr.Runtime(workers=1, memory_pool=pool), tr.Executor(max_workers=1) as executor:
        assert executor.submit(total_of_ones, MIB).result(WAIT_S) == MIB
    assert pool.statistics().n_alloc == 1


def test_a_task_of_an_executor_may_wait_for_memory():
    pool = tr.MemoryPool(limit="4MiB")
    kept = pool.empty(4 * MIB, "uint8")
    with tr.Executor(max_workers=1) as executor:
        waiting = executor.submit(lambda: pool.empty(4 * MIB, "uint8", timeout_s=WAIT_S, collect=False).size)
        while not waiting.running():
            pass
        del kept
        assert waiting.result(WAIT_S) == 4 * MIB


def test_scratch_waits_for_memory_that_another_step_gives_back():
    pool = tr.MemoryPool(limit="4MiB")
    with tr.Runtime(workers=2, memory_pool=pool) as rt:
        kept = [pool.empty(4 * MIB, "uint8")]
        task = rt.submit(lambda: tr.scratch(4 * MIB, "uint8", timeout_s=WAIT_S, collect=False).size)
        while not task.running():
            pass
        kept.clear()
        assert task.result(WAIT_S) == 4 * MIB


def test_a_forked_child_has_its_own_scratch(pool):
    with tr.Runtime(workers=1, memory_pool=pool) as rt:
        assert rt.submit(total_of_ones, MIB).result(WAIT_S) == MIB
        child = os.fork()
        if child == 0:
            good = tr.scratch(MIB, "uint8").size == MIB and tr.scratch(8, "uint8").size == 8
            os._exit(0 if good else 1)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_more_step_names_than_tags_are_counted_without_one(rt, pool):
    for number in range(4096 - len(pool.statistics().tags)):
        pool.tag(f"part {number}")
    assert tr.workflow(lambda n: total(n)).options(runtime=rt)(MIB) == MIB
    assert "total" not in pool.statistics().tags


def test_steps_that_run_at_once_never_share_their_scratch(pool):
    @tr.step
    def mark(value):
        work = tr.scratch(1 << 16, "int64")
        work.fill(value)
        out = np.cumsum(work)  # lets go of the GIL
        return bool((work == value).all() and out[-1] == value << 16)

    with tr.Runtime(workers=4, memory_pool=pool) as rt:
        wf = tr.workflow(lambda ns: tr.each(mark, ns)).options(runtime=rt)
        assert all(wf(list(range(200))))


@pytest.mark.parametrize(
    ("call", "error", "says"),
    [
        (lambda: tr.scratch(), TypeError, "needs a shape"),
        (lambda: tr.scratch(1, "float32", 3), TypeError, "shape and dtype"),
        (lambda: tr.scratch(1, tag="mine"), TypeError, "tag"),
        (lambda: tr.scratch(-1), ValueError, "negative"),
        (lambda: tr.scratch(1, "object"), TypeError, "references to Python objects"),
        (lambda: tr.scratch(1 << 50, "uint8"), tr.PoolExhausted, "limit"),
        (lambda: tr.Runtime(memory_pool="1GiB"), TypeError, "tr.MemoryPool"),
    ],
)
def test_wrong_calls_are_refused_and_say_what_is_right(call, error, says):
    with pytest.raises(error, match=says):
        call()


def test_scratch_of_a_closed_pool_is_refused():
    pool = tr.MemoryPool(limit="1MiB")
    pool.close()
    with tr.Runtime(workers=1, memory_pool=pool) as rt, pytest.raises(tr.RuntimeClosed):
        rt.submit(total_of_ones, 8).result(WAIT_S)
