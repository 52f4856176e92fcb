"""Is there a CUDA device that can be used, and if not, why not."""

from __future__ import annotations

import ctypes
import functools
import importlib.metadata

from tailrace.kernels.errors import BackendUnavailable

__all__ = ["problem", "require"]

_INSTALL = 'pip install "tailrace[cuda13]" (or [cuda12]) on a host with an NVIDIA GPU'
_OLDEST = (7, 5)  # compute capability: what CUDA 13 still compiles for


@functools.cache
def problem() -> BackendUnavailable | None:
    """Return why CUDA cannot be used here, or None if it can; looked at once per process."""
    try:
        ctypes.CDLL("libcuda.so.1")
    except OSError:
        return BackendUnavailable("cuda", "no driver (libcuda.so.1 was not found)", _INSTALL)
    wheels = [w for w in ("cupy-cuda12x", "cupy-cuda13x") if _installed(w)]
    if len(wheels) > 1:
        return BackendUnavailable(
            "cuda", f"two toolkits ({' and '.join(wheels)})", f"pip uninstall {wheels[0]}"
        )
    try:
        import cupy
    except ImportError:
        return BackendUnavailable("cuda", "no toolkit (CuPy is not installed)", _INSTALL)
    runtime = cupy.cuda.runtime
    try:
        count = runtime.getDeviceCount()
        capability = (
            tuple(
                int(digit)
                for digit in (
                    cupy.cuda.Device().compute_capability[:-1],
                    cupy.cuda.Device().compute_capability[-1],
                )
            )
            if count
            else (0, 0)
        )
    except runtime.CUDARuntimeError as error:
        if "InsufficientDriver" in str(error):
            need = runtime.runtimeGetVersion()
            return BackendUnavailable(
                "cuda",
                f"driver too old for CUDA {need // 1000}.{need % 1000 // 10}",
                'update the driver or pip install "tailrace[cuda12]"',
            )
        return BackendUnavailable("cuda", f"no device ({error})", "see nvidia-smi")
    if count == 0:
        return BackendUnavailable("cuda", "no device", "see nvidia-smi and CUDA_VISIBLE_DEVICES")
    if capability < _OLDEST:
        return BackendUnavailable(
            "cuda",
            f"device too old (compute capability {capability[0]}.{capability[1]})",
            "it needs 7.5 or newer",
        )
    return None


def require() -> None:
    """Do nothing if CUDA can be used.

    Raises:
        BackendUnavailable: if not; it says why.
    """
    found = problem()
    if found is not None:
        raise found.with_traceback(None)


def _installed(distribution: str) -> bool:
    try:
        importlib.metadata.distribution(distribution)
    except importlib.metadata.PackageNotFoundError:
        return False
    return True
