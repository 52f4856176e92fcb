"""Ctrl-C while waiting raises KeyboardInterrupt and cancels the run that was waited for."""

from __future__ import annotations

import signal
import sys

import pytest

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="needs POSIX signals")

SCRIPT = """
import os, signal, threading, time, tailrace as tr
begun, go = threading.Event(), threading.Event()
def body():
    begun.set()
    go.wait(60)
wait = tr.step(blocking=True)(body)
wf = tr.workflow(lambda: wait())
rt = tr.Runtime(workers=1)
def interrupt():
    begun.wait()
    os.kill(os.getpid(), signal.SIGINT)
threading.Thread(target=interrupt, daemon=True).start()
try:
    WAIT
except KeyboardInterrupt:
    go.set()
else:
    raise SystemExit("no KeyboardInterrupt")
CHECK
assert rt.close(10)
print("fine")
"""

WAITS = {
    "a call": ("wf.options(runtime=rt)()", "rt.drain(10); assert rt.statistics().cancelled == 1"),
    "result": (
        "run = wf.options(runtime=rt).start(); run.result()",
        "assert run.state == 'cancelled', run.state",
    ),
    "result with a timeout": (
        "run = wf.options(runtime=rt).start(); run.result(60)",
        "assert run.state == 'cancelled', run.state",
    ),
    "drain": ("run = wf.options(runtime=rt).start(); rt.drain()", ""),
    "map": (
        "list(wf_map := tr.workflow(lambda x: wait()).options(runtime=rt).map([1, 2]))",
        "rt.drain(10); assert rt.statistics().cancelled >= 1",
    ),
    "leaving the with block": ("\n    with rt: wf.start()", "assert rt.closed"),
}


@pytest.mark.parametrize(("wait", "check"), WAITS.values(), ids=WAITS.keys())
def test_ctrl_c_during(run_script, wait, check):
    done = run_script(SCRIPT.replace("WAIT", wait).replace("CHECK", check))
    assert (done.returncode, done.stdout.strip()) == (0, "fine"), done.stderr


def test_ctrl_c_that_nobody_catches_ends_the_process_as_usual(run_script):
    done = run_script(
        SCRIPT.replace("WAIT", "wf.options(runtime=rt)()").replace(
            "except KeyboardInterrupt", "except OSError"
        )
    )
    assert done.returncode == -signal.SIGINT
    assert "KeyboardInterrupt" in done.stderr
