"""The compiled module of each op: one `cupy.RawModule`, a cubin for each device's architecture, kept.

`RawModule` compiles at the first kernel asked for and once for each device; CuPy keeps the cubins on disk, so
a process that comes later loads what an earlier one compiled.
"""

from __future__ import annotations

import importlib
from functools import cache
from typing import Any

from tailrace.kernels.cuda import sources

# Beyond this many bytes of dynamic shared memory a kernel has to be told so, once for each device.
_OPT_IN_BYTES = 48 * 1024


@cache
def module(op: str) -> Any:
    """The `cupy.RawModule` of `op`; nothing is compiled yet."""
    cupy: Any = importlib.import_module("cupy")
    return cupy.RawModule(code=sources.source(op), options=sources.OPTIONS, backend="nvrtc")


@cache
def _kernel(op: str, name: str, device: int, shared_bytes: int) -> Any:
    kernel = module(op).get_function(name)
    if shared_bytes > _OPT_IN_BYTES:
        kernel.max_dynamic_shared_size_bytes = shared_bytes
    return kernel


def kernel(op: str, name: str, device: int, shared_bytes: int = 0) -> Any:
    """The kernel `name` of `op`, compiled for `device`, allowed `shared_bytes` of dynamic shared memory."""
    return _kernel(op, name, device, shared_bytes if shared_bytes > _OPT_IN_BYTES else 0)
