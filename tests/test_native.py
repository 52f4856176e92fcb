"""The native tests, built and run from here: units, a short stress, the model checks with their mutants."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PROGRAMS = {
    "unit": "tests/cpp/tailrace_unit",
    "stress": "tests/stress/tailrace_stress",
    "proof": "tests/stress/tailrace_proof",
    "model": "tests/model/tailrace_model",
}


def tool(name: str) -> str:
    """Where `name` is: beside this Python, as the `test` extra installs it, or on the path."""
    beside = Path(sys.executable).parent / name
    found = str(beside) if beside.is_file() else shutil.which(name)
    assert found, f"{name} is missing; install it with: pip install '.[test]'"
    return found


def run(command: list[str], *, limit_s: float, **environment: str) -> str:
    done = subprocess.run(
        command,
        cwd=ROOT,
        env={**os.environ, **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
        timeout=limit_s,
    )
    assert done.returncode == 0, f"{' '.join(command)}\n{done.stdout[-8000:]}"
    return done.stdout


@pytest.fixture(scope="session")
def build(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the native programs; in build/pytest, so that a second run compiles what has changed."""
    if not any(shutil.which(name) for name in (os.environ.get("CXX", "c++"), "g++", "clang++")):
        pytest.skip("no C++ compiler on this machine: the native tests cannot be built")
    folder = ROOT / "build" / "pytest"
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError:
        folder = tmp_path_factory.mktemp("native")
    configure = [tool("cmake"), "-S", str(ROOT), "-B", str(folder), "-G", "Ninja"]
    configure += [f"-DCMAKE_MAKE_PROGRAM={tool('ninja')}", "-DCMAKE_BUILD_TYPE=Release"]
    run([*configure, "-DTAILRACE_TESTS=ON", "-DTAILRACE_MODEL=ON"], limit_s=120)
    run([tool("cmake"), "--build", str(folder)], limit_s=600)
    return folder


@pytest.mark.parametrize("name", PROGRAMS)
def test_the_native_program_passes(build: Path, name: str) -> None:
    output = run([str(build / PROGRAMS[name])], limit_s=300, TAILRACE_QUICK="1")
    assert output.rstrip().endswith(" 0 failed")


def test_a_failing_check_of_a_native_program_exits_with_an_error(build: Path) -> None:
    done = subprocess.run(
        [build / PROGRAMS["unit"], "a filter that no test's name holds"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode != 0
    assert "0 passed" in done.stdout
