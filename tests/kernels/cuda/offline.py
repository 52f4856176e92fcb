"""Kernels compiled without a device: NVRTC to a cubin, what ptxas says of it, and its opcodes.

`python tests/kernels/cuda/offline.py [op ...]` prints one line for each kernel and architecture, as a start
for `kernels/cuda/budgets.toml`. The tools come from `pip install ".[kernels-check]"`, or from a CUDA toolkit.
"""

from __future__ import annotations

import ctypes
import functools
import importlib.util
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

ARCHITECTURES = ("sm_80", "sm_90", "sm_100")
FORBIDDEN = ("LDL", "STL")  # local memory: an array that did not stay in registers, or a spill

_ENTRY = re.compile(r"Compiling entry function '(\w+)'")
_STACK = re.compile(r"(\d+) bytes stack frame, (\d+) bytes spill stores, (\d+) bytes spill loads")
_USED = re.compile(r"Used (\d+) registers")
_SHARED = re.compile(r"(\d+) bytes smem")
_SECTION = re.compile(r"^//-+ \.text\.(\w+)", re.MULTILINE)
_OPCODE = re.compile(r"/\*[0-9a-f]{4,}\*/\s+(?:@!?U?P\w+\s+)?([A-Z][A-Z0-9_.]+)")


@dataclass
class Compiled:
    """One kernel for one architecture."""

    registers: int = 0
    stack_bytes: int = 0
    spill_bytes: int = 0
    shared_bytes: int = 0
    opcodes: set[str] = field(default_factory=set)

    def has(self, wanted: str) -> bool:
        """Whether an opcode has all parts of `wanted`: "LDG.128" is in "LDG.E.128.CONSTANT"."""
        parts = set(wanted.split("."))
        return any(
            parts <= set(opcode.split(".")) and opcode.startswith(wanted.split(".", maxsplit=1)[0])
            for opcode in self.opcodes
        )


def _toolkits() -> Iterator[Path]:
    spec = importlib.util.find_spec("nvidia")
    for folder in (spec.submodule_search_locations or []) if spec else []:
        yield from sorted(Path(folder).glob("*/"), reverse=True)
    for folder in (os.environ.get("CUDA_HOME"), os.environ.get("CUDA_PATH"), "/usr/local/cuda"):
        if folder:
            yield Path(folder)


@functools.cache
def nvrtc() -> ctypes.CDLL | None:
    """The run-time compiler's library, or None."""
    for root in _toolkits():
        for lib in ("lib", "lib64"):
            found = [p for p in sorted((root / lib).glob("libnvrtc.so.*")) if ".alt." not in p.name]
            if not found:
                continue
            for builtins in (root / lib).glob("libnvrtc-builtins.so.*"):
                ctypes.CDLL(str(builtins), mode=ctypes.RTLD_GLOBAL)
            return ctypes.CDLL(str(found[0]))
    return None


@functools.cache
def nvdisasm() -> str | None:
    """The disassembler, or None."""
    for root in _toolkits():
        if (root / "bin" / "nvdisasm").is_file():
            return str(root / "bin" / "nvdisasm")
    return shutil.which("nvdisasm")


def version() -> str:
    library = nvrtc()
    assert library is not None
    major, minor = ctypes.c_int(), ctypes.c_int()
    library.nvrtcVersion(ctypes.byref(major), ctypes.byref(minor))
    return f"NVRTC {major.value}.{minor.value}"


def compile_text(text: str, architecture: str, options: tuple[str, ...]) -> dict[str, Compiled]:
    """The kernels of a source by name. Raises RuntimeError with the compiler's log."""
    library = nvrtc()
    assert library is not None
    program = ctypes.c_void_p()
    library.nvrtcCreateProgram(ctypes.byref(program), text.encode(), b"cuda.cu", 0, None, None)
    given = [o.encode() for o in (*options, "-ftz=true", f"-arch={architecture}", "--ptxas-options=-v")]
    failed = library.nvrtcCompileProgram(program, len(given), (ctypes.c_char_p * len(given))(*given))
    log = _text(library, program, "ProgramLog")
    if failed:
        raise RuntimeError(f"{architecture}: NVRTC does not compile it:\n{log}")
    found = _resources(log)
    tool = nvdisasm()
    if tool is not None:
        with tempfile.NamedTemporaryFile(suffix=".cubin") as cubin:
            cubin.write(_text(library, program, "CUBIN", raw=True))
            cubin.flush()
            listed = subprocess.run(
                [tool, "-c", cubin.name], capture_output=True, text=True, check=True
            ).stdout
        parts = _SECTION.split(listed)
        for name, body in zip(parts[1::2], parts[2::2], strict=True):
            if name in found:
                found[name].opcodes = set(_OPCODE.findall(body))
    library.nvrtcDestroyProgram(ctypes.byref(program))
    return found


def _text(library: ctypes.CDLL, program: ctypes.c_void_p, what: str, raw: bool = False) -> object:
    size = ctypes.c_size_t()
    getattr(library, f"nvrtcGet{what}Size")(program, ctypes.byref(size))
    buffer = ctypes.create_string_buffer(size.value)
    getattr(library, f"nvrtcGet{what}")(program, buffer)
    return buffer.raw if raw else buffer.value.decode()


def _resources(log: str) -> dict[str, Compiled]:
    found: dict[str, Compiled] = {}
    parts = _ENTRY.split(log)
    for name, said in zip(parts[1::2], parts[2::2], strict=True):
        one = found[name] = Compiled()
        # A function that was not inlined has lines of its own behind the kernel's: its stack counts too.
        for stack, stores, loads in _STACK.findall(said):
            one.stack_bytes += int(stack)
            one.spill_bytes += int(stores) + int(loads)
        one.registers = max((int(n) for n in _USED.findall(said)), default=0)
        one.shared_bytes = max((int(n) for n in _SHARED.findall(said)), default=0)
    return found


def main(names: list[str]) -> None:
    from tailrace.kernels.cuda import sources

    for op in names or sources.ops():
        for architecture in ARCHITECTURES:
            for kernel, one in sorted(
                compile_text(sources.source(op), architecture, sources.OPTIONS).items()
            ):
                shown = [o for o in ("LDG.128", "HMMA", "IDP", "FFMA", "SHFL", *FORBIDDEN) if one.has(o)]
                print(
                    f"{op}.{kernel} {architecture}: registers = {one.registers}, "
                    f"shared_bytes = {one.shared_bytes}, "
                    f"stack {one.stack_bytes}, spills {one.spill_bytes}, {' '.join(shown)}"
                )


if __name__ == "__main__":
    main(sys.argv[1:])
