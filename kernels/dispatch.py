"""Which backend a call uses: where its arrays lie decides, unless a backend is named."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from tailrace.kernels import _checks, _cpu, costs
from tailrace.kernels.errors import BackendUnavailable

__all__ = ["BACKENDS", "choose", "force_isa", "reference_into"]

BACKENDS = ("auto", "cpu", "cuda", "numpy")


def choose(op: str, backend: str, *arrays: Any, offers: tuple[str, ...] = ("cpu", "cuda")) -> str:
    """Return "cpu", "cuda" or "numpy" for a call of `op`.

    Named by `backend`, else by TAILRACE_BACKEND, else: "cuda" for arrays on a device; for arrays on the host
    "cpu", unless `calibrate` has measured that the device is quicker, copies included.

    Args:
        op: the op's name, for errors.
        backend: one of `BACKENDS`.
        arrays: the array arguments that are not None, `out` among them.
        offers: what the op has besides its reference.

    Raises:
        ValueError: for an unknown backend, or arrays of which some lie on a device.
        BackendUnavailable: if a backend is named that cannot be had here.
    """
    if backend not in BACKENDS:
        raise ValueError(f"{op}: backend must be one of {', '.join(BACKENDS)}; got {backend!r}")
    host = True
    for array in arrays:
        if type(array) is not np.ndarray and array is not None:
            host = False
            break
    if host and backend == "cpu":
        return "cpu"
    source = "backend"
    if backend == "auto" and os.environ.get("TAILRACE_BACKEND"):
        backend, source = os.environ["TAILRACE_BACKEND"], "TAILRACE_BACKEND"
        if backend not in BACKENDS:
            raise ValueError(f"{source} must be one of {', '.join(BACKENDS)}; got {backend!r}")
    on_device = [] if host else [_checks.is_device_array(array) for array in arrays if array is not None]
    if any(on_device) and not all(on_device):
        given = ", ".join(
            f"{_checks.describe(array)} on the {'device' if there else 'host'}"
            for array, there in zip((a for a in arrays if a is not None), on_device, strict=True)
        )
        raise ValueError(f"{op}: all arrays must lie in one place, got {given}; copy them to one side")
    if any(on_device) and backend in ("cpu", "numpy"):
        raise ValueError(
            f"{op}: the arrays lie on a device, and {source} says {backend!r}; copy them to the host"
        )
    if backend == "auto":
        host_backend = costs.cheaper(op, arrays) if "cuda" in offers and costs.known() else "cpu"
        backend = "cuda" if any(on_device) else host_backend
    if backend == "cuda":
        if "cuda" not in offers:
            raise BackendUnavailable("cuda", "no kernel", f"{op} runs on the CPU only")
        from tailrace.kernels import device

        device.require()
    return backend


def reference_into(result: Any, *outs: Any) -> None:
    """Write what a reference returned into the buffers of the call."""
    parts = result if isinstance(result, tuple) else (result,)
    for part, out in zip(parts, outs, strict=True):
        out[...] = part


@contextmanager
def force_isa(name: str) -> Iterator[None]:
    """Use this instruction set inside the `with` block; for tests, and only while no kernel runs elsewhere.

    Args:
        name: "baseline", "avx2", "avx512" or "vnni".

    Raises:
        ValueError: if there is no such level, or this machine does not have it.

    >>> with force_isa("baseline"):
    ...     pass
    """
    before = _cpu.chosen_isa()
    _cpu.force_isa(name)
    try:
        yield
    finally:
        _cpu.force_isa(before)
