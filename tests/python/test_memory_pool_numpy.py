"""A pool as NumPy's allocator: who takes from it, where memory goes back, what follows the context."""

from __future__ import annotations

import asyncio
import gc
import re
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import tailrace as tr

MIB = 1 << 20
WAIT_S = 20.0
LARGE = 1 << 17  # float64: 1 MiB


def until(condition):
    end_s = time.monotonic() + WAIT_S
    while not condition():
        assert time.monotonic() < end_s


def used_mib(pool):
    return pool.statistics().used_bytes / MIB


def test_the_places_in_numpys_table_are_those_of_its_headers():
    repo = Path(__file__).parents[2]
    header = Path(np.get_include()) / "numpy" / "__multiarray_api.h"
    text = header.read_text(encoding="utf-8")
    names = {
        "kArrayType": "PyArray_Type",
        "kDescrType": "PyArrayDescr_Type",
        "kNewFromDescr": "PyArray_NewFromDescr",
        "kDescrConverter": "PyArray_DescrConverter",
        "kFeatureVersion": "PyArray_GetNDArrayCFeatureVersion",
        "kSetBaseObject": "PyArray_SetBaseObject",
        "kSetHandler": "PyDataMem_SetHandler",
        "kDefaultHandler": "PyDataMem_DefaultHandler",
    }
    source = (repo / "cpp" / "bindings" / "numpy_api.cpp").read_text(encoding="utf-8")
    ours = {name: int(place) for name, place in re.findall(r"(k\w+) = (\d+),", source)}
    assert ours.keys() == names.keys()
    places = {
        define.split(None, 1)[0]: int(found.group(1))
        for define in text.split("#define ")[1:]
        if (found := re.search(r"PyArray_API\[(\d+)\]", define))
    }
    assert ours == {name: places[theirs] for name, theirs in names.items()}


def test_arrays_made_inside_lie_in_the_pool_and_small_ones_do_not(pool):
    with pool.numpy():
        large = np.ones(LARGE)
        total = large + large
        small = np.ones(100)
    assert used_mib(pool) == 2
    assert (total == 2).all()
    assert (small == 1).all()
    outside = np.ones(LARGE)
    assert used_mib(pool) == 2
    del large, total, outside


def test_an_array_goes_back_to_its_own_pool_whatever_holds_then(pool):
    other = tr.MemoryPool(limit="64MiB")
    with pool.numpy():
        first = np.ones(LARGE)
        with other.numpy():
            second = np.ones(LARGE)
            assert (used_mib(pool), used_mib(other)) == (1, 1)
            del first
            assert (used_mib(pool), used_mib(other)) == (0, 1)
        third = np.ones(LARGE)
        assert (used_mib(pool), used_mib(other)) == (1, 1)
    del second, third
    assert used_mib(other) == 0


def test_an_array_outlives_block_and_pool():
    pool = tr.MemoryPool(limit="16MiB")
    with pool.numpy():
        array = np.full(LARGE, 7.0)
    del pool
    gc.collect()
    assert (array == 7).all()
    assert (array.copy() == 7).all()


def test_zeros_are_zeros_in_memory_that_was_used_before(pool):
    with pool.numpy():
        for _ in range(4):
            np.full(LARGE, 7.0)
            assert not np.zeros(LARGE).any()


def test_an_array_that_is_resized_keeps_its_content_on_every_way(pool):
    sizes = [10, 8000, 9000, LARGE, LARGE + 1, 3 * LARGE, LARGE, 20_000, 5000, 3, 2 * LARGE, 0, LARGE]
    with pool.numpy():
        array = np.arange(5.0)
        for size in sizes:
            kept = min(size, array.size)
            before = array[:kept].copy()
            array.resize(size, refcheck=False)
            assert (array[:kept] == before).all()
            assert not array[kept:].any()
            array[:] = np.arange(size)
        del array, before
    assert used_mib(pool) == 0


def test_an_array_is_resized_and_freed_outside_as_well(pool):
    with pool.numpy():
        array = np.ones(LARGE)
    array.resize(3 * LARGE, refcheck=False)
    assert used_mib(pool) == 3
    array.resize(10, refcheck=False)
    assert used_mib(pool) == 0
    assert (array == 1).all()


def test_what_numpy_does_with_scratch_of_its_own_stays_right(pool):
    rng = np.random.default_rng(5)
    values = rng.normal(size=(300, 300))
    with pool.numpy():
        ours = [
            np.sort(values, axis=0),
            values.T @ values,
            np.einsum("ij,jk->ik", values, values),
            values.cumsum(),
        ]
        lists = np.concatenate([values.astype("f4"), values.astype("f4")]).tolist()
    theirs = [
        np.sort(values, axis=0),
        values.T @ values,
        np.einsum("ij,jk->ik", values, values),
        values.cumsum(),
    ]
    for one, other in zip(ours, theirs, strict=True):
        assert (one == other).all()
    assert len(lists) == 600
    del ours, one


def test_an_exhausted_pool_is_numpys_memory_error_and_the_next_array_is_fine(pool):
    with pool.numpy():
        held = np.empty(40 * MIB, "u1")
        with pytest.raises(MemoryError, match="Unable to allocate"):
            np.empty(40 * MIB, "u1")
        with pytest.raises(MemoryError):
            np.zeros(40 * MIB, "u1")
        array = np.ones(10, "u1")
        del held
        assert np.empty(40 * MIB, "u1").nbytes == 40 * MIB
    assert array.sum() == 10


def test_arrays_count_for_the_tag_that_was_given(pool):
    with pool.numpy(tag="model"):
        array = np.ones(LARGE)
    assert pool.statistics().tags["model"].used_bytes == MIB
    del array
    assert pool.statistics().tags["model"].used_bytes == 0
    with pool.tag("small", limit="1MiB").numpy(), pytest.raises(MemoryError):
        np.ones(2 * LARGE)


def test_a_closed_pool_gives_numpy_nothing(pool):
    pool.close()
    with pool.numpy(), pytest.raises(MemoryError):
        np.ones(LARGE)


@tr.step
def grow(x):
    return np.ones(LARGE) * x


@tr.step(blocking=True)
def grow_blocking(x):
    return np.ones(LARGE) * x


@tr.step
async def grow_async(x):
    await asyncio.sleep(0)
    return np.ones(LARGE) * x


@pytest.mark.parametrize("step", [grow, grow_blocking, grow_async])
@pytest.mark.parametrize("call", ["here", "started"])
def test_steps_of_a_workflow_take_from_the_callers_pool(pool, rt, step, call):
    flow = tr.workflow(lambda x: step(step(x))).options(runtime=rt)
    with pool.numpy():
        run = flow if call == "here" else (lambda x: flow.start(x).result(WAIT_S))
        assert (run(3.0) == 3).all()
        array = run(5.0)
        until(lambda: used_mib(pool) == 1)  # a run lets go of its values after its waiter was told
    assert (array == 5).all()
    before = pool.statistics().n_alloc
    run(3.0)
    assert pool.statistics().n_alloc == before
    del array


def test_submitted_tasks_and_an_executors_take_from_the_callers_pool(pool, rt):
    with tr.Executor(max_workers=2) as executor, pool.numpy():
        arrays = [rt.submit(np.ones, LARGE).result(WAIT_S), executor.submit(np.ones, LARGE).result(WAIT_S)]
        arrays += executor.map(np.ones, [LARGE, LARGE])
        assert used_mib(pool) == 4
    rt.submit(np.ones, LARGE).result(WAIT_S)
    assert used_mib(pool) == 4
    arrays.clear()


def test_tasks_of_a_loop_and_to_thread_take_it_along_and_bare_threads_do_not(pool):
    async def main():
        with pool.numpy():
            task = asyncio.create_task(asyncio.to_thread(np.ones, LARGE))
            array = await task
            assert used_mib(pool) == 1
            with ThreadPoolExecutor(1) as executor:
                executor.submit(np.ones, LARGE).result(WAIT_S)
            assert pool.statistics().n_alloc == 1
            return array

    assert (asyncio.run(main()) == 1).all()


def test_two_contexts_with_two_pools_do_not_disturb_each_other(pool, rt):
    other = tr.MemoryPool(limit="64MiB")

    def both(x):
        with other.numpy():
            inner = np.full(LARGE, x)
        return inner, np.full(LARGE, x)

    with pool.numpy():
        pairs = [future.result(WAIT_S) for future in [rt.submit(both, float(x)) for x in range(8)]]
    assert (used_mib(pool), used_mib(other)) == (8, 8)
    for x, (inner, outer) in enumerate(pairs):
        assert (inner == x).all()
        assert (outer == x).all()
    del inner, outer
    pairs.clear()
    rt.close()  # a task that its waiter has run stays queued, with its result, until a worker comes by
    assert used_mib(other) == 0


def test_arrays_of_numpy_are_freed_on_any_thread(pool):
    with pool.numpy():
        arrays = [np.full(LARGE, float(i)) for i in range(12)]
    piles = [arrays[i::3] for i in range(3)]
    arrays.clear()
    threads = [threading.Thread(target=pile.clear) for pile in piles]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert used_mib(pool) == 0
