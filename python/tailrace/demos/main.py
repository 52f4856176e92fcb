"""`tailrace demo recommend`: the same recommender on tailrace and on two thread pools, in one run.

How it measures:

* All engines run the same functions on the same number of worker threads, one engine after the other.
* Capacity is a closed loop: 64 requests in flight; the end of one starts the next, on the thread it ended on.
  tailrace is used as a server would: `workflow.start(line)` and a done-callback on the run.
* The replay is an open loop: the main thread starts each request when the trace says so, whether or not the
  engine keeps up, and waits are counted from that intended moment. The main thread needs the interpreter for
  this, as an acceptor in a real server does, and competes with every engine's workers alike.
* The replay comes in slices, each engine on the same slice in turn, so that a disturbance of the machine does
  not hit one engine only. A slice ends when the engine has answered all of it.
"""

from __future__ import annotations

import argparse
import gc
import json
import sys
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any, TextIO

from tailrace.demos import Load, catalog, pools, replay, report, steps, traffic
from tailrace.demos.pools import Engine
from tailrace.demos.progress import Progress

CLOSED_S = 2.0
WINDOW = 64


@dataclass(frozen=True)
class Plan:
    """How long the parts take and what is offered to each engine."""

    per_s: float
    count: int
    slices: int


@dataclass(frozen=True)
class Result:
    """What came out: a row per engine, whether they agree, and the first thing that went wrong."""

    rows: dict[str, dict[str, float]]
    per_s: float
    answers_equal: bool
    first_error: BaseException | None

    @property
    def all_ok(self) -> bool:
        """Whether every request of every engine came to a good end."""
        return all(row["ok"] == row["offered"] for row in self.rows.values())


def plan(open_s: float, capacities: Mapping[str, float], load: Load) -> Plan:
    """Fit the open loop into `open_s` seconds, given what each engine can do.

    The load is a share of the best rival's capacity or requests per second. An engine slower than the load
    needs longer than the arrivals last, more than its capacity says: time is shared with that in mind.
    """
    rivals = [per_s for name, per_s in capacities.items() if name != "tailrace"]
    per_s = load.value * max(rivals) if load.is_share else load.value
    each = sum(max(1 / per_s, 1.4 / capacity) for capacity in capacities.values())
    slices = max(2, round(open_s / 4.5))
    return Plan(per_s, max(int(open_s / each), 2 * slices), slices)


def compare(
    engines: Sequence[Engine],
    lines: Sequence[str],
    gaps_s: Sequence[float],
    *,
    seconds: float,
    load: Load,
    progress: Progress,
) -> Result:
    """Measure the engines: each one's capacity, then the replay in interleaved slices."""
    closed_s = min(CLOSED_S, seconds / 10)
    capacities: dict[str, float] = {}
    for place, engine in enumerate(engines):
        progress.show(place * closed_s / seconds, f"{engine.name}: capacity, {WINDOW} in flight")
        gc.collect()
        capacities[engine.name] = max(replay.closed_loop(engine, lines, closed_s, WINDOW), 1.0)
    spent = closed_s * len(engines)
    todo = plan(seconds - spent, capacities, load)
    due = traffic.arrivals(gaps_s, todo.count, todo.per_s)
    tallies = {engine.name: replay.Tally() for engine in engines}
    digests: dict[str, list[bytes | None]] = {engine.name: [] for engine in engines}
    for part in range(todo.slices):
        begin, end = (todo.count * edge // todo.slices for edge in (part, part + 1))
        times = [moment - due[begin] for moment in due[begin:end]]
        asked = [lines[place % len(lines)] for place in range(begin, end)]
        for place, engine in enumerate(engines):
            done = (part * len(engines) + place) / todo.slices / len(engines)
            progress.show(
                (spent + done * (seconds - spent)) / seconds,
                f"{engine.name}: {todo.per_s:,.0f} requests/s, slice {part + 1} of {todo.slices}",
            )
            gc.collect()
            tally = replay.open_loop(engine, asked, times)
            digests[engine.name] += map(digest, tally.answers)
            tally.answers = []
            tallies[engine.name].add(tally)
    progress.show(1.0, "done")
    first, *others = digests.values()
    return Result(
        rows={name: tally.row(capacities[name]) for name, tally in tallies.items()},
        per_s=todo.per_s,
        answers_equal=None not in first and all(other == first for other in others),
        first_error=next((t.first_error for t in tallies.values() if t.first_error), None),
    )


def digest(answer: str | None) -> bytes | None:
    """Return 8 bytes that stand for the answer, None for none."""
    return None if answer is None else blake2b(answer.encode(), digest_size=8).digest()


def recommend(args: argparse.Namespace, blas_is_single: bool, out: TextIO | None = None) -> int:
    """Run the demo and print what it found.

    Returns:
        The exit status: 0, or 1 when the answers differ or a request did not come to a good end.
    """
    from tailrace.demos.workflow import Tailrace

    out = out or sys.stdout
    functions = steps.Recommender(catalog.load(args.seed))
    lines = traffic.requests(functions.shop, 8192, args.seed)
    with ExitStack() as stack:
        ours = Tailrace(functions, args.workers)
        stack.callback(ours.close)
        workers = ours.runtime.workers
        by_step = pools.StepByStep(functions.steps(), steps.GRAPH, workers)
        stack.callback(by_step.close)
        whole = pools.WholeRequests(functions.answer, workers)
        stack.callback(whole.close)
        print(
            f"Recommending from {len(functions.shop.titles):,} real books in {len(steps.GRAPH)} steps, "
            f"on {workers} workers, BLAS on {'one thread' if blas_is_single else 'its own threads'}.",
            file=out,
        )
        with Progress(out) as progress:
            found = compare(
                (ours, by_step, whole),
                lines,
                traffic.trace_gaps_s(),
                seconds=args.seconds,
                load=args.load,
                progress=progress,
            )
    example = lines[0]
    viewed = functions.shop.titles[json.loads(example)["viewing"]]
    print(
        f"\n{report.shown(example, functions.answer(example), viewed)}\n\n"
        f"Bursty arrivals of a production trace (Azure code), {found.per_s:,.0f} requests/s on average.\n"
        "Waits are from the intended arrival to the answer; x: how many times better tailrace is.\n\n"
        f"{report.table(found.rows)}\n\n{report.memory()}\n",
        file=out,
    )
    if args.json:
        figures = summary(args, found, workers, blas_is_single)
        args.json.write_text(json.dumps(figures, indent=2) + "\n", "utf-8")
    if not found.answers_equal:
        print("ERROR: the engines gave different answers to the same requests.", file=out)
    if not found.all_ok:
        print(f"ERROR: not every request ended well; the first error: {found.first_error!r}", file=out)
    if not (found.answers_equal and found.all_ok):
        return 1
    print("All answers are equal. Next, `tailrace demo --load 120%` asks more than a pool can do.", file=out)
    return 0


def summary(args: argparse.Namespace, found: Result, workers: int, blas_is_single: bool) -> dict[str, Any]:
    """Return what `--json` writes."""
    return {
        "demo": "recommend",
        "seed": args.seed,
        "host": {
            **report.host(workers, blas_is_single),
            "seconds": args.seconds,
            "load_per_s": found.per_s,
        },
        "engines": found.rows,
        "answers_equal": found.answers_equal,
    }
