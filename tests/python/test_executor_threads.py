"""Threads of an executor: when they are made, their names, when they end. Most tests run on both pools."""

from __future__ import annotations

import asyncio
import concurrent.futures
import gc
import os
import re
import sys
import threading
import weakref

import pytest
import tailrace as tr

WAIT_S = 20.0


@pytest.fixture(params=[concurrent.futures.ThreadPoolExecutor, tr.Executor])
def make(request):
    return request.param


def fail():
    raise ValueError("no database")


def test_it_is_a_thread_pool_executor_where_the_library_insists_on_one():
    async def main():
        loop = asyncio.get_running_loop()
        loop.set_default_executor(executor)
        return await asyncio.to_thread(threading.get_ident)

    executor = tr.Executor(max_workers=1)
    assert isinstance(executor, concurrent.futures.ThreadPoolExecutor)
    assert asyncio.run(main()) == next(iter(executor._threads)).ident


def test_by_default_there_are_four_more_threads_than_cpus(make):
    cpus = getattr(os, "process_cpu_count", os.cpu_count)()
    with make() as executor:
        assert executor._max_workers == min(32, cpus + 4)


def test_each_task_that_finds_no_idle_thread_gets_one_up_to_the_limit(make):
    go = threading.Event()
    with make(max_workers=3) as executor:
        for most in (1, 2, 3, 3, 3):
            executor.submit(go.wait, WAIT_S)
            assert len(executor._threads) == most
        go.set()


def test_an_idle_thread_is_used_again(make):
    with make(max_workers=5) as executor:
        for i in range(200):
            assert executor.submit(pow, i, 2).result(WAIT_S) == i * i
        assert len(executor._threads) == 1


def test_a_callback_that_waits_for_a_new_task_gets_another_thread(make):
    got, called = [], threading.Event()

    def call(_):
        got.append(executor.submit(pow, 2, 3).result(WAIT_S))
        called.set()

    with make(max_workers=2) as executor:
        go = threading.Event()
        executor.submit(go.wait, WAIT_S).add_done_callback(call)
        go.set()
        assert called.wait(WAIT_S)
    assert got == [8]


def test_threads_are_called_after_the_prefix_and_numbered(make):
    go = threading.Barrier(4)
    executor = make(max_workers=3, thread_name_prefix="books")
    for _ in range(3):
        executor.submit(go.wait, WAIT_S)
    go.wait(WAIT_S)
    threads = executor._threads
    executor.shutdown()
    assert {thread.name for thread in threads} == {"books_0", "books_1", "books_2"}


def test_without_a_prefix_names_are_those_of_the_standard_pool_and_unique(make):
    names = set()
    for _ in range(2):
        with make(max_workers=1) as executor:
            names.add(executor.submit(lambda: threading.current_thread().name).result(WAIT_S))
    assert len(names) == 2
    assert all(re.fullmatch(r"ThreadPoolExecutor-\d+_0", name) for name in names)


@pytest.mark.parametrize(
    "end",
    [lambda executor: executor.shutdown(wait=False), lambda executor: None],
    ids=["shut down", "dropped"],
)
def test_threads_can_be_joined_after_the_executor_was(make, end):
    executor = make(max_workers=4)
    futures = [executor.submit(abs, i) for i in range(-5, 5)]
    threads = executor._threads
    end(executor)
    del executor
    gc.collect()
    for thread in threads:
        thread.join(WAIT_S)
        assert not thread.is_alive()
    assert [future.result(WAIT_S) for future in futures] == [abs(i) for i in range(-5, 5)]


def test_a_dropped_executor_is_collected_though_results_of_it_are_kept(make):
    executor = make(max_workers=1)
    gone = threading.Event()
    weakref.finalize(executor, gone.set)
    kept = executor.submit(int)
    assert kept.result(WAIT_S) == 0
    del executor
    gc.collect()
    assert gone.wait(WAIT_S)


def test_an_executor_that_its_own_initializer_refers_to_is_collected():
    class Service:
        def __init__(self):
            self.executor = tr.Executor(1, initializer=self.begin)

        def begin(self):
            pass

    service = Service()
    gone = threading.Event()
    weakref.finalize(service, gone.set)
    assert service.executor.submit(int).result(WAIT_S) == 0
    threads = service.executor._threads
    del service
    for _ in range(50):  # the thread lets go of its last task a moment after the result is there
        gc.collect()
        if gone.wait(WAIT_S / 50):
            break
    assert gone.is_set()
    for thread in threads:
        thread.join(WAIT_S)


def test_a_thread_keeps_nothing_of_a_task_that_has_ended(make):
    class Thing:
        def method(self):
            pass

    thing, gone = Thing(), threading.Event()
    weakref.finalize(thing, gone.set)
    with make(max_workers=1) as executor:
        executor.submit(thing.method)
        del thing
        assert gone.wait(WAIT_S)


def test_threads_that_have_ended_are_not_enumerated(make):
    executor = make(max_workers=2, thread_name_prefix="listed")
    barrier = threading.Barrier(3)
    for _ in range(2):
        executor.submit(barrier.wait, WAIT_S)
    assert sum(thread.name.startswith("listed") for thread in threading.enumerate()) <= 2
    barrier.wait(WAIT_S)
    executor.shutdown()
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("listed")]


def test_thread_locals_live_as_long_as_their_thread(make):
    local = threading.local()

    def count():
        local.calls = getattr(local, "calls", 0) + 1
        return local.calls

    with make(max_workers=1) as executor:
        assert [executor.submit(count).result(WAIT_S) for _ in range(3)] == [1, 2, 3]


def test_a_failed_initializer_breaks_the_executor_for_what_is_pending_and_what_comes(make, caplog):
    go = threading.Event()

    def begin():
        go.wait(WAIT_S)
        fail()

    executor = make(max_workers=2, initializer=begin)
    pending = [executor.submit(int) for _ in range(5)]
    go.set()
    for future in pending:
        assert isinstance(future.exception(WAIT_S), concurrent.futures.thread.BrokenThreadPool)
    with pytest.raises(concurrent.futures.BrokenExecutor, match="initializer failed"):
        executor.submit(int)
    assert "initializer failed" in executor._broken
    executor.shutdown()
    assert any(
        "Exception in initializer" in r.message and r.name == "concurrent.futures" for r in caplog.records
    )


def test_an_executor_is_not_broken_before(make):
    with make(max_workers=1) as executor:
        assert executor._broken is False
        assert executor._shutdown is False
    assert executor._shutdown is True


def test_the_queue_can_be_measured(make):
    begun, go = threading.Event(), threading.Event()

    def hold():
        begun.set()
        go.wait(WAIT_S)

    with make(max_workers=1) as executor:
        executor.submit(hold)
        assert begun.wait(WAIT_S)
        for _ in range(3):
            executor.submit(int)
        assert executor._work_queue.qsize() == 3
        go.set()


def test_a_cancelled_task_does_not_hold_up_shutdown(make):
    executor = make(max_workers=1)
    begun, go = threading.Event(), threading.Event()
    executor.submit(lambda: (begun.set(), go.wait(WAIT_S)))
    assert begun.wait(WAIT_S)
    assert executor.submit(int).cancel()
    go.set()
    executor.shutdown()


def test_two_threads_may_wait_for_the_same_shutdown(make):
    executor = make(max_workers=1)
    begun, go = threading.Event(), threading.Event()
    future = executor.submit(lambda: (begun.set(), go.wait(WAIT_S)))
    assert begun.wait(WAIT_S)
    seen = []

    def leave():
        executor.shutdown()
        seen.append(future.done())

    threads = [threading.Thread(target=leave) for _ in range(2)]
    for thread in threads:
        thread.start()
    go.set()
    for thread in threads:
        thread.join(WAIT_S)
    assert seen == [True, True]


def test_a_task_that_waits_for_its_own_executor_to_end_is_told_so(make):
    executor = make(max_workers=1)
    with pytest.raises(RuntimeError, match="cannot join current thread"):
        executor.submit(executor.shutdown).result(WAIT_S)


def test_base_exceptions_reach_who_waits_and_end_no_thread(make):
    def leave(kind):
        raise kind

    with make(max_workers=1) as executor:
        for kind in (SystemExit, KeyboardInterrupt, GeneratorExit):
            assert isinstance(executor.submit(leave, kind).exception(WAIT_S), kind)
        assert executor.submit(pow, 2, 3).result(WAIT_S) == 8
        assert len(executor._threads) == 1


def test_collecting_garbage_all_the_time_beside_many_short_executors_harms_nobody():
    stop = threading.Event()

    def collect():
        while not stop.is_set():
            gc.collect(0)

    collector = threading.Thread(target=collect)
    collector.start()
    try:
        for _ in range(30):
            executor = tr.Executor(max_workers=3)
            futures = [executor.submit(pow, i, 2) for i in range(20)]
            del executor
            assert [future.result(WAIT_S) for future in futures] == [i * i for i in range(20)]
    finally:
        stop.set()
        collector.join(WAIT_S)


CTRL_C = """
import os, signal, threading, tailrace as tr
begun, go = threading.Event(), threading.Event()
executor = tr.Executor(1)
executor.submit(lambda: (begun.set(), go.wait(60)))
def interrupt():
    begun.wait()
    os.kill(os.getpid(), signal.SIGINT)
begun.wait()
threading.Timer(0.2, interrupt).start()
try:
    executor.shutdown()
except KeyboardInterrupt:
    print("interrupted")
go.set()
executor.shutdown()
"""


@pytest.mark.skipif(sys.platform == "win32", reason="needs POSIX signals")
def test_ctrl_c_ends_the_wait_for_a_shutdown(run_script):
    done = run_script(CTRL_C)
    assert (done.returncode, done.stdout.strip()) == (0, "interrupted"), done.stderr
