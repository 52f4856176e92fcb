"""Load on an engine: a closed loop that finds its capacity, and an open loop that replays real arrivals."""

from __future__ import annotations

import concurrent.futures
import math
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial

from tailrace.demos.pools import Engine

Clock = Callable[[], float]
Sleep = Callable[[float], object]
OUTCOMES = ("ok", "failed", "cancelled", "rejected", "timed_out")


def outcome_of(error: BaseException | None) -> str:
    """Name the end that a request came to: one of `OUTCOMES`."""
    if error is None:
        return "ok"
    if isinstance(error, TimeoutError):
        return "timed_out"
    if isinstance(error, concurrent.futures.CancelledError):
        return "cancelled"
    return "rejected" if type(error).__name__ == "Overloaded" else "failed"


def closed_loop(
    engine: Engine,
    lines: Sequence[str],
    seconds: float,
    window: int = 64,
    *,
    clock: Clock = time.perf_counter,
    patience_s: float = 60.0,
) -> float:
    """Keep `window` requests in flight and return how many per second the engine finished.

    The end of one request starts the next one, on the thread that ended it, so no driver competes for a core.

    Args:
        engine: what to measure.
        lines: requests, used again from the front when they run out.
        seconds: how long requests are started.
        window: requests in flight.
        clock: seconds since some moment.
        patience_s: how long to wait for the last requests.

    Raises:
        TimeoutError: the requests in flight did not end.
        BaseException: what the first failed request raised.
    """
    lock = threading.Lock()
    ended = threading.Event()
    errors: list[BaseException] = []
    started = in_time = 0
    chains = window
    begin = clock()
    until = begin + seconds

    def done(call: list[str], _: str | None, error: BaseException | None) -> None:
        nonlocal chains, in_time
        now = clock()
        with lock:
            if error is not None:
                errors.append(error)
            in_time += now <= until
            going_on = error is None and now < until
            if not going_on:
                chains -= 1
                if chains == 0:
                    ended.set()
                return
            inside_start = not call
            call.append("ended")
        if not inside_start:
            start()

    def start() -> None:
        nonlocal started
        # A request that ends before `engine.start` returns is followed here, by a loop and not by recursion.
        while True:
            call: list[str] = []
            with lock:
                line = lines[started % len(lines)]
                started += 1
            try:
                engine.start(line, partial(done, call))
            except Exception as error:
                done(call, None, error)
            with lock:
                if not call:
                    call.append("returned")
                    return

    for _ in range(window):
        start()
    if not ended.wait(seconds + patience_s):
        raise TimeoutError(f"{engine.name}: {chains} requests did not end within {patience_s:g} s")
    if errors:
        raise errors[0]
    return in_time / seconds


@dataclass
class Tally:
    """What became of the requests offered to one engine: `offered` is the sum of the five ends."""

    offered: int = 0
    ends: Counter[str] = field(default_factory=Counter)
    latencies_s: list[float] = field(default_factory=list)  # of the ok ones, from the intended arrival
    answers: list[str | None] = field(default_factory=list)
    busy_s: float = 0.0  # from each slice's first intended arrival to its last end
    first_error: BaseException | None = None

    def add(self, other: Tally) -> None:
        """Add a later slice."""
        self.offered += other.offered
        self.ends.update(other.ends)
        self.latencies_s += other.latencies_s
        self.answers += other.answers
        self.busy_s += other.busy_s
        self.first_error = self.first_error or other.first_error

    def row(self, capacity_per_s: float) -> dict[str, float]:
        """Return the figures of the report."""
        waits = sorted(self.latencies_s)
        shares = {"p50_s": 0.5, "p90_s": 0.9, "p99_s": 0.99, "p999_s": 0.999, "max_s": 1.0}
        return {
            "offered": self.offered,
            **{end: self.ends[end] for end in OUTCOMES},
            "capacity_per_s": capacity_per_s,
            "throughput_per_s": self.ends["ok"] / self.busy_s if self.busy_s > 0 else 0.0,
            **{name: percentile(waits, share) for name, share in shares.items()},
        }


def percentile(ordered: Sequence[float], share: float) -> float:
    """Return the smallest value that `share` of the ascending values do not exceed; 0.0 of none."""
    return ordered[max(math.ceil(share * len(ordered)) - 1, 0)] if ordered else 0.0


def open_loop(
    engine: Engine,
    lines: Sequence[str],
    arrivals_s: Sequence[float],
    *,
    clock: Clock = time.perf_counter,
    sleep: Sleep = time.sleep,
    patience_s: float = 60.0,
) -> Tally:
    """Start each request when it is due, whether or not the engine keeps up, and wait until all have ended.

    A latency is the end minus the *intended* arrival: a request that was started late because the engine held
    the interpreter has waited all the same.

    Args:
        engine: what to measure.
        lines: one request per arrival.
        arrivals_s: when each is due, ascending, in seconds from the start.
        clock: seconds since some moment.
        sleep: waits for so many seconds.
        patience_s: requests that have not ended so long after the last arrival count as timed out.
    """
    count = len(arrivals_s)
    ended_at = [0.0] * count
    errors: list[BaseException | None] = [None] * count
    answers: list[str | None] = [None] * count
    lock = threading.Lock()
    drained = threading.Event()
    left = count

    def done(place: int, answer: str | None, error: BaseException | None) -> None:
        nonlocal left
        ended_at[place] = clock()
        answers[place], errors[place] = answer, error
        with lock:
            left -= 1
            last = left == 0
        if last:
            drained.set()

    begin = clock()
    for place, due in enumerate(arrivals_s):
        early = begin + due - clock()
        if early > 0:
            sleep(early)
        try:
            engine.start(lines[place], partial(done, place))
        except Exception as error:
            done(place, None, error)
    if count:
        drained.wait(patience_s)
    gave_up = clock()
    tally = Tally(offered=count)
    for place, due in enumerate(arrivals_s):
        end = outcome_of(errors[place]) if ended_at[place] else "timed_out"
        tally.ends[end] += 1
        tally.first_error = tally.first_error or errors[place]
        if end == "ok":
            tally.latencies_s.append(ended_at[place] - begin - due)
    tally.answers = answers
    if count:
        tally.busy_s = (max(ended_at) if all(ended_at) else gave_up) - begin - arrivals_s[0]
    return tally
