"""`map`: ordered results, bounded in flight, waiting where the runtime is full."""

from __future__ import annotations

import itertools
import threading

import pytest
import tailrace as tr

WAIT_S = 20.0


@tr.step
def double(x):
    return 2 * x


@tr.step
def invert(x):
    return 1 / x


@tr.workflow
def doubled(x):
    return double(x)


@tr.workflow
def inverted(x):
    return invert(x)


def test_results_come_in_the_order_of_the_items(rt):
    assert list(doubled.options(runtime=rt).map(range(500))) == [2 * i for i in range(500)]
    assert rt.statistics().ok == 500


def test_an_endless_source_is_consumed_lazily(rt):
    taken = itertools.count()
    results = doubled.options(runtime=rt).map((next(taken) for _ in itertools.count()), concurrency=4)
    assert [next(results) for _ in range(10)] == list(range(0, 20, 2))
    assert next(taken) <= 20
    results.close()


def test_never_more_than_concurrency_runs_are_in_flight(rt):
    seen, lock, now = [], threading.Lock(), [0]

    @tr.step(blocking=True)
    def count(x):
        with lock:
            now[0] += 1
            seen.append(now[0])
        with lock:
            now[0] -= 1
        return x

    wf = tr.workflow(lambda x: count(x)).options(runtime=rt)
    assert list(wf.map(range(50), concurrency=3)) == list(range(50))
    assert max(seen) <= 3


def test_a_full_runtime_makes_map_wait_not_raise(make_runtime):
    small = make_runtime(workers=1, max_pending=2, name="small")
    go = threading.Event()
    hold = tr.step(blocking=True)(lambda: go.wait(WAIT_S))
    runs = [tr.workflow(lambda: hold()).options(runtime=small).start() for _ in range(2)]
    with pytest.raises(tr.Overloaded, match="max_pending=2"):
        doubled.options(runtime=small).start(1)
    threading.Timer(0.05, go.set).start()
    assert list(doubled.options(runtime=small).map(range(20))) == list(range(0, 40, 2))
    assert all(run.result(WAIT_S) for run in runs)


def test_a_failure_is_raised_in_its_place(rt):
    results = inverted.options(runtime=rt).map([1, 2, 0, 4])
    assert [next(results), next(results)] == [1.0, 0.5]
    with pytest.raises(tr.StepFailed, match="ZeroDivisionError"):
        next(results)
    assert list(results) == []


def test_ending_early_cancels_what_is_in_flight(rt):
    go = threading.Event()

    @tr.step(blocking=True)
    def wait(x):
        return x if x == 0 else go.wait(WAIT_S)

    results = tr.workflow(lambda x: wait(x)).options(runtime=rt).map(range(4), concurrency=4)
    assert next(results) == 0
    results.close()
    assert rt.statistics().cancelled == 3
    go.set()


@pytest.mark.parametrize(
    ("value", "error"), [(0, ValueError), (-1, ValueError), ("8", TypeError), (True, TypeError)]
)
def test_a_wrong_concurrency_is_refused_at_the_call(rt, value, error):
    for method in (doubled.map, doubled.stream):
        with pytest.raises(error, match="workflow 'doubled': concurrency"):
            method([1], concurrency=value)


def test_something_that_is_no_iterable_is_refused_at_the_call():
    with pytest.raises(TypeError):
        doubled.map(42)
    with pytest.raises(TypeError, match="workflow 'doubled': stream needs an iterable"):
        doubled.stream(42)
