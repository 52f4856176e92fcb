"""Leaving the interpreter with work queued, running or blocked: exit code 0, and no hang."""

from __future__ import annotations

import pytest

START = """
import threading, time, tailrace as tr
from concurrent import futures
begun, lock = threading.Event(), threading.Lock()
lock.acquire()
def body():
    begun.set()
    time.sleep(60)
quick, slow, wait = tr.step(int), tr.step(body), tr.step(blocking=True)(body)
async def pause():
    begun.set()
    await tr.sleep(60)
nap = tr.step(pause)
rt = tr.Runtime(workers=2)
"""

LEFT = {
    "nothing": "",
    "an idle runtime": "rt.submit(int).result(); begun.set()",
    "the default runtime": "tr.workflow(lambda: quick())()",
    "a running step": "tr.workflow(lambda: slow()).options(runtime=rt).start(); begun.wait()",
    "a running task": "rt.submit(body); begun.wait()",
    "a full queue": "[rt.submit(time.sleep, 1) for _ in range(100)]",
    "a blocked step": "run = tr.workflow(lambda: wait()).options(runtime=rt).start(); begun.wait()",
    "an async step": "run = tr.workflow(lambda: nap()).options(runtime=rt).start(); begun.wait()",
    "a thread that waits for a run": (
        "run = tr.workflow(lambda: wait()).options(runtime=rt).start(); begun.wait()\n"
        "def ask():\n"
        "    try: run.result()\n"
        "    except tr.Cancelled: pass\n"
        "threading.Thread(target=ask, daemon=True).start()"
    ),
    "a busy executor": "ex = tr.Executor(max_workers=1); [ex.submit(body) for _ in range(3)]; begun.wait()",
    "a step that waits for a lock for ever": "rt.submit(lock.acquire); rt.submit(begun.set); begun.wait()",
    "a blocking step that waits for a lock for ever": (
        "hang = tr.step(blocking=True)(lambda: begun.set() or lock.acquire())\n"
        "run = tr.workflow(lambda: hang()).options(runtime=rt).start(); begun.wait()"
    ),
    "an endless loop in a step": (
        "def spin():\n    begun.set()\n    while True: pass\nrt.submit(spin); begun.wait()"
    ),
    "a step that waits for a run": (
        "inner = tr.workflow(lambda: wait())\n"
        "outer = tr.step(lambda: inner())\n"
        "run = tr.workflow(lambda: outer()).options(runtime=rt).start(); begun.wait()"
    ),
    "threads that call, submit and wait": (
        "call = tr.workflow(lambda: quick()).options(runtime=rt)\n"
        "def ask():\n"
        "    while True:\n"
        "        begun.set()\n"
        "        try: call(); rt.submit(int).result(); futures.wait([rt.submit(int)])\n"
        "        except BaseException: pass\n"
        "for _ in range(4): threading.Thread(target=ask, daemon=True).start()\n"
        "begun.wait()"
    ),
    "a thread that submits while the interpreter ends": (
        "def late():\n"
        "    threading.main_thread().join()\n"
        "    rt.submit(time.sleep, 60); tr.workflow(lambda: slow()).start()\n"
        "threading.Thread(target=late).start()"
    ),
    "a runtime that nothing but itself and a module refers to": (
        "import builtins; builtins.kept = rt; rt.own = rt; rt.submit(int).result()"
    ),
    "a runtime inside its with block": "rt.__enter__(); tr.workflow(lambda: wait()).start(); begun.wait()",
    "an unused virtual runtime": "virtual = tr.Runtime(clock=tr.VirtualClock())",
}


@pytest.mark.parametrize("left", LEFT.values(), ids=LEFT.keys())
def test_leaving_with(run_script, left):
    done = run_script(START + left)
    assert (done.returncode, done.stderr) == (0, "")


def test_an_error_at_the_top_ends_the_process_with_one_whatever_still_runs(run_script):
    done = run_script(START + "rt.submit(body); begun.wait(); 1 / 0")
    assert done.returncode == 1
    assert done.stderr.rstrip().endswith("ZeroDivisionError: division by zero")


def test_an_executors_short_tasks_are_finished_at_exit_as_the_standard_one_does(run_script):
    done = run_script(
        "import tailrace as tr\nex = tr.Executor(1)\nfor i in range(3): ex.submit(print, i, flush=True)"
    )
    assert (done.returncode, done.stdout.split()) == (0, ["0", "1", "2"])


def test_what_is_still_queued_at_exit_is_cancelled_not_lost(run_script):
    done = run_script(
        START + "import atexit\n"
        "runs = [tr.workflow(lambda: slow()).options(runtime=rt).start() for _ in range(5)]\n"
        "begun.wait()\n"
        "from tailrace import _shutdown\n"
        "_shutdown._close_all()\n"
        "tr.testing.check_accounting(rt)\n"
        "assert all(run.done() for run in runs), [run.state for run in runs]\n"
    )
    assert (done.returncode, done.stderr) == (0, "")
