"""Numba kernels compiled to PTX without a device, and by ptxas to a cubin, held to budgets.

`python numba_offline.py` prints a line for each kernel, dtype and architecture, and fails where one is beyond
its budget; a line that begins with "skip:" says what is not there. A process of its own: the compiler and the
simulator of the other test cannot live in one.
"""

from __future__ import annotations

import importlib.util
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

ARCHITECTURES = ((8, 0), (9, 0), (10, 0))
REGISTERS = {"prepare_rows": 80}  # most of a thread; three blocks of 256 threads fill a multiprocessor

_STACK = re.compile(r"(\d+) bytes stack frame, (\d+) bytes spill stores, (\d+) bytes spill loads")
_USED = re.compile(r"Used (\d+) registers")


def ptxas() -> str | None:
    """The assembler of a pip toolkit or of the machine's, or None."""
    spec = importlib.util.find_spec("nvidia")
    for folder in (spec.submodule_search_locations or []) if spec else []:
        for found in sorted(Path(folder).glob("*/bin/ptxas"), reverse=True):
            return str(found)
    return shutil.which("ptxas") or shutil.which("ptxas", path="/usr/local/cuda/bin")


def kernels() -> Iterator[tuple[str, str, Any, Any]]:
    """Name, variant, function and signature of each kernel."""
    from numba import types as t
    from tailrace.kernels.ops.features_prep import cuda as features_prep

    def array(dtype: Any, rank: int) -> Any:
        return t.Array(dtype, rank, "C")

    for number in (t.float32, t.float64):
        yield (
            "prepare_rows",
            str(number),
            features_prep.prepare_rows.py_func,
            t.void(
                array(number, 2),
                array(t.int64, 2),
                array(number, 2),
                array(t.int32, 1),
                array(t.int64, 1),
                array(t.int32, 2),
                array(t.int32, 1),
                array(t.uint64, 1),
                t.int64,
                t.int64,
                array(t.int64, 1),
                array(t.float32, 2),
            ),
        )


def main() -> None:
    tool = ptxas()
    if tool is None:
        print("skip: no ptxas: pip install nvidia-cuda-nvcc")
        return
    from numba import cuda
    from numba.cuda import dispatcher

    wrong = []
    for name, variant, function, signature in kernels():
        for capability in ARCHITECTURES:
            # A function that a kernel calls is compiled for the current device: here that is this one.
            current = SimpleNamespace(compute_capability=capability)
            dispatcher.get_current_device = lambda current=current: current
            ptx, _ = cuda.compile_ptx(function, signature, cc=capability)
            architecture = f"sm_{capability[0]}{capability[1]}"
            with tempfile.NamedTemporaryFile("w", suffix=".ptx") as file:
                file.write(ptx)
                file.flush()
                done = subprocess.run(
                    [tool, "-v", f"-arch={architecture}", "-o", "/dev/null", file.name],
                    capture_output=True,
                    text=True,
                    check=False,
                )
            if done.returncode != 0:
                wrong.append(f"{name} {variant} {architecture}: {done.stderr}")
                continue
            registers = max(int(n) for n in _USED.findall(done.stderr))
            local = sum(int(n) for found in _STACK.findall(done.stderr) for n in found)
            line = (
                f"{name} {variant} {architecture}: {registers} registers, {local} bytes of stack and spills"
            )
            print(line)
            if registers > REGISTERS[name] or local:
                wrong.append(f"{line}; the budget is {REGISTERS[name]} registers and no stack")
    if wrong:
        sys.exit("\n".join(wrong))


if __name__ == "__main__":
    main()
