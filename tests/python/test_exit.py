"""Leaving the interpreter with work queued, running or blocked: exit code 0, and no hang."""

from __future__ import annotations

import re
import signal
import sys

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
    "an idle executor": "ex = tr.Executor(max_workers=3); ex.submit(begun.set).result()",
    "a busy executor": (
        "ex = tr.Executor(1, exit_timeout_s=0.1); [ex.submit(body) for _ in range(3)]; begun.wait()"
    ),
    "an executor that nobody holds": "[tr.Executor(2).submit(time.sleep, 0.2) for _ in range(3)]",
    "a thread inside a map": (
        "flow = tr.workflow(lambda x: wait()).options(runtime=rt)\n"
        "def ask():\n"
        "    try: list(flow.map(range(9)))\n"
        "    except tr.Cancelled: pass\n"
        "threading.Thread(target=ask, daemon=True).start(); begun.wait()"
    ),
    "a thread inside drain": (
        "rt.submit(body); begun.wait()\n"
        "threading.Thread(target=rt.drain, daemon=True).start(); time.sleep(0.05)"
    ),
    "a thread inside shutdown": (
        "ex = tr.Executor(1, exit_timeout_s=0.1); ex.submit(body); begun.wait()\n"
        "threading.Thread(target=ex.shutdown, daemon=True).start(); time.sleep(0.05)"
    ),
    "daemon threads in result": (
        "tasks = [rt.submit(body) for _ in range(4)]; begun.wait()\n"
        "for task in tasks: threading.Thread(target=task.result, daemon=True).start()\n"
        "time.sleep(0.05)"
    ),
    "an error that nobody took": (
        "def fail(): begun.set(); 1 / 0\nkept = rt.submit(fail); begun.wait(); kept.exception()"
    ),
    "sys.exit in a step": (
        "import sys\nkept = rt.submit(sys.exit, 3); futures.wait([kept]); assert kept.exception().code == 3"
    ),
    "forty queued tasks": "[rt.submit(time.sleep, 0.05) for _ in range(40)]",
    "a step of a race of loops": (
        "import asyncio\n"
        "async def main(): await asyncio.wait_for(tr.workflow(lambda: nap()).start(), 0.05)\n"
        "try: asyncio.run(main())\n"
        "except TimeoutError: pass"
    ),
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


# What is left behind is said, on the logger `tailrace`, and nothing else is.
GIVEN_UP = re.compile(r"<.*>: (left at exit with a body that has not ended:|no task has ended for) .*")


def complaints(stderr):
    return [line for line in stderr.splitlines() if not GIVEN_UP.fullmatch(line)]


@pytest.mark.parametrize("left", LEFT.values(), ids=LEFT.keys())
def test_leaving_with(run_script, left):
    done = run_script(START + left)
    assert (done.returncode, complaints(done.stderr)) == (0, [])


def test_what_is_left_behind_is_named(run_script):
    done = run_script(START + "lookup = tr.step(body)\nrt.submit(body); begun.wait()")
    assert re.search(r"left at exit.*body", done.stderr), done.stderr


def test_an_executor_that_gives_up_says_what_it_leaves(run_script):
    done = run_script(
        START + "ex = tr.Executor(1, exit_timeout_s=0.1); [ex.submit(body) for _ in range(3)]; begun.wait()"
    )
    assert "1 running, 2 queued" in done.stderr


def test_os_exit_leaves_at_once_with_its_own_code(run_script):
    done = run_script(START + "import os\nrt.submit(body); begun.wait(); os._exit(7)")
    assert (done.returncode, done.stderr) == (7, "")


def test_sys_exit_keeps_its_code_while_work_is_pending(run_script):
    done = run_script(START + "import sys\n[rt.submit(body) for _ in range(4)]; begun.wait(); sys.exit(5)")
    assert (done.returncode, complaints(done.stderr)) == (5, [])


@pytest.mark.skipif(sys.platform == "win32", reason="needs POSIX signals")
@pytest.mark.parametrize(
    ("handler", "code"),
    [("", -signal.SIGTERM), ("signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))\n", 0)],
    ids=["by default", "handled"],
)
def test_sigterm_ends_a_process_that_waits_for_a_step(run_script, handler, code):
    done = run_script(
        START + "import os, signal, sys\n" + handler + "task = rt.submit(body)\n"
        "threading.Thread(target=lambda: (begun.wait(), os.kill(os.getpid(), signal.SIGTERM))).start()\n"
        "task.result()"
    )
    assert (done.returncode, complaints(done.stderr)) == (code, [])


def test_a_thread_may_still_submit_to_a_runtime_after_the_main_thread_has_ended(run_script):
    done = run_script(
        START + "def late():\n"
        "    threading.main_thread().join()\n"
        "    print(rt.submit(pow, 2, 5).result(), tr.workflow(lambda: quick())())\n"
        "threading.Thread(target=late).start()"
    )
    assert (done.returncode, done.stdout.strip(), done.stderr) == (0, "32 0", "")


def test_an_executor_takes_no_task_once_the_main_thread_has_ended_as_the_standard_one(run_script):
    done = run_script(
        "import atexit\n"
        "@atexit.register\n"
        "def last():\n"
        "    for pool in (old, tr.Executor(1)):\n"
        "        try: pool.submit(int)\n"
        "        except RuntimeError as error: print(str(error)[:27])\n"
        "import tailrace as tr\n"
        "old = tr.Executor(1); old.submit(int).result()"
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.split("\n")[:2] == ["cannot schedule new futures"] * 2


def test_a_task_that_outlasts_a_shutdown_without_wait_is_finished_at_exit(run_script):
    done = run_script(
        "import time, tailrace as tr\nex = tr.Executor(2)\n"
        "for i in range(2): ex.submit(lambda i=i: (time.sleep(1.5), print(i, flush=True)))\n"
        "ex.shutdown(wait=False)"
    )
    assert (done.returncode, sorted(done.stdout.replace("\n", "")), done.stderr) == (0, ["0", "1"], "")


@pytest.mark.skipif(sys.platform == "win32", reason="needs POSIX signals")
def test_ctrl_c_at_exit_ends_the_wait_for_an_executor(run_script):
    done = run_script(
        START + "import os, signal\nex = tr.Executor(1, exit_timeout_s=None); ex.submit(body); begun.wait()\n"
        "threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGINT)).start()\n"
    )
    assert done.returncode in (0, 1, -signal.SIGINT)  # CPython's own choice, by version
    assert "KeyboardInterrupt" in done.stderr


def test_an_error_at_the_top_ends_the_process_with_one_whatever_still_runs(run_script):
    done = run_script(START + "rt.submit(body); begun.wait(); 1 / 0")
    assert done.returncode == 1
    assert complaints(done.stderr)[-1] == "ZeroDivisionError: division by zero"


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
    assert (done.returncode, complaints(done.stderr)) == (0, [])


def test_a_process_may_end_while_a_gc_guard_is_active(run_script):
    done = run_script(
        """if True:
        import tailrace as tr
        guard = tr.gc_guard().start()
        tr.default_runtime().submit(pow, 2, 10).result()
        """
    )
    assert (done.returncode, done.stderr) == (0, "")
