"""Callers that help and workers that come in meet at the GIL: every step happens once, and all runs end.

The room where they meet (GuestRoom in cpp/bindings/gil_gate.hpp) is plain fields under the GIL: there are no
orders to check, so it is tried here with whatever order the machine finds, by a seed.
"""

from __future__ import annotations

import hashlib
import os
import random
import threading

import tailrace as tr

WAIT_S = 60.0
SEED = int(os.environ.get("TAILRACE_TEST_SEED", "0"))
LONG = bytes(100_000)  # hashing more than a few KiB lets go of the GIL, in the middle of a body


def test_guests_and_workers_that_let_go_of_the_gil_inside_bodies_all_come_to_their_end(make_runtime):
    print(f"seed {SEED}; set TAILRACE_TEST_SEED to repeat it")
    runtime = make_runtime(workers=2)
    lock, ran = threading.Lock(), dict.fromkeys(("first", "left", "right", "last"), 0)

    def body(name: str, lets_go: bool) -> None:
        if lets_go:
            hashlib.sha256(LONG).digest()
        with lock:  # held for no call, and never across a wait
            ran[name] += 1

    @tr.step
    def first(lets_go: bool) -> bool:
        body("first", lets_go)
        return lets_go

    @tr.step
    def left(lets_go: bool) -> bool:
        body("left", not lets_go)
        return lets_go

    @tr.step
    def right(lets_go: bool) -> bool:
        body("right", lets_go)
        return lets_go

    @tr.step
    def last(one: bool, other: bool) -> bool:
        body("last", one)
        return one == other

    @tr.workflow
    def diamond(lets_go: bool) -> bool:
        start = first(lets_go)
        return last(left(start), right(start))

    here = diamond.options(runtime=runtime)
    errors: list[BaseException] = []
    each = 60

    def caller(seed: int) -> None:
        chance = random.Random(seed)
        open_runs = []
        try:
            for _ in range(each):
                lets_go, way = chance.random() < 0.5, chance.randrange(3)
                if way == 0:
                    assert here(lets_go) is True  # a guest
                elif way == 1:
                    open_runs.append(here.start(lets_go))  # a worker's, or ours when we wait
                else:
                    assert runtime.submit(here, lets_go).result(WAIT_S) is True
            assert all(run.result(WAIT_S) for run in open_runs)
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=caller, args=(SEED * 100 + i,)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(WAIT_S)
    assert not any(thread.is_alive() for thread in threads), runtime.stuck(0)
    assert not errors, errors
    assert ran == dict.fromkeys(ran, 4 * each)
