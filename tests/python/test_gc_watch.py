"""When a GC guard collects by itself: its rules, on a collector that only says what it was asked for."""

from __future__ import annotations

import threading
from types import SimpleNamespace
from typing import Any

import pytest
import tailrace as tr
from tailrace import _gc_watch
from tailrace._gc_watch import GCWatch

WAIT_S = 20.0
MS = 1_000_000
generational = pytest.mark.skipif(not _gc_watch._GENERATIONAL, reason="another kind of collector")


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
        self.in_flight = self.bodies = self.begun = 0
        self.arrivals = 0  # in each moment of waiting
        self.resident = 1 << 30
        self.nudges = 0
        monkeypatch.setattr(_gc_watch, "gc", self.collector)
        time = SimpleNamespace(perf_counter_ns=lambda: self.now_ns, sleep=self.sleep)
        monkeypatch.setattr(_gc_watch, "time", time)
        monkeypatch.setattr(_gc_watch, "in_flight", lambda: self.in_flight)
        monkeypatch.setattr(_gc_watch, "bodies_running", lambda: self.bodies)
        monkeypatch.setattr(_gc_watch, "work_begun", lambda: self.begun)
        monkeypatch.setattr(_gc_watch, "resident_bytes", lambda: self.resident)
        monkeypatch.setattr(_gc_watch, "nudge_idle", self.nudge)
        self.watch = GCWatch((10_000, 10, 1000), True, 256 << 20)
        self.watch.reset_growth()

    def sleep(self, _: float) -> None:
        self.begun += self.arrivals

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


def test_while_a_body_is_at_work_nothing_is_collected(world: World) -> None:
    world.in_flight = world.bodies = 1
    world.watch.collect_idle()
    assert world.collector.collected == []


def test_while_requests_arrive_nothing_is_collected(world: World) -> None:
    world.in_flight = world.arrivals = 1
    world.watch.collect_idle()
    assert world.collector.collected == []


@generational
def test_while_all_that_is_in_flight_waits_for_others_the_young_are_collected(world: World) -> None:
    world.in_flight = 3
    world.watch.collect_idle()
    assert world.collector.collected == [1]


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
    world.resident -= 2 << 20  # some went meanwhile
    world.watch.keep_below_cap()
    assert world.collector.collected == [2]
    assert world.watch.forced_collections == 1


def test_the_cap_collects_at_three_quarters_while_idle_and_not_before_it_inside_requests(
    world: World,
) -> None:
    world.in_flight = 1
    world.resident += 193 << 20
    world.watch.keep_below_cap()
    assert world.collector.collected == []
    world.in_flight = 0
    world.watch.keep_below_cap()
    assert world.collector.collected == [2]
    world.collection(2, 100 * MS)
    world.in_flight = 1
    world.resident += 257 << 20
    world.watch.keep_below_cap()
    assert world.collector.collected == [2, 2]


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
