"""A wheel runs on every machine of its kind and hides its symbols: no -march, no static link, one export."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import shutil
import struct
import subprocess
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest

FORBIDDEN = re.compile(
    r"(?<![\w-])(?:-m(?:arch|tune|cpu|fpu)(?:=\S+|\b)|-m(?:avx|sse|bmi|fma|popcnt)\w*|-static(?!-pie\b)\S*|-Ofast|-ffast-math"
    r"|-funsafe-math-optimizations)"
)
SHT_DYNSYM = 11
TARGETS = {"cp311", "cp312", "cp313", "cp314"}


def forbidden_flags(text: str) -> list[str]:
    """The flags in a CMake file or command that bind a build to one machine, or link it statically."""
    without_comments = re.sub(r"(?:^|\s)#.*$", "", text, flags=re.MULTILINE)
    return FORBIDDEN.findall(without_comments)


def exported(path: Path) -> list[str]:
    """Names of the symbols that a 64-bit little-endian ELF file defines for others.

    Source: System V ABI, "Sections" and "Symbol Table".
    """
    data = path.read_bytes()
    (table,) = struct.unpack_from("<Q", data, 40)
    size, count = struct.unpack_from("<HH", data, 58)
    sections = [struct.unpack_from("<IIQQQQIIQQ", data, table + i * size) for i in range(count)]
    names = []
    for _, kind, _, _, offset, length, link, *_ in sections:
        if kind != SHT_DYNSYM:
            continue
        strings = sections[link][4]
        for name, info, other, section, _, _ in struct.iter_unpack("<IBBHQQ", data[offset : offset + length]):
            if (
                section and info >> 4 in (1, 2) and other & 3 == 0
            ):  # defined; global or weak; default visibility
                start = strings + name
                names.append(data[start : data.index(b"\0", start)].decode())
    return names


def test_no_cmake_file_binds_a_build_to_one_machine(files: list[Path], repo: Path) -> None:
    found = [
        f"{path.relative_to(repo)}: {flag}"
        for path in files
        if path.name == "CMakeLists.txt"
        or path.suffix in {".cmake", ".in"}
        or path.name == "CMakePresets.json"
        for flag in forbidden_flags(path.read_text(encoding="utf-8"))
    ]
    assert not found, "\n".join(found)


def test_such_flags_are_found_and_others_are_not() -> None:
    bad = [
        "-march=native",
        "-mtune=generic",
        "-mavx2",
        "-static",
        "-static-libstdc++",
        "-Ofast",
        "-ffast-math",
    ]
    assert forbidden_flags(" ".join(bad)) == bad
    good = "# -march=native\nset(X -O2) # never -march=native\n-O3 -Wmissing-march -fPIC -Wl,-z,relro STATIC"
    assert forbidden_flags(good) == []


def test_the_commands_that_cmake_makes_have_none_either(tmp_path: Path, repo: Path) -> None:
    if shutil.which("cmake") is None or shutil.which("ninja") is None:
        pytest.skip("cmake and ninja are in the extra tailrace[test]")
    clean = {key: value for key, value in os.environ.items() if key not in {"CXXFLAGS", "CFLAGS", "LDFLAGS"}}
    command = ["cmake", "-S", str(repo), "-B", str(tmp_path), "-G", "Ninja", "-DCMAKE_BUILD_TYPE=Release"]
    command += ["-DCMAKE_EXPORT_COMPILE_COMMANDS=ON", f"-DPython_EXECUTABLE={sys.executable}"]
    if importlib.util.find_spec("pybind11") is not None:
        folder = [sys.executable, "-m", "pybind11", "--cmakedir"]
        found = subprocess.run(folder, capture_output=True, text=True, check=True).stdout.strip()
        command += ["-DTAILRACE_PYTHON=ON", f"-Dpybind11_DIR={found}"]
    done = subprocess.run(command, env=clean, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    rows = json.loads((tmp_path / "compile_commands.json").read_text())
    assert len(rows) > 10
    assert [row for row in rows if forbidden_flags(row["command"])] == []
    assert all("-fvisibility=hidden" in row["command"] for row in rows)
    assert forbidden_flags((tmp_path / "build.ninja").read_text()) == []


def test_the_extension_exports_its_init_function_and_nothing_of_tailrace() -> None:
    if not sys.platform.startswith("linux"):
        pytest.skip("ELF is read on Linux only")
    spec = importlib.util.find_spec("tailrace._core")
    assert spec is not None
    assert spec.origin is not None
    names = exported(Path(spec.origin))
    assert "PyInit__core" in names
    assert [name for name in names if "tailrace" in name] == []


def test_the_elf_reader_lists_what_the_interpreter_exports() -> None:
    if not sys.platform.startswith("linux"):
        pytest.skip("ELF is read on Linux only")
    module = importlib.util.find_spec("_ctypes")
    if module is None or module.origin is None or not module.origin.endswith(".so"):
        pytest.skip("this interpreter has no extension module to read")
    assert "PyInit__ctypes" in exported(Path(module.origin))


def test_the_wheel_configuration_names_what_the_classifiers_promise(repo: Path) -> None:
    project = tomllib.loads((repo / "pyproject.toml").read_text(encoding="utf-8"))
    wheel = project["tool"]["cibuildwheel"]
    assert {name.split("-")[0] for name in wheel["build"].split()} - {"cp314t", "cp313t"} == TARGETS
    assert set(wheel["skip"].split()) == {"*-manylinux_i686", "*-musllinux_i686"}
    assert {wheel["manylinux-x86_64-image"], wheel["manylinux-aarch64-image"]} == {"manylinux_2_28"}
    assert {wheel["musllinux-x86_64-image"], wheel["musllinux-aarch64-image"]} == {"musllinux_1_2"}
    promised = {f"cp3{c.rsplit('.', 1)[1]}" for c in project["project"]["classifiers"] if "Python :: 3." in c}
    assert promised <= TARGETS
    assert not {"macos", "windows"} & set(wheel)  # docs/releasing.md says why
    assert wheel["test-extras"] in project["project"]["optional-dependencies"]


def test_other_systems_are_refused_with_a_sentence(repo: Path, make_tree: Callable[..., Path]) -> None:
    text = (repo / "CMakeLists.txt").read_text(encoding="utf-8")
    assert 'NOT CMAKE_SYSTEM_NAME STREQUAL "Linux"' in text
    page = (repo / "docs" / "releasing.md").read_text(encoding="utf-8")
    mentioned = re.findall(r"`(cpp/[\w/]+\.cpp)`", page)
    assert mentioned
    assert [name for name in mentioned if not (repo / name).is_file()] == []
