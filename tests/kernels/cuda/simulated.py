"""Runs Numba kernels in Numba's simulator; a process of its own, since the simulator is chosen at import.

`python simulated.py <module> <work> <seed>` imports the file `<module>` beside this one and calls
its function `<work>` with the engine and random numbers. The simulator has no operations of a warp and finds
no race; what it has is every access checked, and the very Python that is compiled for a device.
"""

from __future__ import annotations

import importlib.util
import os
import sys
from pathlib import Path
from types import ModuleType

os.environ["NUMBA_ENABLE_CUDASIM"] = "1"

import numpy as np

HERE = Path(__file__).resolve().parent


def load(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"tailrace_tests_{name}", HERE / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules[spec.name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def main(module: str, work: str, seed: str) -> None:
    from tailrace.kernels.cuda import launcher

    engine = load("host_device").HostDevice(lambda op: None, RuntimeError)
    with launcher.using(engine), np.errstate(over="ignore"):  # hashes wrap around
        getattr(load(module), work)(engine, np.random.default_rng(int(seed)))


if __name__ == "__main__":
    main(*sys.argv[1:])
