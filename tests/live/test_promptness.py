"""What must be quick by the clock on the wall; every limit has a slack of ten or more."""

from __future__ import annotations

import subprocess
import sys
import time

START = """
import os, signal, sys, threading, time, tailrace as tr
begun = threading.Event()
def body():
    begun.set()
    time.sleep(60)
wait = tr.step(blocking=True)(body)
wf = tr.workflow(lambda: wait())
rt = tr.Runtime(workers=2)
"""


def run(text, timeout_s=60.0):
    began = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-c", START + text], capture_output=True, text=True, timeout=timeout_s, check=False
    )
    return done, time.monotonic() - began


def test_leaving_with_work_queued_running_and_blocked_takes_two_seconds_at_most():
    done, took_s = run("wf.start(); [rt.submit(body) for _ in range(9)]; begun.wait()")
    assert done.returncode == 0, done.stderr
    assert all("left at exit with a body" in line for line in done.stderr.splitlines()), done.stderr
    assert took_s < 20.0


def test_ctrl_c_arrives_within_a_fifth_of_a_second():
    done, _ = run(
        "def interrupt():\n"
        "    begun.wait(); time.sleep(0.2)\n"
        "    sent.append(time.monotonic()); os.kill(os.getpid(), signal.SIGINT)\n"
        "sent = []\n"
        "threading.Thread(target=interrupt, daemon=True).start()\n"
        "try: wf.options(runtime=rt)()\n"
        "except KeyboardInterrupt: print(time.monotonic() - sent[0])\n"
    )
    assert done.returncode == 0, done.stderr
    assert float(done.stdout) < 2.0


def test_an_idle_runtime_burns_no_cpu():
    done, _ = run(
        "rt.submit(int).result(); time.sleep(0.2)\n"
        "before = time.process_time(); time.sleep(2); print(time.process_time() - before)\n"
    )
    assert done.returncode == 0, done.stderr
    assert float(done.stdout) < 0.1


def test_importing_the_package_takes_30_ms_at_most():
    command = [
        sys.executable,
        "-c",
        "import time; t = time.perf_counter(); import tailrace; print(time.perf_counter() - t)",
    ]
    took_s = min(
        float(subprocess.run(command, capture_output=True, text=True, check=True).stdout) for _ in range(3)
    )
    assert took_s < 0.3
