"""The instruction gate: it is closed to what costs more, and never says "passed" when it compared nothing."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

SCRIPT = Path(__file__).resolve().parents[1] / "bench" / "gate" / "run.py"
COMPILER = "gcc 1.2.3, glibc 4.5, x86_64"


@pytest.fixture
def gate() -> ModuleType:
    spec = importlib.util.spec_from_file_location("tailrace_gate_run", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # where dataclasses look their module up
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def counted(gate: ModuleType, monkeypatch: pytest.MonkeyPatch) -> dict[str, list[float]]:
    """What Callgrind would count, call after call; the machine need not have it."""
    counts: dict[str, list[float]] = {"deque": [100.0], "chain": [50.0]}

    def output(program: Path, what: str) -> str:
        return COMPILER if what == "--compiler" else "".join(f"{name}\tone operation\n" for name in counts)

    def count(_valgrind: str, _program: Path, path: str) -> float:
        return counts[path].pop(0) if len(counts[path]) > 1 else counts[path][0]

    monkeypatch.setattr(gate, "output", output)
    monkeypatch.setattr(gate, "count", count)
    monkeypatch.setattr(gate.shutil, "which", lambda name: name)
    return counts


def run(gate: ModuleType, folder: Path, baseline: dict[str, dict[str, float]], *words: str) -> int:
    path = folder / "baseline.json"
    path.write_text(json.dumps(baseline))
    return gate.main(["--program", "tailrace_gate", "--baseline", str(path), *words])


def test_counts_within_the_tolerance_pass(gate, counted, tmp_path):
    assert run(gate, tmp_path, {COMPILER: {"deque": 98.0, "chain": 50.0}}) == gate.WITHIN


def test_a_path_that_costs_a_twentieth_more_closes_the_gate(gate, counted, tmp_path, capsys):
    assert run(gate, tmp_path, {COMPILER: {"deque": 95.0, "chain": 50.0}}) == gate.OVER
    assert "OVER 3%" in capsys.readouterr().out


def test_a_count_that_a_busy_machine_has_disturbed_is_taken_again(gate, counted, tmp_path):
    counted["deque"] = [160.0, 100.0]
    assert run(gate, tmp_path, {COMPILER: {"deque": 100.0, "chain": 50.0}}) == gate.WITHIN


def test_a_path_without_a_figure_closes_the_gate_as_does_a_figure_without_a_path(
    gate, counted, tmp_path, capsys
):
    assert run(gate, tmp_path, {COMPILER: {"deque": 100.0}}) == gate.OVER
    assert "NOT IN THE BASELINE" in capsys.readouterr().out
    assert run(gate, tmp_path, {COMPILER: {"deque": 100.0, "chain": 50.0, "gone": 1.0}}) == gate.BROKEN
    assert "the baseline has gone" in capsys.readouterr().err


def test_another_compiler_or_no_callgrind_is_skipped_by_name_and_is_no_pass(
    gate, counted, tmp_path, monkeypatch, capsys
):
    assert run(gate, tmp_path, {"clang 19.1.7": {"deque": 100.0}}) == gate.SKIPPED
    assert f"this is {COMPILER}; the baseline has clang 19.1.7" in capsys.readouterr().err
    monkeypatch.setattr(gate.shutil, "which", lambda name: None)
    assert run(gate, tmp_path, {COMPILER: {"deque": 100.0, "chain": 50.0}}) == gate.SKIPPED
    assert "nothing was compared: no valgrind" in capsys.readouterr().err


def test_update_writes_this_compiler_and_leaves_the_others(gate, counted, tmp_path):
    other = {"clang 19.1.7": {"deque": 90.0}}
    assert run(gate, tmp_path, other | {COMPILER: {"gone": 1.0}}, "--update") == gate.WITHIN
    written = json.loads((tmp_path / "baseline.json").read_text())
    assert written == other | {COMPILER: {"deque": 100.0, "chain": 50.0}}


def test_no_single_thread_path_costs_more_instructions_than_the_baseline_allows() -> None:
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    if not any(shutil.which(name) for name in (os.environ.get("CXX", "c++"), "g++", "clang++")):
        pytest.skip("no C++ compiler on this machine: the gate cannot be built")
    if shutil.which("cmake", path=path) is None:
        pytest.skip("no CMake on this machine: the gate cannot be built")
    done = subprocess.run(
        [sys.executable, SCRIPT],
        env={**os.environ, "PATH": path},
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
    )
    if done.returncode == 77:
        pytest.skip(done.stderr.strip())
    assert done.returncode == 0, done.stdout + done.stderr
