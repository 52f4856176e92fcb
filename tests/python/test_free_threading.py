"""Many threads at everything at once: exact accounts, with a GIL and without (PYTHON_GIL=0 on 3.13t)."""

from __future__ import annotations

import asyncio
import gc
import random
import threading
from collections.abc import Callable
from concurrent.futures import FIRST_COMPLETED, CancelledError, wait
from contextlib import suppress
from functools import partial

import pytest
import tailrace as tr

WAIT_S = 60.0
LAPS = 30


@tr.step
def add(a: int, b: int) -> int:
    return a + b


@tr.step
def fail_on_seven(a: int) -> int:
    if a % 7 == 0:
        raise ValueError(a)
    return a


@tr.step
async def late(a: int) -> int:
    await asyncio.sleep(0)
    return a


@tr.step(blocking=True)
def elsewhere(a: int) -> int:
    return a


@tr.workflow
def both(a: int) -> int:
    left = fail_on_seven(a)
    return add(add(left, elsewhere(a)), add(left, a))


@tr.workflow
def on_a_loop(a: int) -> int:
    return add(late(a), late(a))


def side_by_side(jobs: list[Callable[[], None]]) -> None:
    """Run all jobs at once, each on a thread; raise what one of them raised."""
    errors: list[BaseException] = []
    together = threading.Barrier(len(jobs))

    def run(job: Callable[[], None]) -> None:
        try:
            together.wait(WAIT_S)
            job()
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=run, args=(job,), daemon=True) for job in jobs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(WAIT_S)
    assert not any(thread.is_alive() for thread in threads), "a job hangs"
    if errors:
        raise errors[0]


def test_two_steps_that_never_wait_run_beside_each_other(rt):
    begun = [False, False]

    def spin(mine: int) -> bool:
        begun[mine] = True
        return any(begun[1 - mine] for _ in range(200_000_000))

    futures = [rt.submit(spin, 0), rt.submit(spin, 1)]
    wait(futures, timeout=WAIT_S)
    assert [future.result(WAIT_S) for future in futures] == [True, True]


def test_threads_that_use_one_runtime_for_everything_leave_exact_accounts(make_runtime):
    rt = make_runtime(workers=3, max_workers=6, max_pending=100_000)
    start = both.options(runtime=rt).start
    shared: list[tr.Future] = []

    def submits(seed: int) -> None:
        draw = random.Random(seed)
        for lap in range(LAPS):
            futures = [rt.submit(add.__wrapped__, lap, i) for i in range(8)]
            shared.extend(futures)
            for i, future in enumerate(futures):
                if draw.random() < 0.3 and future.cancel():
                    with pytest.raises(CancelledError):
                        future.result(WAIT_S)
                else:
                    assert future.result(WAIT_S) == lap + i
            wait([rt.submit(int), rt.submit(int)], timeout=WAIT_S, return_when=FIRST_COMPLETED)

    def runs(seed: int) -> None:
        draw = random.Random(seed)
        for lap in range(1, LAPS):
            told: list[object] = []
            made = [start(lap) for _ in range(4)]
            for run in made:
                run.add_done_callback(told.append)
            if draw.random() < 0.3:
                made[0].cancel()
            for run in made:
                error = None
                try:
                    assert run.result(WAIT_S) == 4 * lap
                except (tr.StepFailed, tr.Cancelled) as caught:
                    error = caught
                assert isinstance(error, tr.StepFailed) == (run.state == "failed")
                assert run.done()
            assert rt.drain(WAIT_S)
            assert len(told) == 4

    def calls() -> None:
        for lap in range(1, LAPS):
            if lap % 7:
                assert both.options(runtime=rt)(lap) == 4 * lap

    def awaits() -> None:
        async def main() -> None:
            ask = on_a_loop.options(runtime=rt).start
            for lap in range(LAPS // 4):
                assert await asyncio.gather(*[ask(lap) for _ in range(8)]) == [2 * lap] * 8
                ask(lap).cancel()

        asyncio.run(main())

    def looks() -> None:
        for lap in range(LAPS):
            rt.statistics()
            rt.stuck(0)
            both.statistics()
            rt.resize(2 + lap % 3)
            with suppress(ValueError):  # it was modified meanwhile
                shared.sort(key=tr.Future.done)  # comes into the core with the list's lock held
            if lap % 8 == 0:
                shared.clear()
            gc.collect()

    side_by_side(
        [partial(submits, 1), partial(submits, 2), partial(runs, 3), partial(runs, 4), calls, awaits, looks]
    )


def test_threads_that_trace_one_workflow_first_get_one_plan(rt):
    def ask(fresh: tr.Workflow) -> None:
        assert fresh.options(runtime=rt)(2) == 6

    for _ in range(20):
        fresh = tr.workflow(lambda a: add(a, add(a, a)))
        side_by_side([partial(ask, fresh)] * 4)
        assert fresh.statistics().nodes == 2


def test_threads_that_ask_for_the_default_runtime_first_get_one(run_script):
    done = run_script(
        "import threading, tailrace as tr\n"
        "found, together = [], threading.Barrier(8)\n"
        "def ask():\n"
        "    together.wait()\n"
        "    found.append(tr.default_runtime())\n"
        "threads = [threading.Thread(target=ask) for _ in range(8)]\n"
        "for t in threads: t.start()\n"
        "for t in threads: t.join()\n"
        "assert len(found) == 8 and len(set(map(id, found))) == 1\n"
    )
    assert done.returncode == 0, done.stderr


def test_runtimes_and_executors_may_come_and_go_on_every_thread():
    def come_and_go() -> None:
        for _ in range(10):
            with tr.Runtime(workers=2) as rt, tr.Executor(max_workers=2) as executor:
                ours = [rt.submit(add.__wrapped__, i, i) for i in range(10)]
                theirs = list(executor.map(add.__wrapped__, range(10), range(10)))
                assert [future.result(WAIT_S) for future in ours] == theirs

    side_by_side([come_and_go] * 4)
