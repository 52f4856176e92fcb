"""`tr.Executor` behaves as `concurrent.futures.ThreadPoolExecutor`; each test runs on both."""

from __future__ import annotations

import asyncio
import concurrent.futures
import threading

import pytest
import tailrace as tr

WAIT_S = 20.0


@pytest.fixture(params=[concurrent.futures.ThreadPoolExecutor, tr.Executor])
def make(request):
    return request.param


def test_it_is_an_executor_with_real_futures(make):
    with make(max_workers=2) as executor:
        assert isinstance(executor, concurrent.futures.Executor)
        future = executor.submit(divmod, 7, 2)
        assert isinstance(future, concurrent.futures.Future)
        assert future.result(WAIT_S) == (3, 1)


def test_map_keeps_order_and_raises_in_place(make):
    with make(max_workers=2) as executor:
        assert list(executor.map(pow, range(50), [2] * 50)) == [i * i for i in range(50)]
        results = executor.map(lambda x: 1 / x, [1, 0])
        assert next(results) == 1.0
        with pytest.raises(ZeroDivisionError):
            next(results)


def test_asyncio_awaits_its_futures(make):
    async def ask(executor):
        wrapped = asyncio.wrap_future(executor.submit(divmod, 7, 2))
        return await wrapped, await asyncio.get_running_loop().run_in_executor(executor, pow, 2, 10)

    with make(max_workers=2) as executor:
        assert asyncio.run(ask(executor)) == ((3, 1), 1024)


def test_as_completed_and_wait_understand_its_futures(make):
    with make(max_workers=2) as executor:
        futures = [executor.submit(pow, i, 2) for i in range(20)]
        assert {f.result() for f in concurrent.futures.as_completed(futures, WAIT_S)} == {
            i * i for i in range(20)
        }
        assert not concurrent.futures.wait(futures, WAIT_S).not_done


def test_tasks_run_on_at_most_max_workers_threads_and_never_on_the_waiter(make):
    with make(max_workers=2) as executor:
        idents = {f.result(WAIT_S) for f in [executor.submit(threading.get_ident) for _ in range(50)]}
    assert 1 <= len(idents) <= 2
    assert threading.get_ident() not in idents


def test_the_original_exception_is_raised(make):
    error = OSError("disk")

    def fail():
        raise error

    with make(max_workers=1) as executor:
        assert executor.submit(fail).exception(WAIT_S) is error


def test_the_initializer_runs_once_per_thread(make):
    seen = []
    with make(max_workers=1, initializer=lambda *args: seen.append(args), initargs=(1, 2)) as executor:
        executor.submit(int).result(WAIT_S)
        executor.submit(int).result(WAIT_S)
    assert seen == [(1, 2)]


def test_thread_names_start_with_the_prefix(make):
    with make(max_workers=1, thread_name_prefix="books") as executor:
        assert executor.submit(lambda: threading.current_thread().name).result(WAIT_S).startswith("books")


def test_submit_after_shutdown_is_a_runtime_error(make):
    executor = make(max_workers=1)
    executor.shutdown()
    with pytest.raises(RuntimeError):
        executor.submit(int)


def test_shutdown_without_wait_still_runs_what_is_queued(make):
    executor = make(max_workers=1)
    go = threading.Event()
    futures = [executor.submit(go.wait, WAIT_S), executor.submit(pow, 2, 3)]
    executor.shutdown(wait=False)
    go.set()
    assert [f.result(WAIT_S) for f in futures] == [True, 8]


def test_shutdown_can_cancel_what_has_not_begun(make):
    executor = make(max_workers=1)
    begun, go = threading.Event(), threading.Event()

    def hold():
        begun.set()
        return go.wait(WAIT_S)

    first = executor.submit(hold)
    assert begun.wait(WAIT_S)
    second = executor.submit(int)
    executor.shutdown(wait=False, cancel_futures=True)
    go.set()
    assert second.cancelled()
    assert first.result(WAIT_S) is True


@pytest.mark.parametrize("max_workers", [0, -1])
def test_max_workers_below_one_is_a_value_error(make, max_workers):
    with pytest.raises(ValueError, match="max_workers must be greater than 0"):
        make(max_workers=max_workers)


def test_an_initializer_that_cannot_be_called_is_a_type_error(make):
    with pytest.raises(TypeError, match="initializer must be a callable"):
        make(initializer=42)


def test_max_workers_is_visible_where_dask_looks_for_it(make):
    with make(max_workers=3) as executor:
        assert executor._max_workers == 3


def test_statistics_count_what_was_submitted():
    with tr.Executor(max_workers=1) as executor:
        for _ in range(5):
            executor.submit(int).result(WAIT_S)
        assert executor.statistics().submitted == 5


def test_max_workers_that_is_no_int_is_a_type_error():
    with pytest.raises(TypeError, match="max_workers must be an int"):
        tr.Executor(max_workers="4")
