"""How many CPUs this process may use: its affinity mask, cut by its cgroup's quota."""

from __future__ import annotations

import math
import os
from pathlib import Path

__all__ = ["available_cpus", "cgroup_quota"]


def available_cpus(root: Path = Path("/")) -> int:
    """Return min(affinity, ceil(cgroup quota)), at least 1."""
    affinity = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota = cgroup_quota(root)
    return max(1, affinity if quota is None else min(affinity, math.ceil(quota)))


def cgroup_quota(root: Path = Path("/")) -> float | None:
    """Return the tightest CPU quota of this process's cgroups, in CPUs; None where there is none.

    Reads cgroup v2 (`cpu.max`) and v1 (`cpu.cfs_quota_us`) under `root`; every level up to the mount
    counts, since a parent's limit holds for its children.
    """
    quotas: list[float] = []
    for hierarchy, controllers, path in _memberships(root / "proc/self/cgroup"):
        if hierarchy == "0":
            mounts = [root / "sys/fs/cgroup"]
        elif "cpu" in controllers:
            mounts = [root / "sys/fs/cgroup/cpu", root / "sys/fs/cgroup/cpu,cpuacct"]
        else:
            continue
        for mount in mounts:
            folder = mount / path.lstrip("/")
            for level in (folder, *folder.parents):
                quota = _v2(level) if hierarchy == "0" else _v1(level)
                if quota is not None:
                    quotas.append(quota)
                if level == mount:
                    break
    return min(quotas, default=None)


def _memberships(file: Path) -> list[tuple[str, list[str], str]]:
    found = []
    for line in _read(file).splitlines():
        hierarchy, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        found.append((hierarchy, controllers.split(","), path))
    return found


def _v2(folder: Path) -> float | None:
    quota, _, period = _read(folder / "cpu.max").strip().partition(" ")
    return None if quota in ("", "max") else _ratio(quota, period or "100000")


def _v1(folder: Path) -> float | None:
    quota = _read(folder / "cpu.cfs_quota_us").strip()
    return None if quota in ("", "-1") else _ratio(quota, _read(folder / "cpu.cfs_period_us").strip())


def _ratio(quota: str, period: str) -> float | None:
    try:
        cpus = int(quota) / int(period)
    except (ValueError, ZeroDivisionError):
        return None
    return cpus if cpus > 0 else None


def _read(file: Path) -> str:
    try:
        return file.read_text(encoding="ascii", errors="replace")
    except OSError:
        return ""
