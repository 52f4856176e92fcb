"""docs/observing.md: what debuggers, tracers and profilers see of steps on native threads."""

from __future__ import annotations

import cProfile
import faulthandler
import importlib.util
import pstats
import shutil
import subprocess
import sys
import threading
import tracemalloc
from pathlib import Path

import pytest
import tailrace as tr

WAIT_S = 20.0
HAS_MONITORING = sys.version_info >= (3, 12)


class Held:
    """A step on a worker that waits inside `hold_here` until the block is left."""

    def __init__(self, runtime, **options):
        self.go, self.begun, self.runtime = threading.Event(), threading.Event(), runtime

        def hold_here():
            self.begun.set()
            return self.go.wait(WAIT_S)

        step = tr.step(**options)(hold_here)
        self.workflow = tr.workflow(lambda: step())

    def __enter__(self):
        self.run = self.workflow.options(runtime=self.runtime).start()
        assert self.begun.wait(WAIT_S)
        return self

    def __exit__(self, *_):
        self.go.set()
        assert self.run.result(WAIT_S)


def on_worker(runtime, fn, *args):
    """Run `fn` on a worker and not here: a callback waits, so that nobody helps."""
    done = threading.Event()
    future = runtime.submit(fn, *args)
    future.add_done_callback(lambda _: done.set())
    assert done.wait(WAIT_S)
    return future.result()


@pytest.mark.parametrize("blocking", [False, True])
def test_stuck_names_worker_workflow_and_step_with_its_python_stack(make_runtime, blocking):
    runtime = make_runtime(workers=1, name="shop")
    with Held(runtime, blocking=blocking):
        stuck = runtime.stuck(after_s=0)
        while stuck and stuck[0].running_s < 0.02:
            stuck = runtime.stuck(after_s=0)
        (entry,) = runtime.stuck(after_s=0.01)
        assert runtime.stuck(after_s=3600) == []
    assert entry.worker == ("blocking" if blocking else "shop-w0")
    assert (entry.step, entry.running_s >= 0.01) == ("hold_here", True)
    assert "in hold_here" in entry.stack
    assert "self.go.wait(WAIT_S)" in entry.stack
    assert "test_observing.py" in entry.stack
    assert runtime.stuck(after_s=0) == []


def test_stuck_shows_a_submitted_task_and_a_caller_that_helps(make_runtime):
    runtime = make_runtime(workers=1)
    go, begun, seen = threading.Event(), threading.Event(), []

    def task_here():
        begun.set()
        return go.wait(WAIT_S)

    future = runtime.submit(task_here)
    assert begun.wait(WAIT_S)
    (entry,) = runtime.stuck(after_s=0)
    go.set()
    assert future.result(WAIT_S)
    assert entry.workflow == "submit"
    assert "task_here" in entry.step
    assert "in task_here" in entry.stack

    look = tr.step(lambda: seen.extend(runtime.stuck(after_s=0)))
    tr.workflow(lambda: look()).options(runtime=runtime)()
    assert [entry.worker for entry in seen] in (["caller"], ["tailrace-w0"])
    assert "test_stuck_shows_a_submitted_task" in seen[0].stack


@pytest.mark.parametrize(("wrong", "error"), [(-1, ValueError), ("1", TypeError), (float("nan"), ValueError)])
def test_stuck_refuses_what_is_no_time(rt, wrong, error):
    with pytest.raises(error, match="after_s"):
        rt.stuck(after_s=wrong)


def test_health_is_ok_then_degraded_with_named_reasons_then_closed(make_runtime, monkeypatch):
    from tailrace import _reports

    runtime = make_runtime(workers=1, max_blocking=1, max_pending=10, name="shop")
    assert runtime.health() == _reports.Health("ok", ())
    with Held(runtime, blocking=True) as held:
        waiting = [held.workflow.options(runtime=runtime).start() for _ in range(8)]
        monkeypatch.setattr(_reports, "_STUCK_S", 0.0)
        health = runtime.health()
    assert [run.result(WAIT_S) for run in waiting] == [True] * 8
    assert health.status == "degraded"
    text = "\n".join(health.reasons)
    assert "in step 'hold_here' of workflow" in text
    assert "9 runs in flight, max_pending is 10" in text
    assert "blocking steps wait, all 1 threads are busy" in text
    runtime.drain(WAIT_S)
    assert runtime.health().status == "ok"
    runtime.close()
    assert runtime.health() == _reports.Health("closed", ("runtime 'shop' is closed",))


def test_workers_have_names_for_the_kernel_and_for_threading(make_runtime):
    runtime = make_runtime(workers=1, name="shop")
    name = on_worker(runtime, lambda: threading.current_thread().name)
    assert name == "shop-w0"
    assert "shop-w0" in [thread.name for thread in threading.enumerate()]
    if sys.platform.startswith("linux"):
        tasks = Path("/proc/self/task").iterdir()
        assert "shop-w0" in [(task / "comm").read_text().strip() for task in tasks]
    runtime.close()
    assert "shop-w0" not in [thread.name for thread in threading.enumerate()]


def test_faulthandler_dumps_the_stack_of_a_worker(make_runtime, tmp_path):
    with Held(make_runtime(workers=1)), (tmp_path / "dump").open("w+") as file:
        faulthandler.dump_traceback(file, all_threads=True)
        file.seek(0)
        text = file.read()
    assert "in hold_here" in text


def test_tracemalloc_sees_what_a_step_allocates_on_a_worker(make_runtime):
    runtime = make_runtime(workers=1)
    tracemalloc.start()
    try:
        kept = on_worker(runtime, lambda: [bytes(1_000_000)])
        snapshot = tracemalloc.take_snapshot()
    finally:
        runtime.close()  # first: CPython 3.11 crashes where tracing stops while a thread begins
        tracemalloc.stop()
    here = snapshot.filter_traces([tracemalloc.Filter(True, __file__)])
    assert sum(entry.size for entry in here.statistics("filename")) >= 1_000_000
    assert len(kept) == 1


def test_settrace_of_the_caller_does_not_reach_a_worker_and_cprofile_sees_its_own_thread(make_runtime):
    runtime = make_runtime(workers=1)
    calls = []

    def named_body():
        return threading.get_ident()

    def trace(frame, event, _arg):
        calls.append((frame.f_code.co_name, threading.get_ident()))

    previous = sys.gettrace()
    sys.settrace(trace)
    threading.settrace(trace)
    try:
        ident = on_worker(runtime, named_body)
    finally:
        sys.settrace(previous)
        threading.settrace(previous)
    assert ident != threading.get_ident()
    assert (
        "named_body",
        ident,
    ) not in calls  # if this fails, CPython has changed for the better: tell the docs

    profile = cProfile.Profile()
    profile.enable()
    tr.workflow(lambda: tr.step(named_body)()).options(runtime=make_runtime(debug=True))()
    profile.disable()
    assert "named_body" in {name for _, _, name in pstats.Stats(profile).stats}


@pytest.mark.skipif(not HAS_MONITORING, reason="sys.monitoring is of Python 3.12")
def test_sys_monitoring_sees_bodies_on_workers(make_runtime):
    runtime, calls = make_runtime(workers=1), set()
    monitoring = sys.monitoring
    tool = next(number for number in range(6) if monitoring.get_tool(number) is None)
    monitoring.use_tool_id(tool, "tailrace's test")

    def watched_body():
        return threading.get_ident()

    monitoring.register_callback(
        tool, monitoring.events.PY_START, lambda code, _: calls.add((code.co_name, threading.get_ident()))
    )
    monitoring.set_events(tool, monitoring.events.PY_START)
    try:
        ident = on_worker(runtime, watched_body)
    finally:
        monitoring.set_events(tool, 0)
        monitoring.free_tool_id(tool)
    assert ident != threading.get_ident()
    assert ("watched_body", ident) in calls


PROGRAM = """
import sys, threading
import tailrace as tr

def on_a_worker(x):
    y = x + 1
    return y

@tr.step
def plain(x):
    y = 2 * x
    return y

@tr.step(blocking=True)
def waits(x):
    y = 3 * x
    return y

@tr.step
async def later(x):
    y = 4 * x
    return y

with tr.Runtime(workers=1, debug="debug" in sys.argv) as rt:
    done = threading.Event()
    rt.submit(on_a_worker, 1).add_done_callback(lambda _: done.set())
    assert done.wait(20)
    assert tr.workflow(lambda x: later(waits(plain(x)))).start(1).result(20) == 24
"""


@pytest.mark.skipif(importlib.util.find_spec("coverage") is None, reason="coverage is in the extra `test`")
@pytest.mark.parametrize("how", ["debug", "sysmon"])
def test_coverage_counts_every_line_of_every_step(tmp_path, how):
    if how == "sysmon" and not HAS_MONITORING:
        pytest.skip("coverage's sysmon core needs Python 3.12")
    program = tmp_path / "program.py"
    program.write_text(PROGRAM)
    environment = {"COVERAGE_CORE": "sysmon"} if how == "sysmon" else {}
    environment |= {"COVERAGE_FILE": str(tmp_path / "data")}

    def cover(*words):
        command = [sys.executable, "-m", "coverage", *words]
        import os

        return subprocess.run(
            command,
            cwd=tmp_path,
            env=os.environ | environment,
            capture_output=True,
            text=True,
            timeout=WAIT_S * 3,
        )

    ran = cover("run", "--include=program.py", str(program), how)
    assert ran.returncode == 0, ran.stderr
    told = cover("report", "--show-missing", "--fail-under=100")
    assert told.returncode == 0, told.stdout + told.stderr


@pytest.mark.skipif(shutil.which("py-spy") is None, reason="py-spy is not installed")
def test_py_spy_shows_workers_by_name_inside_their_step(run_script):
    import os

    done = run_script(
        "import os, subprocess, threading\n"
        "import tailrace as tr\n"
        "go, begun = threading.Event(), threading.Event()\n"
        "def hold_here():\n"
        "    begun.set()\n"
        "    return go.wait(20)\n"
        "with tr.Runtime(workers=1, name='shop') as rt:\n"
        "    future = rt.submit(hold_here)\n"
        "    begun.wait(20)\n"
        "    words = ['py-spy', 'dump', '--pid', str(os.getpid())]\n"
        "    dump = subprocess.run(words, capture_output=True, text=True)\n"
        "    go.set()\n"
        "    future.result(20)\n"
        "print(dump.returncode, dump.stdout, dump.stderr)\n",
        timeout_s=60,
    )
    assert done.returncode == 0, done.stderr
    if not done.stdout.startswith("0"):
        pytest.skip(f"py-spy may not look at a process here: {done.stdout[-200:]}")
    assert "shop-w0" in done.stdout, os.linesep.join([done.stdout, done.stderr])
    assert "hold_here" in done.stdout
