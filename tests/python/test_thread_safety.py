"""What docs/thread_safety.md promises: members used from several threads, from steps, from handlers."""

from __future__ import annotations

import signal
import threading

import pytest
import tailrace as tr

WAIT_S = 20.0
THREADS, ROUNDS = 4, 40

double = tr.step(lambda x: 2 * x)


def at_once(*bodies):
    """Run each body ROUNDS times, all at the same time; the first error of any is raised."""
    begin, errors = threading.Barrier(len(bodies)), []

    def loop(body):
        begin.wait(WAIT_S)
        try:
            for _ in range(ROUNDS):
                body()
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=loop, args=(body,)) for body in bodies]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(WAIT_S)
    assert not any(thread.is_alive() for thread in threads)
    if errors:
        raise errors[0]


def test_one_runtime_serves_several_threads_that_start_submit_look_and_resize(rt):
    wf = tr.workflow(lambda x: double(double(x))).options(runtime=rt)

    def look():
        rt.statistics()
        assert rt.health().status in ("ok", "degraded")
        rt.stuck(0)

    sizes = [1, 2, 3]

    def resize():
        sizes.append(sizes.pop(0))
        rt.resize(sizes[0])

    at_once(
        lambda: wf(1),
        lambda: wf.start(2).result(WAIT_S),
        lambda: rt.submit(abs, -1).result(WAIT_S),
        look,
        resize,
    )
    assert rt.drain(WAIT_S)
    now = rt.statistics()
    assert (now.submitted, now.ok) == (3 * ROUNDS, 3 * ROUNDS)


def test_one_run_is_awaited_cancelled_and_looked_at_by_several_threads(rt):
    wf = tr.workflow(lambda x: double(double(x))).options(runtime=rt)
    for _ in range(ROUNDS):
        run, called = wf.start(1), []
        ends = []

        def ask(run=run, ends=ends):
            try:
                ends.append(run.result(WAIT_S))
            except tr.Cancelled:
                ends.append("cancelled")

        threads = [threading.Thread(target=ask) for _ in range(2)]
        threads += [
            threading.Thread(target=run.cancel),
            threading.Thread(
                target=lambda run=run: (run.history(), run.state, run.set_priority(tr.Priority.LOW))
            ),
            threading.Thread(target=lambda run=run, called=called: run.add_done_callback(called.append)),
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(WAIT_S)
        assert ends in ([4, 4], ["cancelled"] * 2)
        rt.drain(WAIT_S)
        assert called == [run]


def test_a_workflow_is_traced_once_though_several_threads_call_it_first(rt):
    traced, begin = [], threading.Barrier(THREADS)

    def body(x):
        traced.append(threading.get_ident())
        return double(x)

    wf, got = tr.workflow(body), []

    def call():
        begin.wait(WAIT_S)
        got.append(wf.options(runtime=rt)(1))

    threads = [threading.Thread(target=call) for _ in range(THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(WAIT_S)
    assert (got, len(traced)) == ([2] * THREADS, 1)


def test_one_executor_serves_several_threads(rt):
    with tr.Executor(max_workers=2) as executor:
        at_once(*[lambda: executor.submit(abs, -1).result(WAIT_S)] * THREADS, executor.statistics)
        assert executor.statistics().submitted == THREADS * ROUNDS


def test_closing_from_several_threads_ends_once_and_from_a_step_says_false(make_runtime):
    runtime = make_runtime(workers=1)
    assert runtime.submit(runtime.close, 0.1).result(WAIT_S) is False
    at_once(*[runtime.close] * THREADS)
    assert runtime.closed


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="needs POSIX timers")
def test_a_signal_handler_may_submit_start_look_and_cancel(rt):
    go, seen = threading.Event(), []
    wf = tr.workflow(lambda x: double(x)).compile().options(runtime=rt)
    hold = tr.step(blocking=True)(lambda: go.wait(WAIT_S))
    held = tr.workflow(lambda: hold()).options(runtime=rt).start()

    def handler(*_):
        seen.append((rt.submit(abs, -1), wf.start(2), rt.statistics(), rt.health(), held.cancel()))

    previous = signal.signal(signal.SIGUSR1, handler)
    try:
        timer = threading.Timer(0.01, signal.pthread_kill, (threading.main_thread().ident, signal.SIGUSR1))
        timer.start()
        with pytest.raises(tr.Cancelled):
            held.result(WAIT_S)  # the handler runs in the middle of this wait
    finally:
        signal.signal(signal.SIGUSR1, previous)
        go.set()
    timer.join()
    ((future, run, _, _, cancelled),) = seen
    assert (future.result(WAIT_S), run.result(WAIT_S), cancelled) == (1, 4, True)
