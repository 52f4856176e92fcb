"""What is said, and what is learnt, about a step's use of the GIL; where steps run; how long they queue."""

from __future__ import annotations

import asyncio
import hashlib
import sys
import threading
import time

import pytest
import tailrace as tr

WAIT_S = 20.0
LONG = bytes(2_000_000)  # to hash it takes a millisecond or more, all of it outside the GIL

needs_a_gil = pytest.mark.skipif(
    not getattr(sys, "_is_gil_enabled", lambda: True)(), reason="without a GIL nobody asks who lets go of it"
)


def lets_go(_):
    hashlib.sha256(LONG).digest()


def keeps(_):
    return sum(range(50_000))  # one C call that never lets go


def learnt(step, runtime, enough_s=WAIT_S):
    """Run four siblings at a time until it is known whether the step lets go of the GIL."""
    wf = tr.workflow(lambda x: [step(x) for _ in range(4)]).options(runtime=runtime)
    until_s = time.monotonic() + enough_s
    while step.statistics().gil == "unknown" and time.monotonic() < until_s:
        for run in [wf.start(1) for _ in range(8)]:
            run.result(WAIT_S)
    return step.statistics()


@needs_a_gil
def test_a_body_that_computes_outside_the_gil_is_found_to_release_it(rt):
    # On a machine with other work a probe may see nobody come in; then another step is learnt afresh.
    found = []
    while not found or (found[-1].gil != "releases" and len(found) < 10):
        found.append(learnt(tr.step(lets_go), rt))
    assert found[-1].gil == "releases", found
    assert found[-1].gil_released > 0.25, found


@needs_a_gil
def test_a_long_body_that_never_lets_go_is_found_to_hold_the_gil(rt):
    step = tr.step(keeps)
    assert learnt(step, rt).gil == "holds"
    wf = tr.workflow(lambda x: [step(x), step(x)])
    assert wf.options(runtime=rt)(1) == [keeps(1)] * 2
    known = wf.statistics().steps
    assert {known[label].gil for label in known if label.startswith("keeps")} == {"holds"}


def test_nothing_is_known_of_a_step_that_never_ran_and_what_is_said_is_shown():
    assert (tr.step(lets_go).statistics().gil, tr.step(lets_go).statistics().gil_released) == (
        "unknown",
        None,
    )
    assert tr.step(gil="holds")(lets_go).statistics().gil == "holds"
    assert tr.step(gil="releases")(keeps).statistics().gil == "releases"


def meeting(gil):
    together = threading.Barrier(2)
    return tr.step(gil=gil)(lambda: together.wait(WAIT_S))


@pytest.mark.parametrize("gil", ["auto", "releases"])
def test_siblings_of_unknown_cost_and_those_that_are_said_to_release_run_beside_each_other(rt, gil):
    step = meeting(gil)
    wf = tr.workflow(lambda: _sorted(step(), step())).options(runtime=rt)
    for _ in range(1 if gil == "auto" else 20):
        assert wf() == [0, 1]
        assert gil == "auto" or wf.start().result(WAIT_S) == [0, 1]


_sorted = tr.step(lambda *numbers: sorted(numbers))


def test_two_runs_of_a_step_said_to_hold_the_gil_that_wait_for_each_other_meet_after_a_while(rt):
    step = meeting("holds")
    wf = tr.workflow(lambda: step()).options(runtime=rt)
    for _ in range(5):
        assert sorted(run.result(WAIT_S) for run in [wf.start(), wf.start()]) == [0, 1]


def test_other_work_goes_on_beside_a_body_that_is_said_to_hold_the_gil(rt):
    go = threading.Event()
    hold = tr.step(gil="holds")(lambda: go.wait(WAIT_S))
    held = tr.workflow(lambda: hold()).options(runtime=rt).start()
    assert rt.submit(lambda: 1).result(WAIT_S) == 1
    go.set()
    assert held.result(WAIT_S) is True


def test_a_step_with_inline_false_never_runs_on_the_thread_that_waits(rt):
    here = tr.step(inline=False)(threading.get_ident)
    wf = tr.workflow(lambda: [here(), here()]).options(runtime=rt)
    for _ in range(20):
        assert threading.get_ident() not in wf()


def test_a_step_on_the_only_worker_may_call_a_workflow_of_steps_for_workers(make_runtime):
    runtime = make_runtime(workers=1)
    double = tr.step(inline=False)(lambda x: 2 * x)
    inner = tr.workflow(lambda x: double(x))
    outer = tr.step(lambda x: inner(x) + 1)
    assert tr.workflow(lambda x: outer(x)).options(runtime=runtime).start(3).result(WAIT_S) == 7


def test_a_step_with_inline_true_follows_a_blocking_step_on_its_thread(rt):
    first = tr.step(blocking=True)(threading.get_ident)

    @tr.step(inline=True)
    def same(ident):
        time.sleep(0.001)  # too long, and unknown at first, to be done there by cost
        return ident == threading.get_ident()

    wf = tr.workflow(lambda: same(first())).options(runtime=rt)
    assert [wf.start().result(WAIT_S) for _ in range(5)] == [True] * 5


def test_a_plan_of_inline_steps_runs_on_the_event_loops_thread_when_it_is_started(rt):
    here = tr.step(inline=True)(threading.get_ident)
    wf = tr.workflow(lambda: here()).options(runtime=rt)

    async def main():
        run = wf.start()
        assert run.done()
        return await run

    assert asyncio.run(main()) == threading.get_ident()


def test_a_step_that_waits_for_a_worker_shows_it_as_queue_time(make_runtime, clock):
    runtime = make_runtime(workers=1, clock=clock)
    second = tr.testing.cost(tr.step(lambda x: x), 1.0)
    start = tr.testing.cost(tr.step(lambda x: x), 5.0)
    wf = tr.workflow(lambda x: _thrice(second, start(x)))
    wf.options(runtime=runtime)(1)
    now = second.statistics()
    assert now.queue_max_s == pytest.approx(2.0)
    assert now.queue_p50_s == pytest.approx(1.0, rel=0.02)
    assert start.statistics().queue_max_s == 0.0


def _thrice(step, value):
    return [step(value) for _ in range(3)]


def test_gil_must_be_one_of_three_words():
    with pytest.raises(ValueError, match=r"'auto', 'holds' or 'releases', got 'hold'"):
        tr.step(gil="hold")
    with pytest.raises(TypeError, match=r"'auto', 'holds' or 'releases', got True"):
        tr.step(gil=True)


def test_inline_must_be_true_false_or_none():
    with pytest.raises(TypeError, match=r"inline must be True .*, False .* or None .*, got 1"):
        tr.step(inline=1)


@pytest.mark.parametrize("given", [{"gil": "holds"}, {"inline": True}, {"inline": False}])
def test_steps_that_workers_do_not_run_take_neither(given):
    async def fetch():
        pass

    with pytest.raises(TypeError, match=r"'fetch'.*async steps run on an event loop.*leave it out"):
        tr.step(**given)(fetch)
    with pytest.raises(TypeError, match=r"'keeps'.*blocking steps run on a thread of the blocking lane"):
        tr.step(blocking=True, **given)(keeps)
