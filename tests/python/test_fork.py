"""After a fork the child has none of the parent's threads: clear errors, and fresh runtimes."""

from __future__ import annotations

import os

import pytest

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs os.fork")

SCRIPT = """
import os, sys, warnings
warnings.simplefilter("ignore", DeprecationWarning)  # 3.12: fork with threads
import tailrace as tr
double = tr.step(lambda x: 2 * x)
wf = tr.workflow(lambda x: double(x))
rt = tr.Runtime(workers=2, name="parent")
assert rt.submit(pow, 2, 5).result() == 32
assert wf(1) == 2
pid = os.fork()
if pid == 0:
    code = 1
    try:
        CHILD
        code = 0
    except BaseException as error:
        print(repr(error), file=sys.stderr)
    finally:
        sys.stderr.flush()
        os._exit(code)
_, status = os.waitpid(pid, 0)
assert rt.submit(pow, 2, 5).result() == 32, "the parent goes on"
rt.close()
sys.exit(os.waitstatus_to_exitcode(status))
"""


@pytest.mark.parametrize(
    "child",
    [
        "assert wf(4) == 8; assert wf.start(4).result(10) == 8",
        "assert rt.closed and rt.close() and rt.drain(1)",
        "rt2 = tr.Runtime(workers=1); assert rt2.submit(pow, 2, 3).result(10) == 8; assert rt2.close()",
    ],
    ids=["a new default starts", "an inherited runtime is closed", "a new runtime works"],
)
def test_in_a_forked_child(run_script, child):
    done = run_script(SCRIPT.replace("CHILD", child))
    assert done.returncode == 0, done.stderr


def test_using_an_inherited_runtime_in_the_child_raises_runtime_closed(run_script):
    child = """
        for use in (lambda: rt.submit(print), lambda: wf.options(runtime=rt)(1), rt.__enter__):
            try:
                use()
            except tr.RuntimeClosed as error:
                assert "parent" in str(error)
            else:
                raise AssertionError("it worked")
    """
    done = run_script(SCRIPT.replace("        CHILD", child))
    assert done.returncode == 0, done.stderr


IN_FLIGHT = """
import concurrent.futures, os, sys, threading, warnings
warnings.simplefilter("ignore", DeprecationWarning)  # 3.12: fork with threads
import tailrace as tr
go = threading.Event()
begun = threading.Semaphore(0)
def hold():
    begun.release()
    go.wait()
    return "done"
rt = tr.Runtime(workers=2)
task = rt.submit(hold)
run = tr.workflow(lambda: tr.step(hold)()).options(runtime=rt, deadline_s=60).start()
begun.acquire(), begun.acquire()
pid = os.fork()
if pid == 0:
    code = 1
    try:
        task.result(10)
    except concurrent.futures.CancelledError:
        try:
            run.result(10)
        except tr.Cancelled:
            code = 0
    os._exit(code)
_, status = os.waitpid(pid, 0)
go.set()
assert task.result(10) == run.result(10) == "done", "the parent goes on"
rt.close()
sys.exit(os.waitstatus_to_exitcode(status))
"""


def test_what_was_in_flight_at_a_fork_is_cancelled_in_the_child_and_goes_on_in_the_parent(run_script):
    done = run_script(IN_FLIGHT)
    assert done.returncode == 0, done.stderr
