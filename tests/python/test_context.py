"""Context variables travel from the caller into every step, and no step disturbs another."""

from __future__ import annotations

import asyncio
import threading
from contextvars import ContextVar

import pytest
import tailrace as tr

WAIT_S = 20.0
user: ContextVar[str] = ContextVar("user", default="nobody")


@tr.step
def read_then_set(_=None):
    seen = user.get()
    user.set("a step")
    return seen


@tr.step(blocking=True)
def read_blocking(_=None):
    return user.get()


@tr.step
async def read_async(_=None):
    await asyncio.sleep(0)
    return user.get()


@tr.workflow
def readers():
    first = read_then_set()
    return [first, read_then_set(first), read_blocking(first), read_async(first)]


@pytest.fixture(autouse=True)
def caller():
    token = user.set("caller")
    yield
    user.reset(token)


def test_every_step_sees_the_callers_context_and_no_change_of_another_step(rt):
    assert readers.options(runtime=rt)() == ["caller"] * 4
    assert readers.options(runtime=rt).start().result(WAIT_S) == ["caller"] * 4
    assert user.get() == "caller"


def test_the_context_is_captured_at_start(rt):
    go = threading.Event()

    @tr.step(blocking=True)
    def wait():
        go.wait(WAIT_S)

    run = tr.workflow(lambda: read_then_set(wait())).options(runtime=rt).start()
    user.set("changed since")
    go.set()
    assert run.result(WAIT_S) == "caller"


def test_awaited_runs_see_the_context_of_their_task(rt):
    async def one(name):
        user.set(name)
        return await readers.options(runtime=rt).start()

    async def main():
        return await asyncio.gather(one("a"), one("b"))

    assert asyncio.run(main()) == [["a"] * 4, ["b"] * 4]


def test_submitted_tasks_and_executors_see_the_submitters_context(rt):
    assert rt.submit(user.get).result(WAIT_S) == "caller"
    with tr.Executor(max_workers=1) as executor:
        assert executor.submit(user.get).result(WAIT_S) == "caller"
