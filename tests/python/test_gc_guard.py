"""tr.gc_guard: what it does to the collector and takes back, and what it counts."""

from __future__ import annotations

import gc
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import tailrace as tr


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
