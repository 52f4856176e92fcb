"""Context variables travel from the caller into every step, and no step disturbs another."""

from __future__ import annotations

import asyncio
import gc
import threading
import weakref
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


def set_and_read(name):
    seen = user.get()
    user.set(name)
    return seen


@pytest.mark.parametrize("kind", ["plain", "blocking", "async"])
def test_what_a_step_sets_is_seen_by_no_other_attempt_and_not_by_the_caller(rt, kind):
    async def later(name):
        await asyncio.sleep(0)
        return set_and_read(name)

    step = {
        "plain": tr.step(set_and_read),
        "blocking": tr.step(blocking=True)(set_and_read),
        "async": tr.step(later),
    }[kind]
    wf = tr.workflow(lambda: [step("a"), step("b"), step(step(step("c")))]).options(runtime=rt)
    for _ in range(50):
        assert wf() == ["caller"] * 3
        assert user.get() == "caller"


def test_runs_of_many_identities_at_once_never_see_each_other(rt):
    async def later(_):
        await asyncio.sleep(0)
        return user.get()

    plain = tr.step(lambda _: (user.get(), set_and_read("somebody else"))[0])
    waits = tr.step(blocking=True)(lambda _: user.get())
    wf = tr.workflow(lambda: [plain(waits(plain(0))), plain(0), waits(0), tr.step(later)(0)])
    wrong = []

    def requests(prefix):
        for number in range(40):
            name = f"{prefix}-{number}"
            user.set(name)
            run = wf.options(runtime=rt).start()
            seen = {
                *run.result(WAIT_S),
                *wf.options(runtime=rt)(),
                rt.submit(user.get).result(WAIT_S),
                user.get(),
            }
            if seen != {name}:
                wrong.append((name, seen))

    threads = [threading.Thread(target=requests, args=(prefix,)) for prefix in "abcd"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(WAIT_S)
    assert wrong == []


def test_map_captures_the_context_at_each_start_and_stream_that_of_its_task(rt):
    wf = tr.workflow(lambda x: read_then_set(read_blocking(x))).options(runtime=rt)
    assert list(wf.map(range(20), concurrency=4)) == ["caller"] * 20
    assert user.get() == "caller"

    async def one(name):
        user.set(name)
        return {value async for value in wf.stream(range(20), concurrency=4)}

    async def main():
        return await asyncio.gather(one("a"), one("b"))

    assert asyncio.run(main()) == [{"a"}, {"b"}]


def test_an_executor_gives_each_task_its_submitters_context_and_keeps_nothing(rt):
    with tr.Executor(max_workers=1) as executor:
        for name in ("a", "b"):
            user.set(name)
            assert executor.submit(set_and_read, "a task").result(WAIT_S) == name
            assert list(executor.map(set_and_read, ["x", "y"])) == [name, name]
            assert user.get() == name


def test_a_submitted_task_captures_at_submit_and_changes_nothing_here(make_runtime):
    runtime = make_runtime(workers=1)
    go = threading.Event()
    first = runtime.submit(go.wait, WAIT_S)
    second = runtime.submit(set_and_read, "a task")
    user.set("changed since")
    go.set()
    assert first.result(WAIT_S)
    assert second.result(WAIT_S) == "caller"
    assert user.get() == "changed since"


def test_callbacks_of_a_run_have_its_context_and_leave_nothing_on_the_thread(make_runtime):
    runtime = make_runtime(workers=1)
    wf = tr.workflow(lambda: tr.step(blocking=True)(hold.wait)()).options(runtime=runtime)
    seen, ended = [], threading.Semaphore(0)
    for name in ("a", "b", "c"):
        hold.clear()
        user.set(name)
        run = wf.start()
        run.add_done_callback(lambda _: (seen.append(set_and_read("a callback")), ended.release()))
        user.set("changed since")
        hold.set()
        assert ended.acquire(timeout=WAIT_S)
        assert run.result(WAIT_S)
    assert seen == ["a", "b", "c"]
    assert user.get() == "changed since"


def test_callbacks_of_tasks_leave_nothing_on_the_thread_that_ran_them(make_runtime):
    runtime = make_runtime(workers=1)
    seen, ended = [], threading.Semaphore(0)
    for _ in range(3):
        hold.clear()
        future = runtime.submit(hold.wait, WAIT_S)
        future.add_done_callback(lambda _: (seen.append(set_and_read("a callback")), ended.release()))
        hold.set()
        assert ended.acquire(timeout=WAIT_S)
    assert seen == ["nobody"] * 3


hold = threading.Event()


def test_tasks_that_share_what_was_captured_see_no_change_of_each_other(rt):
    def change(x):
        before = user.get()
        if x % 2:
            user.set(f"changed by {x}")
        return before

    for submit in (rt.submit, tr.Executor(max_workers=2).submit):
        tasks = [submit(change, x) for x in range(200)]
        assert {task.result(WAIT_S) for task in tasks} == {"caller"}
    assert user.get() == "caller"


def test_a_change_between_two_submits_is_seen_by_the_second_alone(rt):
    hold = threading.Event()
    holders = [rt.submit(hold.wait, WAIT_S) for _ in range(2)]
    seen = []
    for name in ("a", "b", "a"):
        token = user.set(name)
        seen += [rt.submit(user.get) for _ in range(3)]
        user.reset(token)
    hold.set()
    assert [task.result(WAIT_S) for task in seen] == list("aaabbbaaa")
    assert all(holder.result(WAIT_S) for holder in holders)


def test_a_token_of_one_task_is_of_no_use_to_another(rt):
    tasks = [rt.submit(user.set, "x") for _ in range(4)]
    token = tasks[0].result(WAIT_S)
    assert [task.result(WAIT_S) is not None for task in tasks] == [True] * 4
    with pytest.raises(ValueError, match="different Context"):
        rt.submit(user.reset, token).result(WAIT_S)


def test_the_value_of_a_variable_is_released_with_the_last_task_that_captured_it(rt):
    class Value:
        pass

    value = Value()
    reference = weakref.ref(value)
    token = user.set(value)
    tasks = [rt.submit(abs, x) for x in range(5)]
    user.reset(token)
    del value, token
    for task in tasks:
        task.result(WAIT_S)
    rt.drain(WAIT_S)
    gc.collect()
    assert reference() is None
