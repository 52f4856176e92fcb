"""A forked child has none of the parent's threads: what was pending is cancelled, the rest begins anew."""

from __future__ import annotations

import os
import subprocess
import sys

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
old = tr.Runtime(workers=1)
old.close()
ex = tr.Executor(2)
assert ex.submit(pow, 2, 4).result() == 16
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
        "assert rt.submit(pow, 2, 3).result(10) == wf.options(runtime=rt)(4) == 8; assert rt.close()",
        "assert old.closed",
        "assert ex.submit(pow, 2, 3).result(10) == 8; ex.shutdown()",
        "rt2 = tr.Runtime(workers=1); assert rt2.submit(pow, 2, 3).result(10) == 8; assert rt2.close()",
    ],
    ids=[
        "a new default starts",
        "an inherited runtime begins anew",
        "a closed runtime stays closed",
        "an inherited executor begins anew",
        "a new runtime works",
    ],
)
def test_in_a_forked_child(run_script, child):
    done = run_script(SCRIPT.replace("CHILD", child))
    assert done.returncode == 0, done.stderr


def test_a_runtime_that_was_not_used_before_the_fork_works_in_parent_and_child(run_script):
    done = run_script(
        SCRIPT.replace("assert rt.submit(pow, 2, 5).result() == 32\n", "", 1).replace(
            "CHILD", "assert rt.submit(pow, 2, 3).result(10) == 8"
        )
    )
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


EXECUTOR_IN_FLIGHT = """
import concurrent.futures, os, sys, threading, warnings
warnings.simplefilter("ignore", DeprecationWarning)  # 3.12: fork with threads
import tailrace as tr
go, begun = threading.Event(), threading.Semaphore(0)
ex = tr.Executor(2)
futures = [ex.submit(lambda: (begun.release(), go.wait())) for _ in range(3)]
begun.acquire(), begun.acquire()
threads = ex._threads
pid = os.fork()
if pid == 0:
    code = 1
    try:
        assert not concurrent.futures.wait(futures[:1], 10).not_done
        assert futures[1].done() and futures[1].cancelled()
        try:
            futures[2].result(10)
        except concurrent.futures.CancelledError:
            for thread in threads:
                thread.join(10)
            assert ex.submit(pow, 2, 3).result(10) == 8
            code = 0
    finally:
        os._exit(code)
_, status = os.waitpid(pid, 0)
go.set()
assert futures[2].result(10) == (None, True), "the parent goes on"
ex.shutdown()
sys.exit(os.waitstatus_to_exitcode(status))
"""


def test_an_executors_tasks_in_flight_at_a_fork_are_cancelled_in_the_child(run_script):
    done = run_script(EXECUTOR_IN_FLIGHT)
    assert done.returncode == 0, done.stderr


# The frames of bodies that run at the fork lie on stacks that the child's new threads are given.
MANY_IN_FLIGHT = """
import os, sys, threading, warnings
warnings.simplefilter("ignore", DeprecationWarning)  # 3.12: fork with threads
import tailrace as tr
go, begun = threading.Event(), threading.Semaphore(0)
rt = tr.Runtime(workers=8)
held = [rt.submit(lambda: (begun.release(), go.wait())) for _ in range(8)]
for _ in held: begun.acquire()
pid = os.fork()
if pid == 0:
    code = 1
    try:
        for _ in range(3):
            with tr.Runtime(workers=8) as fresh:
                assert [f.result(10) for f in [fresh.submit(pow, i, 2) for i in range(200)]][9] == 81
            assert rt.submit(pow, 2, 3).result(10) == 8
            assert rt.stuck(0) == []
        code = 0
    finally:
        os._exit(code)
_, status = os.waitpid(pid, 0)
go.set()
rt.close()
sys.exit(os.waitstatus_to_exitcode(status))
"""


def test_a_child_forked_amid_many_bodies_runs_as_many_of_its_own(run_script):
    done = run_script(MANY_IN_FLIGHT)
    assert done.returncode == 0, done.stderr


# As a preloading server does it: the application is imported and tried in the master, and each worker leaves
# by sys.exit in its SIGTERM handler.
PRELOAD = """
import os, signal, sys, time, warnings
warnings.simplefilter("ignore", DeprecationWarning)  # 3.12: fork with threads
import tailrace as tr
rt, ex = tr.Runtime(workers=2, name="app"), tr.Executor(2)
double = tr.step(lambda x: 2 * x)
handle = tr.workflow(lambda x: double(double(x))).options(runtime=rt)
assert handle(1) == 4 and handle.start(1).result() == 4 and ex.submit(handle, 2).result() == 8
ready = []
for _ in range(3):
    read, write = os.pipe()
    if (pid := os.fork()) == 0:
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
        assert [handle(i) for i in range(50)] == [4 * i for i in range(50)]
        assert list(ex.map(handle, range(50))) == [4 * i for i in range(50)]
        assert [run.result(10) for run in [handle.start(i) for i in range(50)]] == [4 * i for i in range(50)]
        os.write(write, b"!")
        while True:
            time.sleep(0.05)  # a signal just before a long sleep begins would not end it
    ready.append((pid, read))
codes = []
for pid, read in ready:
    assert os.read(read, 1) == b"!"
    os.kill(pid, signal.SIGTERM)
    codes.append(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
assert codes == [0, 0, 0], codes
assert handle(5) == 20
"""


def test_workers_of_a_preloading_server_serve_and_leave(run_script):
    done = run_script(PRELOAD)
    assert (done.returncode, done.stderr) == (0, "")


MULTIPROCESSING = """
import multiprocessing, sys, warnings
import tailrace as tr

rt = tr.Runtime(workers=1, name="module")
double = tr.step(lambda x: 2 * x)
flow = tr.workflow(lambda x: double(x))

def serve(x):
    with tr.Executor(1) as ex:
        return flow(x) + rt.submit(pow, x, 2).result(10) + ex.submit(abs, -x).result(10)

if __name__ == "__main__":
    warnings.simplefilter("ignore", DeprecationWarning)  # 3.12: fork with threads
    assert serve(3) == 18
    with multiprocessing.get_context(sys.argv[1]).Pool(2) as pool:
        assert pool.map(serve, range(6)) == [3 * x + x * x for x in range(6)]
    assert serve(4) == 28
"""


def test_a_gc_guard_goes_on_in_the_child(run_script):
    script = SCRIPT.replace("pid = os.fork()", GUARDED + "pid = os.fork()").replace("CHILD", GUARDED_CHILD)
    done = run_script(script, timeout_s=60.0)
    assert done.returncode == 0, done.stderr


GUARDED = """
import gc, threading, weakref
class Node:
    def __init__(self):
        self.me = self
guard = tr.gc_guard(thresholds=(2000, 10, 1000)).start()
"""
GUARDED_CHILD = """
        assert guard.active and gc.get_threshold() == (2000, 10, 1000)
        gone = threading.Event()
        def request():
            kept = [Node() for _ in range(3000)]  # one collection, with which the child's thread begins
            weakref.finalize(kept[0], gone.set)
        rt.submit(request).result()
        assert gone.wait(20) and guard.statistics().idle_collections
        guard.stop()
"""


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_multiprocessing_by(tmp_path, method):
    script = tmp_path / "app.py"
    script.write_text(MULTIPROCESSING)
    done = subprocess.run(
        [sys.executable, str(script), method], capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
