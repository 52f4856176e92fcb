"""`tr.each` in random graphs beside a list comprehension, in random worlds that repeat from their seed."""

from __future__ import annotations

import random

import pytest
import tailrace as tr
from hypothesis import given, settings
from hypothesis import strategies as st

log: list[tuple[str, int]] = []


@tr.step
def total(xs):
    return sum(xs)


# A random graph: each node is a step of earlier values, or an each over a list of them.
NODES = st.lists(
    st.tuples(
        st.sampled_from(["add", "each", "each_of_each", "spread"]), st.lists(st.integers(0, 50), max_size=4)
    ),
    min_size=1,
    max_size=8,
)


def bump(x):
    if x == 13:
        raise ValueError(x)
    return (x + 1) % 97


def add(*xs):
    return sum(xs) % 97


def spread(x):
    return [x + n for n in range(x % 5)]


def evaluate(nodes, seed, call, each):
    """Build all values of the graph, with steps that are bare functions or nodes."""
    values = [seed]
    for kind, picks in nodes:
        chosen = [values[pick % len(values)] for pick in picks]
        if kind == "add":
            values.append(call(add, *chosen))
        elif kind == "each":
            values.append(call(add, call(sum, each(bump, chosen))))
        elif kind == "each_of_each":
            values.append(call(add, call(sum, each(bump, each(bump, chosen)))))
        else:
            values.append(call(add, call(sum, each(bump, call(spread, values[-1])))))
    return values


def model(nodes, seed):
    try:
        return evaluate(nodes, seed, lambda fn, *xs: fn(*xs), lambda fn, xs: [fn(x) for x in xs])
    except ValueError:
        return "failed"


steps = {fn: tr.step(fn) for fn in (bump, add, spread)} | {sum: tr.step(lambda xs: sum(xs))}


@settings(max_examples=150, deadline=None)
@given(nodes=NODES, seed=st.integers(0, 96), world=st.integers(0, 2**31), cost=st.sampled_from([0.0, 1.0]))
def test_random_graphs_give_what_a_list_comprehension_gives(nodes, seed, world, cost):
    wf = tr.workflow(
        lambda start: evaluate(
            nodes, start, lambda fn, *xs: steps[fn](*xs), lambda fn, xs: tr.each(steps[fn], xs)
        )
    )
    expected = model(nodes, seed)

    def outcome(runtime):
        run = wf.options(runtime=runtime).start(seed)
        error = run.exception()
        assert error is None or isinstance(error.__cause__, ValueError)
        return run.result() if error is None else "failed"

    assert outcome(None) == expected
    chance = random.Random(world)
    tr.testing.cost(steps[bump], cost)
    clock = tr.VirtualClock(seed=world)
    with tr.Runtime(workers=1 + chance.randrange(4), clock=clock) as runtime:
        assert outcome(runtime) == expected
        clock.run_until_idle()
        tr.testing.check_accounting(runtime)


@tr.step
def visit(x):
    log.append(("visit", x))
    if x % 11 == 10:
        raise LookupError(x)
    return x


@tr.step(blocking=True)
def store(x):
    log.append(("store", x))
    return x


@tr.step
async def fetch(x):
    log.append(("fetch", x))
    await tr.sleep(0.3)
    return x


tr.testing.cost(visit, 0.5)


tr.testing.cost(store, 0.7)


@tr.workflow
def journey(xs):
    return total(tr.each(fetch, tr.each(visit, xs))), total(tr.each(store, xs))


def play(seed):
    """What ran, in order, and how each run ended."""
    chance = random.Random(seed)
    log.clear()
    clock = tr.VirtualClock(seed=seed)
    with tr.Runtime(workers=1 + chance.randrange(4), clock=clock) as runtime:
        runs = []
        for _ in range(1 + chance.randrange(4)):
            options = {"deadline_s": chance.choice([0.25, 1.25, 3.0])} if chance.random() < 0.3 else {}
            first = chance.randrange(8)
            items = range(first, first + chance.randrange(6))
            runs.append((items, journey.options(runtime=runtime, **options).start(items)))
            if chance.random() < 0.5:
                clock.advance(chance.choice([0.0, 0.5, 1.0]))
            if chance.random() < 0.2:
                chance.choice(runs)[1].cancel()
        clock.run_until_idle()
        for items, run in runs:
            if run.state == "ok":
                assert run.result() == (sum(items), sum(items))
            else:
                with pytest.raises(tr.TailraceError):
                    run.result()
        tr.testing.check_accounting(runtime)
        return list(log), [run.state for _, run in runs]


def test_every_world_of_runs_with_items_accounts_for_each_and_repeats_from_its_seed():
    seen = set()
    for seed in range(1, 301):
        try:
            trace, ends = play(seed)
            if seed % 10 == 0:
                assert play(seed) == (trace, ends), "the same seed gave two different worlds"
        except BaseException:
            print(f"seed {seed} failed")
            raise
        seen.update(ends)
    assert seen == {"ok", "failed", "cancelled", "timed_out"}
