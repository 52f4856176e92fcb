"""CPython's own `test_concurrent_futures`, where the interpreter has it, on `tailrace.Executor`."""

from __future__ import annotations

import concurrent.futures
import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

RUNNER = Path(__file__).with_name("run_suite.py")
TESTS = 65  # of thread pools and futures, in 3.13
TOGETHER = 8  # they mostly sleep
BATCH_TIMEOUT_S = 120.0


def has_suite() -> bool:
    try:
        return importlib.util.find_spec("test.test_concurrent_futures.util") is not None
    except ImportError:  # a module, not a package, or not there at all
        return False


def run(*arguments: str) -> str:
    command = [sys.executable, str(RUNNER), *arguments]
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=BATCH_TIMEOUT_S, check=False, env=os.environ
        )
    except subprocess.TimeoutExpired as late:
        return f"{arguments} took too long\n{late.stdout}\n{late.stderr}"
    return done.stdout + done.stderr


@pytest.mark.skipif(not has_suite(), reason="this interpreter has no test.test_concurrent_futures package")
def test_tailrace_executor_passes_every_test_of_the_standard_thread_pool():
    names = run("--list").split()
    assert len(names) >= TESTS, names
    batches = [names[i::TOGETHER] for i in range(TOGETHER)]
    with concurrent.futures.ThreadPoolExecutor(TOGETHER) as pool:
        outputs = list(pool.map(lambda batch: run(*batch), batches))
    passed = sum(len(re.findall(r"\.\.\. ok$", output, re.MULTILINE)) for output in outputs)
    skipped = sum(len(re.findall(r"\.\.\. skipped ", output)) for output in outputs)
    failures = "\n".join(output for output in outputs if not output.rstrip().endswith("OK"))
    assert (passed, skipped) == (len(names), 0), failures or outputs
