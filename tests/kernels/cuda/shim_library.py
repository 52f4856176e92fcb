"""A `.cu` compiled by the host's compiler with the shim before it, and its kernels called by name."""

from __future__ import annotations

import ctypes
import hashlib
import os
import re
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

SHIM = Path(__file__).resolve().parent / "shim"
FLAGS = [
    "-std=c++20",
    "-O1",
    "-g1",
    "-w",
    "-fPIC",
    "-fno-strict-aliasing",
    "-ffp-contract=off",
    "-fvisibility=hidden",
    "-fsanitize=alignment,bounds,shift,signed-integer-overflow,integer-divide-by-zero",
    "-fsanitize-undefined-trap-on-error",
]
_KERNEL = re.compile(r'extern\s+"C"\s+__global__\s+void\s+(\w+)\s*\(')


def compiler() -> str | None:
    """The host's C++ compiler, or None."""
    return next(
        (found for c in (os.environ.get("CXX"), "g++", "c++", "clang++") if c and (found := shutil.which(c))),
        None,
    )


class Outcome(ctypes.Structure):
    _fields_ = (("message", ctypes.c_char * 400), ("address", ctypes.c_uint64), ("code", ctypes.c_uint64))


class KernelFault(RuntimeError):
    """A kernel did what it must not: the thread, the place in the source, what it was."""


class ShimLibrary:
    """The kernels of one source text, compiled once for each text and kept in `folder`."""

    def __init__(self, text: str, folder: Path) -> None:
        shims = "".join(path.read_text(encoding="utf-8") for path in sorted(SHIM.glob("*.hpp")))
        digest = hashlib.sha256("\0".join([text, shims, *FLAGS, str(compiler())]).encode()).hexdigest()[:20]
        self.path = folder / f"{digest}.so"
        if not self.path.exists():
            _compile(text, folder / f"{digest}-{os.getpid()}.cpp", self.path)
        self._library = ctypes.CDLL(str(self.path))

    def signature(self, kernel: str) -> list[str]:
        """The arguments as codes: `Pf4` a float pointer, `Cf4` one to const, `i4` an int32, `V8` a struct."""
        try:
            function = getattr(self._library, f"shim_signature_{kernel}")
        except AttributeError:
            raise KernelFault(f"there is no kernel {kernel!r}") from None
        function.restype = ctypes.c_char_p
        return [code for code in function().decode().split(",") if code]

    def run(
        self,
        kernel: str,
        grid: Sequence[int],
        block: Sequence[int],
        arguments: Sequence[int],
        shared_bytes: int,
        seed: int,
    ) -> Outcome | None:
        """Run a launch; `arguments` are addresses of the values. None, or what went wrong."""
        function = getattr(self._library, f"shim_run_{kernel}")
        outcome = Outcome()
        failed = function(
            (ctypes.c_uint * 3)(*grid),
            (ctypes.c_uint * 3)(*block),
            ctypes.c_size_t(shared_bytes),
            ctypes.c_uint64(seed),
            (ctypes.c_void_p * max(1, len(arguments)))(*arguments),
            ctypes.byref(outcome),
        )
        return outcome if failed else None

    def place(self, offset: int) -> str:
        """The source line of an instruction, where the host has addr2line."""
        tool = shutil.which("addr2line")
        if tool is None or offset == 0:
            return "an unknown line"
        found = subprocess.run(
            [tool, "-e", str(self.path), hex(offset)], capture_output=True, text=True, check=False
        )
        return found.stdout.strip() or "an unknown line"


def _compile(text: str, path: Path, library: Path) -> None:
    tool = compiler()
    assert tool is not None, "the fixture skips without a compiler"
    path.parent.mkdir(parents=True, exist_ok=True)
    whole = f'#include "shim.hpp"\n{text}\n'
    path.write_text(whole, encoding="utf-8")
    base = [tool, *FLAGS, f"-I{SHIM}", "-x", "c++"]
    expanded = _checked([*base, "-E", "-P", "-DSHIM_KEEP_GLOBAL", str(path)])
    kernels = sorted(set(_KERNEL.findall(expanded)))
    path.write_text(whole + "\n".join(f"SHIM_KERNEL({name})" for name in kernels) + "\n", encoding="utf-8")
    fresh = path.with_suffix(".so")
    _checked([*base, "-shared", "-o", str(fresh), str(path)])
    path.unlink()
    fresh.replace(library)


def _checked(command: list[str]) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise KernelFault(f"{command[0]} does not compile it:\n{done.stderr[:4000]}")
    return done.stdout
