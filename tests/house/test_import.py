"""`import tailrace` is cheap: it loads neither NumPy nor asyncio and starts nothing."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

REPORT = """
import json, os, sys, threading
before = set(sys.modules)
{imported}
tasks = os.listdir("/proc/self/task") if os.path.isdir("/proc/self/task") else []
print(json.dumps([sorted(set(sys.modules) - before), threading.active_count(), len(tasks)]))
"""
HEAVY = {"numpy", "asyncio", "multiprocessing", "ssl", "rich", "uvloop", "numba", "cupy"}


def report(imported: str, folder: Path) -> tuple[set[str], int, int]:
    """(top-level modules loaded, Python threads, native threads) after the statement `imported`."""
    command = [sys.executable, "-I", "-c", REPORT.format(imported=imported)]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
    modules, threads, tasks = json.loads(done.stdout)
    return {name.split(".")[0] for name in modules}, threads, tasks


def test_importing_tailrace_loads_nothing_heavy(tmp_path: Path) -> None:
    modules, _, _ = report("import tailrace", tmp_path)
    assert "tailrace" in modules
    assert modules & HEAVY == set()


def test_importing_the_kernels_loads_numpy_and_no_optional_package(tmp_path: Path) -> None:
    modules, threads, _ = report("import tailrace.kernels; tailrace.kernels.status()", tmp_path)
    assert modules & {"numba", "cupy", "torch", "onnx", "safetensors", "scipy"} == set()
    assert threads == 1


def test_importing_tailrace_starts_no_thread(tmp_path: Path) -> None:
    _, threads, tasks = report("import tailrace", tmp_path)
    assert threads == 1
    assert tasks <= 1


def test_a_heavy_import_and_a_started_thread_are_found(tmp_path: Path) -> None:
    modules, threads, tasks = report(
        "import asyncio, threading\nthreading.Thread(target=threading.Event().wait, daemon=True).start()",
        tmp_path,
    )
    assert modules & HEAVY == {"asyncio"} | (modules & {"ssl"})
    assert threads == 2
    assert tasks in {0, 2}
