"""What the machine, the kernel and the interpreter offer this process, asked without side effects."""

from __future__ import annotations

import ctypes
import errno
import importlib.util
import os
import platform
import sys
import sysconfig
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from tailrace import _cpus

__all__ = ["Host"]

# linux: asm/unistd.h of the two architectures that wheels are made for.
_CALLS = {"x86_64": {"futex": 202, "membarrier": 324}, "aarch64": {"futex": 98, "membarrier": 283}}
_FUTEX_WAKE_PRIVATE = 129
_MEMBARRIER_QUERY, _MEMBARRIER_PRIVATE_EXPEDITED = 0, 1 << 3


@dataclass(frozen=True)
class Host:
    """This process's surroundings; `root` and `environ` are others in tests."""

    root: Path = Path("/")
    environ: Mapping[str, str] = field(default_factory=lambda: os.environ)

    def python(self) -> str:
        """Return version, build and lock of the interpreter, as in `CPython 3.13.0, with the GIL`."""
        kind = "free-threaded" if sysconfig.get_config_var("Py_GIL_DISABLED") else "with the GIL"
        debug = ", debug build" if hasattr(sys, "gettotalrefcount") else ""
        return f"{platform.python_implementation()} {platform.python_version()}, {kind}{debug}"

    def gil_came_back(self) -> bool:
        """Return whether a free-threaded build runs with the GIL all the same."""
        enabled = getattr(sys, "_is_gil_enabled", None)
        return bool(sysconfig.get_config_var("Py_GIL_DISABLED")) and enabled is not None and enabled()

    def cpus(self) -> tuple[int, int, float | None]:
        """Return CPUs of the machine, CPUs of the affinity mask, and the cgroup's quota in CPUs or None."""
        there = os.cpu_count() or 1
        mask = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else there
        return there, mask, _cpus.cgroup_quota(self.root)

    def available_cpus(self) -> int:
        """Return how many CPUs a runtime made without `workers=` counts on."""
        return _cpus.available_cpus(self.root)

    def kernel_call(self, name: str) -> bool | None:
        """Return whether the kernel allows the call `futex` or `membarrier`; None if that is unknown."""
        number = _CALLS.get(platform.machine(), {}).get(name)
        if number is None or not sys.platform.startswith("linux"):
            return None
        call = ctypes.CDLL(None, use_errno=True).syscall
        if name == "membarrier":
            answer = int(call(number, _MEMBARRIER_QUERY, 0, 0))
            return answer >= 0 and bool(answer & _MEMBARRIER_PRIVATE_EXPEDITED)
        word = ctypes.c_uint32(0)
        woken = int(call(number, ctypes.byref(word), _FUTEX_WAKE_PRIVATE, 1, None, None, 0))
        return woken >= 0 or ctypes.get_errno() not in (errno.ENOSYS, errno.EPERM)

    def has_eventfd(self) -> bool:
        """Return whether an eventfd can be made, which wakes event loops."""
        if not hasattr(os, "eventfd"):
            return False
        try:
            os.close(os.eventfd(0))
        except OSError:
            return False
        return True

    def max_threads(self) -> dict[str, int]:
        """Return the limits on threads: `ulimit -u` and `pids.max` of the cgroups, where there are any."""
        limits: dict[str, int] = {}
        try:
            import resource

            soft, _ = resource.getrlimit(resource.RLIMIT_NPROC)
            if soft != resource.RLIM_INFINITY:
                limits["ulimit -u"] = soft
        except (ImportError, AttributeError, OSError, ValueError):
            pass
        pids = [int(text) for text in self._pids_max() if text.isdecimal()]
        if pids:
            limits["pids.max"] = min(pids)
        return limits

    def clock_source(self) -> str:
        """Return the name of the kernel's clock source; "" where it does not say."""
        return _read(self.root / "sys/devices/system/clocksource/clocksource0/current_clocksource")

    def has_module(self, name: str) -> bool:
        """Return whether `name` could be imported; it is not."""
        try:
            return importlib.util.find_spec(name) is not None
        except (ImportError, ValueError):
            return False

    def tailrace_variables(self) -> dict[str, str]:
        """Return the environment variables that begin with TAILRACE_."""
        return {key: self.environ[key] for key in sorted(self.environ) if key.startswith("TAILRACE_")}

    def _pids_max(self) -> list[str]:
        found = []
        for line in _read(self.root / "proc/self/cgroup").splitlines():
            hierarchy, _, rest = line.partition(":")
            controllers, _, path = rest.partition(":")
            if hierarchy != "0" and "pids" not in controllers.split(","):
                continue
            mount = self.root / ("sys/fs/cgroup" if hierarchy == "0" else "sys/fs/cgroup/pids")
            folder = mount / path.lstrip("/")
            for level in (folder, *folder.parents):
                found.append(_read(level / "pids.max"))
                if level == mount:
                    break
        return found


def _read(file: Path) -> str:
    try:
        return file.read_text(encoding="ascii", errors="replace").strip()
    except OSError:
        return ""
