"""Is there a CUDA device that can be used, and if not, why not: in the order in which things can be missing.

The questions are put to a `Host`, so that a test can answer otherwise.
"""

from __future__ import annotations

import ctypes
import functools
import importlib
import importlib.metadata
from typing import Any

from tailrace.kernels.errors import BackendUnavailable

__all__ = ["Host", "describe", "look", "problem", "require"]

_WHEELS = ("cupy-cuda12x", "cupy-cuda13x")
_OLDEST = 75  # compute capability 7.5: what CUDA 13 still compiles for

# cudaError_t, as the runtime's header numbers them.
_INSUFFICIENT_DRIVER = 35
_NO_DEVICE = 100


class Host:
    """What is asked of this machine."""

    def driver(self) -> bool:
        """Whether the driver's library can be loaded."""
        try:
            ctypes.CDLL("libcuda.so.1")
        except OSError:
            return False
        return True

    def wheels(self) -> list[str]:
        """The CuPy wheels that are installed: two overwrite each other's files."""
        return [name for name in _WHEELS if _installed(name)]

    def cupy(self) -> Any:
        """CuPy. Raises ImportError without it."""
        return importlib.import_module("cupy")

    def nvrtc(self) -> None:
        """Loads the run-time compiler. Raises where it is missing: which error depends on CuPy's version."""
        self.cupy().cuda.nvrtc.getVersion()

    def versions(self) -> tuple[int, int]:
        """What the driver speaks, and what CuPy was built for: 13000 for 13.0."""
        runtime = self.cupy().cuda.runtime
        return int(runtime.driverGetVersion()), int(runtime.runtimeGetVersion())

    def devices(self) -> int:
        """How many devices there are. Raises CUDARuntimeError with a `status` where the driver says no."""
        return int(self.cupy().cuda.runtime.getDeviceCount())

    def device(self) -> tuple[str, int]:
        """The name and the compute capability (90 for 9.0) of the current device."""
        cupy = self.cupy()
        current = cupy.cuda.Device()
        name = cupy.cuda.runtime.getDeviceProperties(current.id)["name"]
        return name.decode(), int(current.compute_capability)


def look(host: Host) -> BackendUnavailable | None:
    """Return why CUDA cannot be used on `host`, or None if it can."""
    wheels = host.wheels()
    if len(wheels) > 1:
        return BackendUnavailable(
            "cuda",
            f"two toolkits ({' and '.join(wheels)} overwrite each other's files)",
            f"pip uninstall {' '.join(wheels)}, then install one of tailrace[cuda12] and tailrace[cuda13]",
        )
    wanted = "cuda12" if wheels == ["cupy-cuda12x"] else "cuda13"
    if not host.driver():
        return BackendUnavailable(
            "cuda",
            "no driver (libcuda.so.1 was not found)",
            f'pip install "tailrace[{wanted}]" on a host with an NVIDIA GPU and its driver '
            "(a container: with the GPU passed through)",
        )
    try:
        host.cupy()
    except ImportError as error:
        return BackendUnavailable(
            "cuda", f"no toolkit (CuPy: {_first_line(error)})", f'pip install "tailrace[{wanted}]"'
        )
    try:
        host.nvrtc()
    except Exception as error:
        return BackendUnavailable(
            "cuda",
            f"no toolkit (NVRTC, the run-time compiler: {_first_line(error)})",
            f'pip install "tailrace[{wanted}]"',
        )
    return _look_at_device(host)


def _look_at_device(host: Host) -> BackendUnavailable | None:
    try:
        count = host.devices()
        name, capability = host.device() if count else ("", 0)
    except Exception as error:
        status = getattr(error, "status", None)
        if status == _INSUFFICIENT_DRIVER:
            driver, runtime = host.versions()
            return BackendUnavailable(
                "cuda",
                f"driver too old (it speaks CUDA {_version(driver)}, CuPy was built for {_version(runtime)})",
                'update the driver, or pip uninstall cupy-cuda13x and pip install "tailrace[cuda12]"',
            )
        if status != _NO_DEVICE:
            return BackendUnavailable("cuda", f"no device ({_first_line(error)})", "see nvidia-smi")
        count = 0
    if count == 0:
        return BackendUnavailable("cuda", "no device", "see nvidia-smi and CUDA_VISIBLE_DEVICES")
    if capability < _OLDEST:
        return BackendUnavailable(
            "cuda",
            f"device too old ({name} has compute capability {capability // 10}.{capability % 10})",
            f"it needs {_OLDEST // 10}.{_OLDEST % 10} or newer: choose another with CUDA_VISIBLE_DEVICES",
        )
    return None


@functools.cache
def problem() -> BackendUnavailable | None:
    """Return why CUDA cannot be used here, or None if it can; looked at once per process."""
    return look(Host())


def require() -> None:
    """Do nothing if CUDA can be used.

    Raises:
        BackendUnavailable: if not; it says why.
    """
    from tailrace.kernels.cuda import launcher

    found = None if launcher.standing_in() else problem()
    if found is not None:
        raise found.with_traceback(None)


def describe() -> str:
    """Return the current device in one line, for reports; only where `problem()` is None."""
    name, capability = Host().device()
    return f"{name}, compute capability {capability // 10}.{capability % 10}"


def _version(number: int) -> str:
    return f"{number // 1000}.{number % 1000 // 10}" if number else "none"


def _first_line(error: BaseException) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def _installed(distribution: str) -> bool:
    try:
        importlib.metadata.distribution(distribution)
    except importlib.metadata.PackageNotFoundError:
        return False
    return True
