"""`Runtime`: options, counters, health, draining, closing, and which one a call uses."""

from __future__ import annotations

import dataclasses
import threading

import pytest
import tailrace as tr
from tailrace import _core

WAIT_S = 20.0


@tr.step
def which():
    return _core.current_runtime()


@tr.workflow
def chosen():
    return which()


@pytest.mark.parametrize(
    ("option", "value", "error"),
    [
        ("workers", 0, ValueError),
        ("workers", -2, ValueError),
        ("workers", 10**9, ValueError),
        ("workers", 2.0, TypeError),
        ("workers", True, TypeError),
        ("workers", "2", TypeError),
        ("max_pending", 0, ValueError),
        ("max_pending", None, TypeError),
        ("max_blocking", 0, ValueError),
        ("max_blocking", 1.5, TypeError),
        ("profile", "turbo", ValueError),
        ("profile", None, TypeError),
        ("name", "", TypeError),
        ("name", 3, TypeError),
        ("clock", 3, TypeError),
    ],
)
def test_an_option_of_the_wrong_type_or_range_is_refused_by_name(option, value, error):
    with pytest.raises(error, match=option):
        tr.Runtime(**{option: value})


@pytest.mark.parametrize("profile", ["eco", "balanced", "latency"])
def test_a_profile_is_shown_in_the_statistics_and_eco_never_spins(profile, make_runtime):
    runtime = make_runtime(workers=1, profile=profile)
    for number in range(20):
        assert runtime.submit(pow, number, 2).result() == number**2
    statistics = runtime.statistics()
    assert statistics.profile == runtime.profile == profile
    assert all(worker.spins_paid <= worker.spins for worker in statistics.workers)
    if profile == "eco":
        assert [worker.spins for worker in statistics.workers] == [0]


def test_a_wrong_profile_is_told_which_there_are():
    with pytest.raises(
        ValueError, match=r"'eco', 'balanced' or 'latency', got 'turbo'; write Runtime\(profile='eco'\)"
    ):
        tr.Runtime(profile="turbo")


def test_an_unknown_option_is_an_ordinary_type_error():
    with pytest.raises(TypeError, match="unexpected keyword argument 'threads'"):
        tr.Runtime(threads=2)


def test_the_environment_sets_the_default_of_workers(monkeypatch, make_runtime):
    monkeypatch.setenv("TAILRACE_WORKERS", "3")
    assert make_runtime().workers == 3
    assert make_runtime(workers=1).workers == 1


@pytest.mark.parametrize("text", ["0", "-1", "two", "1.5"])
def test_a_wrong_environment_is_a_value_error_that_names_the_variable(monkeypatch, text):
    monkeypatch.setenv("TAILRACE_WORKERS", text)
    with pytest.raises(ValueError, match="TAILRACE_WORKERS"):
        tr.Runtime()


def test_submit_returns_a_real_future_and_raises_the_original(rt):
    assert rt.submit(divmod, 7, 2).result(WAIT_S) == (3, 1)
    future = rt.submit(int, "x", base=16)
    assert isinstance(future, tr.Future)
    with pytest.raises(ValueError, match="invalid literal"):
        future.result(WAIT_S)


def test_submit_with_nobody_waiting_runs(rt):
    ran = threading.Event()
    rt.submit(ran.set)
    assert ran.wait(WAIT_S)


def test_statistics_add_up_and_are_frozen(rt):
    for i in range(10):
        rt.submit(pow, i, 2)
    assert rt.drain(WAIT_S)
    now = rt.statistics()
    assert (now.submitted, now.ok, now.in_flight) == (10, 10, 0)
    assert len(now.workers) == 2
    with pytest.raises(dataclasses.FrozenInstanceError):
        now.ok = 0
    tr.testing.check_accounting(rt)


def test_drain_with_a_timeout_says_whether_it_is_idle(rt):
    go = threading.Event()
    hold = tr.step(blocking=True)(lambda: go.wait(WAIT_S))
    tr.workflow(lambda: hold()).options(runtime=rt).start()
    assert rt.drain(timeout_s=0.01) is False
    go.set()
    assert rt.drain(timeout_s=WAIT_S) is True


@pytest.mark.parametrize("method", ["drain", "close", "stuck"])
@pytest.mark.parametrize(("value", "error"), [(-1, ValueError), (float("nan"), ValueError), ("1", TypeError)])
def test_wrong_seconds_are_refused(rt, method, value, error):
    with pytest.raises(error, match=f"{method}: "):
        getattr(rt, method)(value)


def test_health_goes_from_ok_to_closed(rt):
    assert rt.health() == type(rt.health())("ok", ())
    rt.close()
    assert rt.health().status == "closed"
    assert "'test'" in rt.health().reasons[0]


def test_a_full_runtime_is_degraded_and_says_why(make_runtime):
    small = make_runtime(workers=1, max_pending=1)
    go = threading.Event()
    hold = tr.step(blocking=True)(lambda: go.wait(WAIT_S))
    tr.workflow(lambda: hold()).options(runtime=small).start()
    health = small.health()
    go.set()
    assert health.status == "degraded"
    assert "max_pending" in health.reasons[0]


def test_stuck_shows_the_python_stack_of_a_worker(rt):
    begun, go = threading.Event(), threading.Event()

    def here_it_hangs():
        begun.set()
        go.wait(WAIT_S)

    hang = tr.step(here_it_hangs)
    run = tr.workflow(lambda: hang()).options(runtime=rt).start()
    assert begun.wait(WAIT_S)
    (stuck,) = rt.stuck(after_s=0)
    go.set()
    run.result(WAIT_S)
    assert (stuck.workflow, stuck.step) == ("<lambda>", "here_it_hangs")
    assert stuck.running_s >= 0.0
    assert "in here_it_hangs" in stuck.stack


def test_a_closed_runtime_refuses_work_with_its_name(rt):
    rt.close()
    for use in (
        lambda: rt.submit(print),
        chosen.options(runtime=rt),
        chosen.options(runtime=rt).start,
        rt.__enter__,
    ):
        with pytest.raises(tr.RuntimeClosed, match="'test' is closed"):
            use()


def test_closing_twice_is_fine_and_drain_after_close_is_idle(rt):
    assert rt.close() is True
    assert rt.close() is True
    assert rt.drain(0) is True
    assert "closed" in repr(rt)


def test_closing_cancels_what_is_pending_and_accounts_for_it(make_runtime):
    runtime = make_runtime(workers=1)
    begun, go = threading.Event(), threading.Event()

    def hang():
        begun.set()
        go.wait(WAIT_S)

    first = runtime.submit(hang)
    assert begun.wait(WAIT_S)
    others = [runtime.submit(pow, 2, i) for i in range(5)]
    threading.Timer(0.1, go.set).start()
    assert runtime.close(timeout_s=WAIT_S) is True
    assert all(future.done() for future in [first, *others])


def test_leaving_the_with_block_drains_and_closes():
    done = []
    with tr.Runtime(workers=2) as runtime:
        for i in range(50):
            runtime.submit(done.append, i)
    assert sorted(done) == list(range(50))
    assert runtime.closed


def test_leaving_by_an_exception_cancels():
    go = threading.Event()
    wait = tr.step(blocking=True)(lambda: go.wait(WAIT_S))
    wf = tr.workflow(lambda: wait())
    runtime, runs = tr.Runtime(workers=1), []

    def leave():
        with runtime:
            runs.append(wf.start())
            threading.Timer(0.1, go.set).start()
            raise KeyError

    with pytest.raises(KeyError):
        leave()
    assert runs[0].state == "cancelled"
    assert runtime.closed


def test_an_explicit_option_wins_over_everything(rt, make_runtime):
    with make_runtime(workers=1):
        assert chosen.options(runtime=rt)() is rt


def test_inside_a_step_the_runtime_of_the_step_is_used(rt, make_runtime):
    @tr.step
    def inner():
        return chosen()

    with make_runtime(workers=1):
        assert tr.workflow(lambda: inner()).options(runtime=rt)() is rt


def test_the_with_block_wins_over_the_default_and_nests(rt, make_runtime):
    other = make_runtime(workers=1)
    with rt:
        assert chosen() is rt
        with other:
            assert chosen() is other
        assert chosen() is rt


def test_the_default_is_made_at_first_use_and_again_after_it_was_closed():
    first = chosen()
    assert first is tr.default_runtime()
    first.close()
    second = chosen()
    assert second is not first
    assert not second.closed
    second.close()
