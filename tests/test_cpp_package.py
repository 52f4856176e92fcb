"""A C++ program of somebody else builds against the installed package, and runs a plan on the scheduler."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

PROJECT = """
cmake_minimum_required(VERSION 3.26)
project(service LANGUAGES CXX)
find_package(tailrace CONFIG REQUIRED)
add_executable(service main.cpp)
target_link_libraries(service PRIVATE tailrace::tailrace)
"""
PROGRAM = """
#include <atomic>
#include <cstdio>

#include "tailrace/flow/runner.hpp"
#include "tailrace/sched/scheduler.hpp"

int main() {
  tailrace::sched::Scheduler scheduler{{.workers = 2}};

  std::atomic<int> sum{0};
  for (int i = 1; i <= 100; ++i) {
    scheduler.submit([&sum, i](tailrace::sched::Worker*) { sum.fetch_add(i); });
  }
  scheduler.drain();

  int start = 0, left = 0, right = 0, join = 0;
  auto first = [&] { start = 2; };
  auto second = [&] { left = start * 3; };
  auto third = [&] { right = start * 5; };
  auto last = [&] { join = left + right; };
  tailrace::flow::PlanBuilder builder;
  const auto a = builder.add(first), b = builder.add(second), c = builder.add(third), d = builder.add(last);
  builder.edge(a, b);
  builder.edge(a, c);
  builder.edge(b, d);
  builder.edge(c, d);
  const tailrace::flow::Plan plan = builder.compile();
  tailrace::flow::Runner runner{plan, scheduler};
  for (int i = 0; i < 1000; ++i) {
    join = 0;
    if (runner.run() != tailrace::base::Outcome::kOk || join != 16) return 1;
  }
  std::printf("%d %d\\n", sum.load(), join);
}
"""
WITHOUT_COMPILER = "no C++ compiler on this machine: a program cannot be built against the package"
COMMAND = "import sys, tailrace.cli; sys.exit(tailrace.cli.main())"
PATH = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])


def run(*command: str | Path, cwd: Path) -> str:
    words = [str(word) for word in command]
    done = subprocess.run(
        words,
        cwd=cwd,
        env={**os.environ, "PATH": PATH},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, f"{' '.join(words)}\n{done.stdout[-8000:]}"
    return done.stdout


@pytest.fixture
def cmake() -> str:
    found = shutil.which("cmake", path=PATH)
    if found is None:
        pytest.skip("no CMake on this machine: a program cannot be built against the package")
    if not any(shutil.which(name, path=PATH) for name in (os.environ.get("CXX", "c++"), "g++", "clang++")):
        pytest.skip(WITHOUT_COMPILER)
    return found


def build_and_run(cmake: str, package: str | Path, folder: Path) -> str:
    """The output of the program above, built against the CMake package in `package`."""
    folder.mkdir()
    (folder / "CMakeLists.txt").write_text(PROJECT)
    (folder / "main.cpp").write_text(PROGRAM)
    ninja = ["-G", "Ninja"] if shutil.which("ninja", path=PATH) else []
    run(cmake, "-S", ".", "-B", "build", *ninja, f"-Dtailrace_DIR={package}", cwd=folder)
    run(cmake, "--build", "build", cwd=folder)
    return run(folder / "build" / "service", cwd=folder)


def test_a_program_builds_against_the_installed_package_and_runs(cmake: str, tmp_path: Path) -> None:
    package = run(sys.executable, "-c", COMMAND, "--cmakedir", cwd=tmp_path).strip()
    assert Path(package, "tailraceConfig.cmake").is_file()
    assert build_and_run(cmake, package, tmp_path / "service") == "5050 16\n"


def test_the_library_installs_by_itself_into_a_prefix_without_python(cmake: str, tmp_path: Path) -> None:
    root = Path(__file__).resolve().parents[1]
    prefix = tmp_path / "prefix"
    ninja = ["-G", "Ninja"] if shutil.which("ninja", path=PATH) else []
    run(cmake, "-S", root, "-B", "build", *ninja, f"-DCMAKE_INSTALL_PREFIX={prefix}", cwd=tmp_path)
    run(cmake, "--build", "build", "--target", "install", cwd=tmp_path)
    assert not [path for path in prefix.rglob("*") if path.suffix in {".py", ".so"}]
    assert build_and_run(cmake, prefix / "lib" / "cmake" / "tailrace", tmp_path / "service") == "5050 16\n"
