"""Nothing is left behind: each way into the library is gone a thousand times, and memory stays as it was."""

from __future__ import annotations

import asyncio
import ctypes
import gc
import itertools
import sys

import numpy as np
import pytest
import tailrace as tr

TIMES = 1000
MOST_BLOCKS = 300  # CPython's own caches breathe; a block a time would be 1000
MOST_OBJECTS = 50


@tr.step
def double(x):
    return 2 * x


@tr.step
def fail(x):
    raise ValueError(x)


@tr.step
async def double_later(x):
    return 2 * x


@tr.workflow
def good(x):
    return double(double(x))


@tr.workflow
def bad(x):
    return double(fail(x))


@tr.workflow
def later(x):
    return double_later(x)


@tr.workflow
def fan(xs):
    return tr.each(double, tr.each(double, xs))


@tr.workflow
def bad_fan(xs):
    return tr.each(double, tr.each(fail, xs))


@tr.workflow
def fan_later(xs):
    return tr.each(double_later, xs)


def function():
    draw = ctypes.CDLL(None).nrand48
    draw.restype, draw.argtypes = ctypes.c_int64, [ctypes.c_void_p]
    return draw


draw = tr.native_step(function(), np.dtype([("state", np.uint16, 3)], align=True))


@tr.workflow
def native(seed):
    root = draw(state=seed)
    return [draw(root), draw(draw(root))]


def call(rt):
    for x in range(TIMES):
        good.options(runtime=rt)(x)


def start_and_result(rt):
    for x in range(TIMES):
        good.options(runtime=rt).start(x).result()


def errors(rt):
    for x in range(TIMES):
        with pytest.raises(tr.StepFailed):
            bad.options(runtime=rt)(x)


def cancel(rt):
    for x in range(TIMES):
        good.options(runtime=rt).start(x).cancel()
    assert rt.drain(20)


def map_(rt):
    assert len(list(good.options(runtime=rt).map(range(TIMES)))) == TIMES


def submit(rt):
    for x in range(TIMES):
        rt.submit(abs, x).result()


def await_(rt):
    async def main():
        for x in range(TIMES):
            await later.options(runtime=rt).start(x)

    asyncio.run(main())


def stream(rt):
    async def main():
        return [x async for x in good.options(runtime=rt).stream(range(TIMES))]

    assert len(asyncio.run(main())) == TIMES


def executor_map(rt):
    with tr.Executor(max_workers=2) as pool:
        assert len(list(pool.map(abs, range(TIMES)))) == TIMES


def native_steps(rt):
    for x in range(TIMES):
        native.options(runtime=rt)([x + 1, 2, 3])


def each(rt):
    for x in range(TIMES):
        fan.options(runtime=rt)((x, x))
        fan.options(runtime=rt).start([x, x]).history()


def each_that_fails(rt):
    for x in range(TIMES):
        with pytest.raises(tr.StepFailed):
            bad_fan.options(runtime=rt)([x, x])


def each_that_is_cancelled(rt):
    for x in range(TIMES):
        fan.options(runtime=rt).start([x] * 20).cancel()
    assert rt.drain(20)


def each_on_a_loop(rt):
    async def main():
        for x in range(TIMES // 2):
            await fan_later.options(runtime=rt).start([x, x])

    asyncio.run(main())


WAYS = [
    call,
    start_and_result,
    errors,
    cancel,
    map_,
    submit,
    await_,
    stream,
    executor_map,
    native_steps,
    each,
    each_that_fails,
    each_that_is_cancelled,
    each_on_a_loop,
]


def left_behind(rt, way):
    """Blocks of memory, and objects that the collector knows, that there are more after one more time.

    A leak shows each time, a cache or a free list that has grown does not: the least of a few counts.
    """
    counts = []
    for _ in range(5):
        way(rt)
        assert rt.drain(20)
        gc.collect()
        counts.append((sys.getallocatedblocks(), len(gc.get_objects())))
    steps = [(b[0] - a[0], b[1] - a[1]) for a, b in itertools.pairwise(counts[1:])]
    return min(blocks for blocks, _ in steps), min(objects for _, objects in steps)


@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.__name__)
def test_a_thousand_times_leave_nothing_behind(rt, way):
    blocks, objects = left_behind(rt, way)
    assert objects <= MOST_OBJECTS, f"{objects} more objects after {TIMES} times"
    assert blocks <= MOST_BLOCKS, f"{blocks} more blocks after {TIMES} times"


def test_a_way_that_keeps_its_runs_is_found(rt):
    kept = []

    def leaky(rt):
        for x in range(TIMES):
            kept.append(good.options(runtime=rt).start(x))
            kept[-1].result()

    blocks, objects = left_behind(rt, leaky)
    assert objects >= TIMES > MOST_OBJECTS
    if sys.getallocatedblocks() > 0:  # else another allocator is in use, which counts nothing
        assert blocks >= TIMES > MOST_BLOCKS
