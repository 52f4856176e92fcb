"""`Executor.map`: all that `concurrent.futures.Executor.map` promises; most tests run on both."""

from __future__ import annotations

import concurrent.futures
import contextvars
import gc
import itertools
import threading
import time
import weakref
from concurrent.futures.thread import BrokenThreadPool

import pytest
import tailrace as tr

WAIT_S = 20.0


@pytest.fixture(params=[concurrent.futures.ThreadPoolExecutor, tr.Executor])
def make(request):
    return request.param


@pytest.mark.parametrize("count", [0, 1, 2, 1000])
def test_results_come_in_order_whatever_the_number_of_items(make, count):
    with make(max_workers=3) as executor:
        assert list(executor.map(lambda x: -x, range(count))) == [-x for x in range(count)]


def test_several_iterables_end_with_the_shortest(make):
    with make(max_workers=2) as executor:
        assert list(executor.map(pow, itertools.count(), range(5), [10] * 9)) == [
            0**0,
            1,
            4,
            27 % 10,
            256 % 10,
        ]


def test_no_iterable_gives_no_result(make):
    with make(max_workers=2) as executor:
        assert list(executor.map(int)) == []


def test_all_items_run_although_nobody_asks_for_results(make):
    ran = []
    with make(max_workers=2) as executor:
        executor.map(ran.append, range(10))
    assert sorted(ran) == list(range(10))


def test_items_that_block_overlap_up_to_max_workers(make):
    together = threading.Barrier(4)
    with make(max_workers=4) as executor:
        assert sorted(executor.map(lambda _: together.wait(WAIT_S), range(8))) == [0, 0, 1, 1, 2, 2, 3, 3]


def test_a_result_is_given_as_soon_as_it_is_there_while_a_later_item_blocks(make):
    go = threading.Event()
    with make(max_workers=1) as executor:
        results = executor.map(lambda x: x if x == 0 else go.wait(WAIT_S), range(2))
        assert next(results) == 0
        go.set()
        assert next(results) is True


def test_an_exception_ends_the_iteration_and_cancels_the_rest(make):
    begun, go = [], threading.Event()

    def work(x):
        begun.append(x)
        if x == 1:
            raise KeyError(x)
        if x == 2:
            go.wait(WAIT_S)
        return x

    with make(max_workers=1) as executor:
        results = executor.map(work, range(10))
        assert next(results) == 0
        with pytest.raises(KeyError):
            next(results)
        go.set()
        assert list(results) == []
    assert len(begun) <= 3


def test_a_base_exception_of_an_item_is_raised_too(make):
    def leave(_):
        raise SystemExit(3)

    with make(max_workers=1) as executor, pytest.raises(SystemExit):
        list(executor.map(leave, [1]))


def test_closing_the_iterator_cancels_what_has_not_begun(make):
    begun, go = [], threading.Event()

    def work(x):
        begun.append(x)
        return x == 0 or go.wait(WAIT_S)

    with make(max_workers=1) as executor:
        results = executor.map(work, range(10))
        assert next(results) is True
        results.close()
        go.set()
        assert list(results) == []
    assert len(begun) <= 2


def test_a_timeout_counts_from_the_call(make):
    go = threading.Event()
    with make(max_workers=1) as executor:
        results = executor.map(lambda x: x == 0 or go.wait(WAIT_S), range(5), timeout=0.05)
        assert next(results) is True
        with pytest.raises(TimeoutError):
            next(results)
        go.set()


def test_what_is_no_callable_fails_when_its_result_is_asked_for(make):
    with make(max_workers=1) as executor:
        results = executor.map(None, [1])
        with pytest.raises(TypeError):
            next(results)


def test_an_iterable_that_fails_does_so_at_the_call(make):
    def source():
        yield 1
        raise LookupError

    with make(max_workers=1) as executor, pytest.raises(LookupError):
        executor.map(abs, source())


def test_after_shutdown_it_is_a_runtime_error(make):
    executor = make(max_workers=1)
    executor.shutdown()
    with pytest.raises(RuntimeError, match="after shutdown"):
        executor.map(abs, [1])


def test_a_shutdown_that_cancels_ends_the_iteration_with_a_cancelled_error(make):
    begun, go = threading.Event(), threading.Event()

    def work(x):
        begun.set()
        return go.wait(WAIT_S)

    executor = make(max_workers=1)
    results = executor.map(work, range(5))
    assert begun.wait(WAIT_S)
    executor.shutdown(wait=False, cancel_futures=True)
    go.set()
    assert next(results) is True
    with pytest.raises(concurrent.futures.CancelledError):
        next(results)
    executor.shutdown()


def test_results_and_items_are_released_once_they_are_given(make):
    class Thing:
        pass

    with make(max_workers=1) as executor:
        for thing in executor.map(lambda _: Thing(), [1, 2]):
            reference = weakref.ref(thing)
            del thing
            gc.collect()
            end = time.monotonic() + WAIT_S
            while reference() is not None and time.monotonic() < end:
                time.sleep(0.001)
            assert reference() is None


def test_a_callable_in_c_lets_the_caller_have_the_interpreter(make):
    with make(max_workers=1) as executor:
        results = executor.map(abs, range(300_000))
        assert next(results) == 0
        assert sum(1 for _ in results) == 299_999


# What is ours alone.

number = contextvars.ContextVar("number", default=0)


def test_every_item_runs_in_the_callers_context_and_sees_no_change_of_another():
    def change(x):
        before = number.get()
        if x % 3 == 0:
            number.set(x + 100)
        return before

    token = number.set(7)
    try:
        with tr.Executor(max_workers=2) as executor:
            assert set(executor.map(change, range(300))) == {7}
    finally:
        number.reset(token)


def test_a_token_of_one_item_is_of_no_use_to_the_next():
    tokens = []

    def work(x):
        if x == 0:
            tokens.append(number.set(1))
            return None
        with pytest.raises(ValueError, match="different Context"):
            number.reset(tokens[0])
        return number.get()

    with tr.Executor(max_workers=1) as executor:
        assert list(executor.map(work, range(2))) == [None, 0]


def test_a_buffersize_bounds_how_far_the_source_is_read():
    read = []

    def source():
        for x in itertools.count():
            read.append(x)
            yield x

    with tr.Executor(max_workers=2) as executor:
        results = executor.map(lambda x: x, source(), buffersize=3)
        assert read == [0, 1, 2]
        for x in range(20):
            assert next(results) == x
            assert read[-1] == x + 3
        results.close()


@pytest.mark.parametrize("size", [1, 2, 5, 100])
def test_with_a_buffersize_every_item_is_given_once_and_in_order(size):
    with tr.Executor(max_workers=3) as executor:
        assert list(executor.map(lambda x: x, range(50), buffersize=size)) == list(range(50))


def test_a_source_that_fails_in_the_middle_fails_where_it_is_read():
    def source():
        yield from range(3)
        raise LookupError

    with tr.Executor(max_workers=1) as executor:
        results = executor.map(lambda x: x, source(), buffersize=2)
        assert next(results) == 0
        with pytest.raises(LookupError):
            next(results)
        assert list(results) == []


@pytest.mark.parametrize(
    ("size", "error"), [(0, ValueError), (-1, ValueError), ("2", TypeError), (1.5, TypeError)]
)
def test_a_wrong_buffersize_is_refused_at_the_call(size, error):
    with tr.Executor(max_workers=1) as executor, pytest.raises(error, match="buffersize"):
        executor.map(abs, [1], buffersize=size)


def test_two_threads_may_share_the_iterator():
    with tr.Executor(max_workers=2) as executor:
        results = executor.map(lambda x: x, range(2000))
        got: list[list[int]] = [[], []]
        threads = [threading.Thread(target=mine.extend, args=(results,)) for mine in got]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(WAIT_S)
    assert sorted(got[0] + got[1]) == list(range(2000))


def test_maps_and_submits_share_the_threads():
    with tr.Executor(max_workers=2) as executor:
        maps = [executor.map(lambda x, k=k: x + k, range(100)) for k in range(5)]
        future = executor.submit(abs, -1)
        assert [sum(results) for results in maps] == [4950 + 100 * k for k in range(5)]
        assert future.result(WAIT_S) == 1
        assert executor.statistics().submitted == 501


def test_a_map_that_leads_back_to_itself_is_collected():
    class Box:
        pass

    def lead_back(executor):
        box = Box()
        box.results = executor.map(lambda x: (box, x), range(3))
        assert next(box.results)[1] == 0
        return weakref.ref(box)

    with tr.Executor(max_workers=1) as executor:
        reference = lead_back(executor)
    gc.collect()
    assert reference() is None


def test_a_map_on_a_pool_whose_initializer_fails_says_that_the_pool_is_broken():
    with tr.Executor(max_workers=1, initializer=lambda: 1 / 0) as executor, pytest.raises(BrokenThreadPool):
        list(executor.map(abs, range(3)))
