"""tr.gc_guard: what it does to the collector and takes back, what it counts, when it collects by itself."""

from __future__ import annotations

import gc
import subprocess
import sys
import threading
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import tailrace as tr
from tailrace import _gc_watch
from tailrace._gc_watch import GCWatch

WAIT_S = 20.0
MS = 1_000_000
generational = pytest.mark.skipif(not _gc_watch._GENERATIONAL, reason="another kind of collector")


class Node:
    """Something that is collected only by the collector: it refers to itself."""

    def __init__(self) -> None:
        self.me = self


@pytest.fixture(autouse=True)
def the_collector_is_given_back() -> Iterator[None]:
    before = gc.get_threshold(), gc.isenabled(), len(gc.callbacks)
    yield
    assert (gc.get_threshold(), gc.isenabled(), len(gc.callbacks)) == before
    assert not [t for t in threading.enumerate() if t.name == "tailrace-gc-guard"]


class FakeCollector:
    """Stands for the module `gc`: says what it was asked for."""

    def __init__(self) -> None:
        self.callbacks: list[Any] = []
        self.counts = (5_000, 3, 0)
        self.collected: list[int] = []
        self.thresholds: list[tuple[int, int, int]] = []

    def get_count(self) -> tuple[int, int, int]:
        return self.counts

    def collect(self, generation: int = 2) -> int:
        self.collected.append(generation)
        return 0

    def set_threshold(self, *thresholds: int) -> None:
        self.thresholds.append(thresholds)  # type: ignore[arg-type]


class World:
    """A watch on a fake collector, at a time that the test sets."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.collector = FakeCollector()
        self.now_ns = 1
        self.in_flight = 0
        self.resident = 1 << 30
        self.nudges = 0
        monkeypatch.setattr(_gc_watch, "gc", self.collector)
        monkeypatch.setattr(_gc_watch.time, "perf_counter_ns", lambda: self.now_ns)
        monkeypatch.setattr(_gc_watch, "in_flight", lambda: self.in_flight)
        monkeypatch.setattr(_gc_watch, "resident_bytes", lambda: self.resident)
        monkeypatch.setattr(_gc_watch, "nudge_idle", self.nudge)
        self.watch = GCWatch((10_000, 10, 1000), True, 256 << 20)
        self.watch.reset_growth()

    def nudge(self) -> None:
        self.nudges += 1

    def collection(self, generation: int, pause_ns: int, collected: int = 0) -> None:
        self.watch.on_collection("start", {"generation": generation, "collected": 0, "uncollectable": 0})
        self.now_ns += pause_ns
        self.watch.on_collection(
            "stop", {"generation": generation, "collected": collected, "uncollectable": 0}
        )
        self.now_ns += 100 * MS


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    return World(monkeypatch)


# ---- what it does to the collector, and takes back


def test_thresholds_hold_inside_and_are_those_from_before_afterwards() -> None:
    before = gc.get_threshold()
    with tr.gc_guard(thresholds=(7_000, 5, 600)):
        assert gc.get_threshold() == (7_000, 5, 600)
    assert gc.get_threshold() == before


def test_what_lives_at_the_start_is_frozen_and_let_go_at_the_end(run_script: Callable[..., Any]) -> None:
    done = run_script(
        """if True:
        import gc, weakref
        import tailrace as tr
        class Node:
            pass
        node = Node()
        node.me = node
        gone = weakref.ref(node)
        before = gc.get_freeze_count()
        guard = tr.gc_guard(idle_collect=False).start()
        assert guard.statistics().frozen_objects > before + 1000, guard.statistics()
        del node
        gc.collect()
        assert gone() is not None, "it was frozen"
        guard.stop()
        assert gc.get_freeze_count() <= before
        gc.collect()
        assert gone() is None
        """
    )
    assert done.returncode == 0, done.stderr


def test_a_guard_that_does_not_freeze_leaves_frozen_what_others_have_frozen(
    run_script: Callable[..., Any],
) -> None:
    done = run_script(
        """if True:
        import gc
        import tailrace as tr
        held = [[i] for i in range(100_000)]
        gc.freeze()
        with tr.gc_guard(freeze=False):
            assert gc.get_freeze_count() > 100_000
        assert gc.get_freeze_count() > 100_000
        """
    )
    assert done.returncode == 0, done.stderr


def test_what_is_loaded_later_can_be_frozen_too(run_script: Callable[..., Any]) -> None:
    done = run_script(
        """if True:
        import gc
        import tailrace as tr
        with tr.gc_guard(idle_collect=False) as guard:
            before = gc.get_freeze_count()
            model = [[i] for i in range(10_000)]
            guard.freeze()
            assert gc.get_freeze_count() > before + 10_000
        """
    )
    assert done.returncode == 0, done.stderr


def test_a_collector_that_is_switched_off_stays_off() -> None:
    gc.disable()
    try:
        with tr.gc_guard():
            assert not gc.isenabled()
    finally:
        gc.enable()


def test_leaving_by_an_exception_gives_the_collector_back() -> None:
    with pytest.raises(ZeroDivisionError), tr.gc_guard() as guard:
        raise ZeroDivisionError
    assert not guard.active


def test_stopping_again_does_nothing_and_a_stopped_guard_can_be_started_again() -> None:
    guard = tr.gc_guard(freeze=False)
    guard.stop()
    for _ in range(3):
        assert guard.start() is guard
        assert guard.active
        guard.stop()
        guard.stop()
        assert not guard.active


def test_a_second_guard_is_refused_and_told_which_one_is_active() -> None:
    with tr.gc_guard(freeze=False, max_garbage="64MiB") as guard:
        with pytest.raises(
            RuntimeError, match=r"another guard, <GCGuard \(active, .*64MiB.* guard\.stop\(\)"
        ):
            tr.gc_guard().start()
        with pytest.raises(RuntimeError, match="this guard is active already"):
            guard.start()
        assert guard.active
        assert gc.get_threshold() == (10_000, 10, 1000)


def test_a_guard_that_could_not_start_leaves_nothing_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: object) -> None:
        raise RuntimeError("can't start new thread")

    before = gc.get_threshold()
    guard = tr.gc_guard(freeze=False)
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", refuse)
        with pytest.raises(RuntimeError, match="new thread"):
            guard.start()
    assert not guard.active
    assert gc.get_threshold() == before


@pytest.mark.parametrize(
    ("options", "kind", "message"),
    [
        ({"freeze": 1}, TypeError, "freeze must be True or False, got 1"),
        ({"idle_collect": None}, TypeError, "idle_collect must be True or False"),
        ({"thresholds": 700}, TypeError, r"must be three ints.*write gc_guard\(thresholds=\(10_000"),
        ({"thresholds": (1, 2)}, TypeError, "must be three ints"),
        ({"thresholds": (0, 10, 10)}, ValueError, "each of thresholds must be at least 1"),
        ({"thresholds": (700, 10, 1 << 31)}, ValueError, "at most 2147483647"),
        ({"thresholds": (700, 10.0, 10)}, TypeError, "each of thresholds must be an int"),
        ({"max_garbage": "256MB"}, ValueError, 'write "256MiB"'),
        ({"max_garbage": 0}, ValueError, "max_garbage must be at least 1"),
        ({"max_garbage": 1.5}, TypeError, "max_garbage must be an int of bytes or a text"),
    ],
)
def test_a_wrong_option_is_refused_with_what_is_allowed(
    options: dict[str, Any], kind: type[Exception], message: str
) -> None:
    with pytest.raises(kind, match=message):
        tr.gc_guard(**options)


def test_only_an_active_guard_that_freezes_can_freeze() -> None:
    with pytest.raises(RuntimeError, match=r"only an active guard .*write guard = tr.gc_guard"):
        tr.gc_guard().freeze()
    with tr.gc_guard(freeze=False) as guard, pytest.raises(RuntimeError, match="freeze=False"):
        guard.freeze()


# ---- what it counts


def test_a_collection_inside_of_a_step_counts_as_inside_a_request(rt: tr.Runtime) -> None:
    with tr.gc_guard(freeze=False, idle_collect=False, thresholds=(10**9, 1000, 1000)) as guard:
        rt.submit(gc.collect).result()
        rt.drain()
        inside = guard.statistics()
        gc.collect(0)
        outside = guard.statistics()
    assert (inside.collections, inside.inside_requests, inside.while_idle) == (1, 1, 0)
    assert (outside.collections, outside.inside_requests, outside.while_idle) == (2, 1, 1)
    assert inside.worst_inside_s > 0 == inside.worst_idle_s
    assert [of.collections for of in outside.generations] == [1, 0, 1]
    assert all(of.collections == sum(n for _, n in of.histogram) for of in outside.generations)


def test_collected_objects_are_counted_by_generation() -> None:
    with tr.gc_guard(freeze=False, idle_collect=False, thresholds=(10**9, 1000, 1000)) as guard:
        gc.collect()
        before = guard.statistics().collected
        for _ in range(100):
            Node()
        gc.collect(0)
        assert guard.statistics().collected - before >= 100
        assert guard.statistics().generations[0].collected >= 100


def test_nothing_is_counted_after_the_end() -> None:
    with tr.gc_guard(freeze=False) as guard:
        pass
    counted = guard.statistics()
    gc.collect()
    assert guard.statistics() == counted
    assert (counted.active, counted.growth_bytes) == (False, 0)


def test_the_callback_leaves_no_container_behind() -> None:
    with tr.gc_guard(freeze=False, idle_collect=False, thresholds=(10**9, 1000, 1000)) as guard:
        on_collection = gc.callbacks[-1]
        info = {"generation": 0, "collected": 0, "uncollectable": 0}
        gc.disable()
        try:
            before = gc.get_count()[0]
            for _ in range(1000):
                on_collection("start", info)
                on_collection("stop", info)
            left = gc.get_count()[0] - before
        finally:
            gc.enable()
        assert left < 20
        assert guard.statistics().collections >= 1000


# ---- when it collects by itself, on a fake collector


def test_while_a_run_is_in_flight_nothing_is_collected(world: World) -> None:
    world.in_flight = 1
    world.watch.collect_idle()
    assert world.collector.collected == []


def test_while_an_executor_is_busy_nothing_is_collected(world: World) -> None:
    hold = threading.Event()
    with tr.Executor(max_workers=1) as executor:
        future = executor.submit(hold.wait, WAIT_S)
        world.watch.collect_idle()
        assert world.collector.collected == []
        hold.set()
        assert future.result()


@generational
def test_an_idle_pass_is_over_the_young_and_over_all_only_while_that_is_short(world: World) -> None:
    world.watch.collect_idle()
    assert world.collector.collected == [1]
    world.collection(1, 1 * MS)  # what that has left in generation 2
    world.watch.collect_idle()
    assert world.collector.collected == [1, 1, 2]
    world.collection(2, 40 * MS)  # a full pass that has become long is not made again
    world.collection(1, 30 * MS)
    world.watch.collect_idle()
    assert world.collector.collected == [1, 1, 2, 1]
    assert world.watch.idle_collections == 4


def test_a_few_young_containers_are_not_worth_a_pass(world: World) -> None:
    world.collector.counts = (99, 0, 7)
    world.watch.collect_idle()
    assert world.collector.collected == []


@generational
def test_generation_one_is_made_due_sooner_where_young_objects_survive(world: World) -> None:
    world.collection(0, 1 * MS, collected=9_900)
    assert world.collector.thresholds == []  # nothing has survived
    world.collection(0, 1 * MS)
    world.collection(0, 1 * MS)
    assert world.collector.thresholds == [(10_000, 0, 1000)]
    world.collection(1, 2 * MS)
    assert world.collector.thresholds == [(10_000, 0, 1000), (10_000, 10, 1000)]


def test_growth_above_the_cap_asks_once_for_a_full_collection(world: World) -> None:
    world.resident += 255 << 20
    world.collection(0, MS)
    assert world.nudges == 0
    world.resident += 2 << 20
    world.collection(0, MS)
    world.collection(0, MS)
    assert world.nudges == 1
    world.watch.collect_all()
    assert world.collector.collected == [2]
    assert world.watch.forced_collections == 1


def test_growth_counts_from_the_least_since_the_last_full_collection(world: World) -> None:
    world.resident += 100 << 20
    assert world.watch.growth_bytes() == 100 << 20
    world.resident -= 150 << 20
    assert world.watch.growth_bytes() == 0
    world.resident += 60 << 20
    assert world.watch.growth_bytes() == 60 << 20
    world.collection(2, MS)
    assert world.watch.growth_bytes() == 0


def test_a_machine_out_of_files_does_not_count_as_growth(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse() -> int:
        raise OSError(24, "Too many open files")

    monkeypatch.setattr(_gc_watch, "resident_bytes", refuse)
    world.collection(0, MS)
    world.collection(2, MS)
    assert world.watch.growth_bytes() == 0
    assert world.nudges == 0


# ---- the same for real


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


def test_a_process_may_end_while_its_guard_is_active(run_script: Callable[..., Any]) -> None:
    done = run_script(
        """if True:
        import tailrace as tr
        guard = tr.gc_guard().start()
        tr.default_runtime().submit(pow, 2, 10).result()
        """
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_in_a_forked_child_the_guard_goes_on(run_script: Callable[..., Any]) -> None:
    warn = ["-W", "ignore::DeprecationWarning"] if sys.version_info >= (3, 12) else []
    text = """if True:
        import gc, os, threading, weakref
        import tailrace as tr
        class Node:
            def __init__(self):
                self.me = self
        guard = tr.gc_guard(thresholds=(2000, 10, 1000)).start()
        tr.default_runtime().submit(pow, 2, 10).result()
        child = os.fork()
        if child == 0:
            code = 1
            try:
                assert guard.active and gc.get_threshold() == (2000, 10, 1000)
                gone = threading.Event()
                def request():
                    kept = [Node() for _ in range(3000)]  # one collection, which begins the child's thread
                    weakref.finalize(kept[0], gone.set)
                tr.default_runtime().submit(request).result()
                assert gone.wait(20)
                assert guard.statistics().idle_collections
                guard.stop()
                code = 0
            finally:
                os._exit(code)
        assert os.waitpid(child, 0)[1] == 0
        guard.stop()
        """
    command = [sys.executable, "-W", "error", *warn, "-c", text]
    done = subprocess.run(command, capture_output=True, text=True, timeout=3 * WAIT_S, check=False)
    assert done.returncode == 0, done.stderr
