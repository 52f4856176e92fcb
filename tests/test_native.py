"""The native tests, built and run from here; and what the kernels' objects share among the levels."""

from __future__ import annotations

import os
import platform
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PROGRAMS = {
    "unit": "tests/cpp/tailrace_unit",
    "kernels": "tests/cpp/tailrace_kernels_unit",
    "stress": "tests/stress/tailrace_stress",
    "proof": "tests/stress/tailrace_proof",
    "model": "tests/model/tailrace_model",
}

WIDE = re.compile(r"%[yz]mm\d|\tv(?!err|erw)[a-z]+\w*\s+%?.*%xmm")
BAD = """
#include <cstddef>
#pragma GCC push_options
#pragma GCC target("avx2,fma")
template <class T> __attribute__((noinline)) T twice(const T* from, std::size_t n) {
  T total = 0;
  for (std::size_t i = 0; i < n; ++i) total += from[i] * from[i];
  return total;
}
float table(const float* from, std::size_t n) { return twice(from, n); }
#pragma GCC pop_options
"""

needs_binutils = pytest.mark.skipif(
    not all(shutil.which(name) for name in ("g++", "objdump", "nm")) or platform.machine() != "x86_64",
    reason="needs g++ and binutils on x86-64",
)


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


def shared_and_wide(path: Path) -> list[str]:
    """Weak functions of an object, of which the linker keeps any one, that use AVX registers."""
    listed = subprocess.run(["nm", path], capture_output=True, text=True, check=True, timeout=60).stdout
    weak = {line.split()[-1] for line in listed.splitlines() if re.search(r" [WVu] ", line)}
    command = ["objdump", "-d", path]
    text = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120).stdout
    found, name = set(), ""
    for line in text.splitlines():
        start = re.match(r"[0-9a-f]+ <(\S+)>:", line)
        if start:
            name = start.group(1)
        elif name in weak and WIDE.search(line):
            found.add(name)
    return sorted(found)


@needs_binutils
def test_no_level_of_the_kernels_gives_others_a_function_they_cannot_run(build: Path) -> None:
    objects = [
        path
        for level in ("avx2", "avx512", "vnni")
        for path in (build / "kernels" / "CMakeFiles" / f"tailrace_kernels_{level}.dir").rglob("*.o")
    ]
    assert len(objects) >= 6
    found = [f"{path.parent.name}/{path.name}: {name}" for path in objects for name in shared_and_wide(path)]
    assert not found, "\n".join(found)


@needs_binutils
def test_such_a_function_is_found(tmp_path: Path) -> None:
    source = tmp_path / "bad.cpp"
    source.write_text(BAD, encoding="utf-8")
    command = ["g++", "-std=c++20", "-O3", "-c", str(source), "-o", str(tmp_path / "bad.o")]
    subprocess.run(command, check=True, timeout=60)
    assert [name for name in shared_and_wide(tmp_path / "bad.o") if "twice" in name]
