"""C++ programs of somebody else build against the installed package, and run: those of cpp/examples."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
EXAMPLES = ROOT / "cpp" / "examples"
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


def build_examples(cmake: str, package: str | Path, folder: Path) -> Path:
    """Builds a copy of cpp/examples against the package in `package`; returns where the programs are."""
    shutil.copytree(EXAMPLES, folder)
    ninja = ["-G", "Ninja"] if shutil.which("ninja", path=PATH) else []
    # No Python: neither its headers nor its program may be needed.
    none = ["-DCMAKE_DISABLE_FIND_PACKAGE_Python=ON", "-DCMAKE_DISABLE_FIND_PACKAGE_Python3=ON"]
    run(cmake, "-S", ".", "-B", "build", *ninja, *none, f"-Dtailrace_DIR={package}", cwd=folder)
    run(cmake, "--build", "build", cwd=folder)
    return folder / "build"


def run_examples(programs: Path) -> None:
    assert run(programs / "example_first", cwd=programs) == "ok 210\n"
    assert run(programs / "example_tour", cwd=programs) == "as documented\n"
    said = run(programs / "example_service", "500", cwd=programs)
    assert said.startswith("2000 requests: ")
    assert said.endswith("every request has had its one reply\n")


def test_the_examples_build_against_the_installed_package_and_run(cmake: str, tmp_path: Path) -> None:
    package = run(sys.executable, "-c", COMMAND, "--cmakedir", cwd=tmp_path).strip()
    assert Path(package, "tailraceConfig.cmake").is_file()
    run_examples(build_examples(cmake, package, tmp_path / "examples"))


def test_the_library_installs_by_itself_into_a_prefix_without_python(cmake: str, tmp_path: Path) -> None:
    prefix = tmp_path / "prefix"
    ninja = ["-G", "Ninja"] if shutil.which("ninja", path=PATH) else []
    run(cmake, "-S", ROOT, "-B", "build", *ninja, f"-DCMAKE_INSTALL_PREFIX={prefix}", cwd=tmp_path)
    run(cmake, "--build", "build", "--target", "install", cwd=tmp_path)
    assert not [path for path in prefix.rglob("*") if path.suffix in {".py", ".so"}]
    assert not [path for path in prefix.rglob("*.hpp") if "Python.h" in path.read_text(encoding="utf-8")]
    run_examples(build_examples(cmake, prefix / "lib" / "cmake" / "tailrace", tmp_path / "examples"))
