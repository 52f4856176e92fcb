"""The installed package is whole: extension, stub, marker, C++ headers, one version, dynamic libstdc++."""

from __future__ import annotations

import importlib
import importlib.metadata
import importlib.util
import json
import struct
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

DT_NEEDED, DT_STRTAB, PT_LOAD, PT_DYNAMIC = 1, 5, 1, 2


def needed_libraries(path: Path) -> list[str]:
    """The DT_NEEDED entries of a 64-bit little-endian ELF file: what the loader must find.

    Source: System V ABI, "Program Header" and "Dynamic Section".
    """
    data = path.read_bytes()
    if data[:6] != b"\x7fELF\x02\x01":
        raise ValueError(f"{path.name} is not a 64-bit little-endian ELF file")
    table, size, count = *struct.unpack_from("<Q", data, 32), *struct.unpack_from("<HH", data, 54)
    headers = [struct.unpack_from("<IIQQQQ", data, table + i * size) for i in range(count)]

    def offset_of(address: int) -> int:
        for kind, _, offset, start, _, length in headers:
            if kind == PT_LOAD and start <= address < start + length:
                return int(offset + address - start)
        raise ValueError(f"{path.name}: address {address:#x} is in no segment")

    def dynamic() -> Iterator[tuple[int, int]]:
        for kind, _, offset, _, _, length in headers:
            if kind == PT_DYNAMIC:
                yield from struct.iter_unpack("<QQ", data[offset : offset + length])

    entries = list(dynamic())
    strings = next((offset_of(value) for tag, value in entries if tag == DT_STRTAB), 0)
    starts = [strings + value for tag, value in entries if tag == DT_NEEDED]
    return [data[start : data.index(b"\0", start)].decode() for start in starts]


@pytest.fixture(scope="module")
def extension() -> Path:
    spec = importlib.util.find_spec("tailrace._core")
    assert spec is not None, (
        "tailrace is installed without its extension; see .ci/run for the install command"
    )
    assert spec.origin is not None
    return Path(spec.origin)


@pytest.fixture(scope="module")
def installed() -> list[str]:
    """Names of the installed files; skips where an editable install lists none of them."""
    metadata = importlib.metadata.distribution("tailrace")
    origin = json.loads(metadata.read_text("direct_url.json") or "{}")
    if origin.get("dir_info", {}).get("editable"):
        pytest.skip("an editable install has no file list; the wheel is checked by .ci/run")
    return [str(file) for file in metadata.files or []]


def test_the_wheel_contains_the_extension_its_stub_and_the_typing_marker(installed: list[str]) -> None:
    assert any(name.startswith("tailrace/_core.") and name.endswith(".so") for name in installed)
    assert {"tailrace/_core.pyi", "tailrace/py.typed", "tailrace/__init__.py"} <= set(installed)


def test_the_wheel_contains_the_kernels_with_their_device_sources_and_without_their_cpp(
    installed: list[str],
) -> None:
    kernels = [name for name in installed if name.startswith("tailrace/kernels/")]
    assert any(name.startswith("tailrace/kernels/_cpu.") and name.endswith(".so") for name in kernels)
    assert "tailrace/kernels/_cpu.pyi" in kernels
    assert any(name.endswith(".cu") for name in kernels)
    assert [name for name in kernels if name.endswith((".cpp", ".hpp", ".inc", "CMakeLists.txt"))] == []


def test_the_wheel_contains_what_find_package_needs(installed: list[str]) -> None:
    assert any(name.endswith("lib/cmake/tailrace/tailraceConfig.cmake") for name in installed)
    assert any(name.endswith("include/tailrace/base/atomic.hpp") for name in installed)
    assert any(name.endswith(".a") for name in installed)


def test_the_wheel_contains_no_tests_and_no_caches(installed: list[str]) -> None:
    assert [name for name in installed if name.split("/")[0] in {"tests", "bench", "docs"}] == []


def test_the_extension_links_the_cxx_runtime_dynamically(extension: Path) -> None:
    # A static libstdc++ turns a thread that CPython stops at exit into an abort: it cannot be unwound.
    if not sys.platform.startswith("linux"):
        pytest.skip("ELF is read on Linux only")
    libraries = {name.split(".so")[0] for name in needed_libraries(extension)}
    assert {"libstdc++", "libgcc_s"} <= libraries


def test_the_elf_reader_reads_the_interpreter_itself_and_refuses_other_files(tmp_path: Path) -> None:
    if not sys.platform.startswith("linux"):
        pytest.skip("ELF is read on Linux only")
    libraries = needed_libraries(Path(sys.executable).resolve())
    assert any(name.startswith("libc.so") for name in libraries)
    assert not any(name.startswith("libstdc++") for name in libraries)
    other = tmp_path / "text.so"
    other.write_text("no library")
    with pytest.raises(ValueError, match="not a 64-bit little-endian ELF"):
        needed_libraries(other)


def test_metadata_module_and_core_have_one_version() -> None:
    core = importlib.import_module("tailrace._core")
    face = importlib.import_module("tailrace")
    assert core.__version__ == face.__version__ == importlib.metadata.version("tailrace")


def test_the_stub_agrees_with_the_compiled_module(tmp_path: Path) -> None:
    if importlib.util.find_spec("mypy") is None:
        pytest.skip("mypy is not installed; .ci/run runs stubtest with it")
    command = [sys.executable, "-m", "mypy.stubtest", "tailrace._core"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
