"""The measuring loops: what they count, on a clock that the test moves."""

from __future__ import annotations

import concurrent.futures
import threading
from collections.abc import Callable

import pytest
import tailrace as tr
from tailrace.demos import replay
from tailrace.demos.pools import Done


class Clock:
    """Seconds that pass only when somebody sleeps or works."""

    def __init__(self) -> None:
        self.now_s = 100.0

    def __call__(self) -> float:
        return self.now_s

    def sleep(self, seconds: float) -> None:
        self.now_s += seconds


class Inline:
    """An engine that works on the thread that starts a request, for as long as it is told."""

    name = "inline"

    def __init__(self, clock: Clock, work_s: Callable[[str], float]) -> None:
        self._clock = clock
        self._work_s = work_s

    def start(self, line: str, done: Done) -> None:
        self._clock.now_s += self._work_s(line)
        done(line.upper(), None)

    def close(self) -> None: ...


class Ending:
    """An engine whose requests all end as the test says: with an error, or by refusing to start."""

    name = "ending"

    def __init__(self, error: BaseException | None, refuses: bool = False) -> None:
        self._error = error
        self._refuses = refuses

    def start(self, line: str, done: Done) -> None:
        if self._refuses and self._error is not None:
            raise self._error
        done(None, self._error)

    def close(self) -> None: ...


def test_a_latency_counts_from_the_intended_arrival() -> None:
    clock = Clock()
    engine = Inline(clock, lambda line: 1.0)
    tally = replay.open_loop(engine, ["a"] * 4, [0.0, 0.1, 0.2, 5.0], clock=clock, sleep=clock.sleep)
    # The second is due at 0.1 but starts at 1.0, when the first lets go, and ends at 2.0: it has waited 1.9.
    assert tally.latencies_s == pytest.approx([1.0, 1.9, 2.8, 1.0])
    assert tally.busy_s == pytest.approx(6.0)


def test_an_early_driver_sleeps_until_a_request_is_due() -> None:
    clock = Clock()
    starts: list[float] = []

    def note(line: str) -> float:
        starts.append(clock.now_s - 100.0)
        return 0.0

    replay.open_loop(Inline(clock, note), ["a"] * 3, [0.0, 0.5, 2.0], clock=clock, sleep=clock.sleep)
    assert starts == pytest.approx([0.0, 0.5, 2.0])


def test_answers_stand_in_the_order_of_the_requests() -> None:
    clock = Clock()
    tally = replay.open_loop(Inline(clock, len), ["a", "bb", "c"], [0.0, 0.0, 0.0], clock=clock)
    assert tally.answers == ["A", "BB", "C"]


@pytest.mark.parametrize(
    ("error", "refuses", "end"),
    [
        (None, False, "ok"),
        (ValueError("no"), False, "failed"),
        (concurrent.futures.CancelledError(), False, "cancelled"),
        (tr.errors.Overloaded("full"), True, "rejected"),
        (TimeoutError("late"), False, "timed_out"),
    ],
)
def test_every_request_is_accounted_for(error: BaseException | None, refuses: bool, end: str) -> None:
    tally = replay.open_loop(Ending(error, refuses), ["a"] * 7, [0.0] * 7)
    row = tally.row(capacity_per_s=1.0)
    assert row[end] == row["offered"] == 7
    assert sum(row[name] for name in replay.OUTCOMES) == 7


def test_a_request_that_never_ends_is_timed_out() -> None:
    class Losing:
        name = "losing"

        def start(self, line: str, done: Done) -> None:
            if line == "keep":
                done("kept", None)

        def close(self) -> None: ...

    tally = replay.open_loop(Losing(), ["keep", "lose"], [0.0, 0.0], patience_s=0.0)
    assert (tally.ends["ok"], tally.ends["timed_out"], tally.offered) == (1, 1, 2)


def test_slices_add_up() -> None:
    clock = Clock()
    whole = replay.Tally()
    for _ in range(3):
        whole.add(replay.open_loop(Inline(clock, lambda _: 0.5), ["a"] * 4, [0.0] * 4, clock=clock))
    row = whole.row(capacity_per_s=9.0)
    assert row["offered"] == row["ok"] == 12
    assert row["throughput_per_s"] == pytest.approx(2.0)
    assert (row["p50_s"], row["max_s"]) == pytest.approx((1.0, 2.0))


def test_percentiles_are_values_that_were_seen() -> None:
    waits = [float(n) for n in range(1, 1001)]
    assert [replay.percentile(waits, share) for share in (0.5, 0.99, 0.999, 1.0)] == [500, 990, 999, 1000]
    assert replay.percentile([7.0], 0.5) == 7.0
    assert replay.percentile([], 0.5) == 0.0


def test_the_closed_loop_keeps_the_window_full_and_counts_what_ended_in_time() -> None:
    clock = Clock()
    most = 0
    held: list[tuple[str, Done]] = []
    changed = threading.Condition()

    class Held:
        name = "held"

        def start(self, line: str, done: Done) -> None:
            nonlocal most
            with changed:
                held.append((line, done))
                most = max(most, len(held))
                changed.notify()

        def close(self) -> None: ...

    rates: list[float] = []
    driver = threading.Thread(
        target=lambda: rates.append(replay.closed_loop(Held(), ["a"], 2.0, 4, clock=clock)), daemon=True
    )
    driver.start()
    with changed:
        assert changed.wait_for(lambda: len(held) == 4, timeout=10)
    ended = 0
    while held:
        clock.now_s += 0.25
        ended += clock.now_s <= 102.0
        held.pop(0)[1]("answer", None)
    driver.join(10)
    assert most == 4
    assert rates == [ended / 2.0]


def test_the_closed_loop_raises_what_a_request_raised() -> None:
    with pytest.raises(ValueError, match="broken"):
        replay.closed_loop(Ending(ValueError("broken")), ["a"], 1.0, 2)
    with pytest.raises(tr.errors.Overloaded):
        replay.closed_loop(Ending(tr.errors.Overloaded("full"), refuses=True), ["a"], 1.0, 2)
