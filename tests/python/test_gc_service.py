"""tr.gc_guard at work: it collects while requests rest or wait, above its cap."""

from __future__ import annotations

import asyncio
import threading
import weakref
from collections.abc import Callable
from typing import Any

import tailrace as tr

WAIT_S = 20.0


class Node:
    """Something that is collected only by the collector: it refers to itself."""

    def __init__(self) -> None:
        self.me = self


def test_garbage_of_requests_is_collected_while_nothing_is_in_flight(rt: tr.Runtime) -> None:
    gone = threading.Event()

    def request() -> None:
        weakref.finalize(Node(), gone.set)
        for _ in range(200):
            Node()

    with tr.gc_guard(freeze=False, thresholds=(10**9, 1000, 1000)) as guard:
        rt.submit(request).result()
        assert gone.wait(WAIT_S)
        assert guard.statistics().idle_collections >= 1
        assert guard.statistics().inside_requests == 0


def test_garbage_is_collected_too_while_agents_wait_for_an_answer(rt: tr.Runtime) -> None:
    answered = threading.Event()

    def leave_garbage() -> None:
        weakref.finalize(Node(), answered.set)
        for _ in range(200):
            Node()

    @tr.step
    async def ask() -> bool:
        leave_garbage()
        while not answered.is_set():
            await asyncio.sleep(0.001)
        return True

    @tr.workflow
    def agent() -> bool:
        return ask()

    with tr.gc_guard(freeze=False, thresholds=(10**9, 1000, 1000)) as guard:
        assert agent.options(runtime=rt).start().result(timeout=WAIT_S)
        told = guard.statistics()
    assert told.idle_collections >= 1
    assert (told.inside_requests, told.worst_inside_s) == (0, 0.0)


def test_large_garbage_in_few_containers_is_collected_above_the_cap(run_script: Callable[..., Any]) -> None:
    done = run_script(
        """if True:
        import gc, sys, time
        import tailrace as tr
        class Frame:
            def __init__(self):
                self.me, self.pixels = self, bytearray(b"x" * (1 << 20))
        options = dict(thresholds=(10**9, 1000, 1000), idle_collect=False, max_garbage="64MiB")
        with tr.Runtime(workers=1) as rt, tr.gc_guard(**options) as guard:
            most = frames = 0
            until = time.monotonic() + 20
            while guard.statistics().forced_collections < 2:
                rt.submit(Frame).result()
                frames += 1
                most = max(most, guard.statistics().growth_bytes)
                assert time.monotonic() < until, guard.statistics()
                if most > 300 << 20:
                    time.sleep(0.01)
        print(frames, most >> 20)
        """,
        timeout_s=3 * WAIT_S,
    )
    assert done.returncode == 0, done.stderr


def test_growth_is_noticed_by_the_collector_itself_where_no_runtime_is_used(
    run_script: Callable[..., Any],
) -> None:
    done = run_script(
        """if True:
        import time
        import tailrace as tr
        kept = []
        with tr.gc_guard(thresholds=(2000, 10, 1000), max_garbage="16MiB") as guard:
            until = time.monotonic() + 20
            while not guard.statistics().forced_collections:
                kept.extend([i] for i in range(1000))
                assert time.monotonic() < until, guard.statistics()
        """
    )
    assert done.returncode == 0, done.stderr


def test_a_finalizer_may_end_the_guard_from_inside_an_idle_collection(rt: tr.Runtime) -> None:
    guard = tr.gc_guard(freeze=False, thresholds=(10**9, 1000, 1000)).start()
    ended = threading.Event()

    def end() -> None:
        guard.stop()
        ended.set()

    def request() -> None:
        weakref.finalize(Node(), end)
        for _ in range(200):
            Node()

    thread = guard._watch._thread
    rt.submit(request).result()
    assert ended.wait(WAIT_S)
    assert not guard.active
    assert thread is not None
    thread.join(WAIT_S)
    assert not thread.is_alive()


def test_many_threads_may_ask_and_only_one_of_many_starts_wins() -> None:
    guards = [tr.gc_guard(freeze=False) for _ in range(8)]
    won: list[tr.GCGuard] = []
    barrier = threading.Barrier(len(guards))

    def race(guard: tr.GCGuard) -> None:
        barrier.wait()
        try:
            won.append(guard.start())
        except RuntimeError:
            guard.statistics()

    threads = [threading.Thread(target=race, args=(guard,)) for guard in guards]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(won) == 1
    won[0].stop()
