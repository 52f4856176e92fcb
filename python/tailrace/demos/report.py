"""The table that the demo prints, and what it writes to `--json`."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Mapping
from typing import Any

from tailrace._sizes import format_bytes
from tailrace.demos.replay import OUTCOMES
from tailrace.memory import run_memory

Row = Mapping[str, float]
_RATES = {"capacity_per_s": "capacity, /s", "throughput_per_s": "throughput, /s"}
_WAITS = {"p50_s": "p50", "p90_s": "p90", "p99_s": "p99", "p999_s": "p99.9", "max_s": "max"}


def host(workers: int, blas_is_single: bool) -> dict[str, Any]:
    """Describe the machine as far as the figures depend on it."""
    import numpy as np

    affinity = getattr(os, "sched_getaffinity", None)
    return {
        "python": platform.python_version(),
        "implementation": platform.python_implementation(),
        "numpy": np.__version__,
        "system": platform.system(),
        "machine": platform.machine(),
        "cpus": len(affinity(0)) if affinity else os.cpu_count(),
        "workers": workers,
        "blas_threads": 1 if blas_is_single else None,
    }


def table(rows: Mapping[str, Row]) -> str:
    """Return the figures with one column per engine, and the first engine's lead."""
    first, *others = rows
    lines = [["", *rows, *(f"x {name}" for name in others)]]
    for end in ("offered", *OUTCOMES):
        lines.append([end.replace("_", " "), *(f"{row[end]:,.0f}" for row in rows.values())])
    for key, title in _RATES.items():
        ratios = [_ratio(rows[first][key], rows[name][key]) for name in others]
        lines.append([title, *(f"{row[key]:,.0f}" for row in rows.values()), *ratios])
    for key, title in _WAITS.items():
        ratios = [_ratio(rows[name][key], rows[first][key]) for name in others]
        lines.append([f"{title}, ms", *(f"{row[key] * 1e3:,.2f}" for row in rows.values()), *ratios])
    width = [max(len(line[place]) for line in lines if place < len(line)) for place in range(len(lines[0]))]
    return "\n".join(
        "  ".join(
            cell.ljust(width[place]) if place == 0 else cell.rjust(width[place])
            for place, cell in enumerate(line)
        ).rstrip()
        for line in lines
    )


def memory() -> str:
    """Return in a line what tailrace's runs took of their pool."""
    pool = run_memory()
    return (
        f"Run blocks: {pool.n_alloc:,} from a pool, {pool.hit_ratio:.1%} hits, "
        f"{format_bytes(pool.peak_committed_bytes)} committed at most."
    )


def _ratio(better: float, worse: float) -> str:
    return f"{better / worse:.2f}" if worse > 0 else "-"


def shown(request: str, answer: str, title: str) -> str:
    """Return one request and its answer for a human."""
    asked, given = json.loads(request), json.loads(answer)
    lines = [f'Reader {asked["user"]} looks at "{title}" and is recommended:']
    for place, book in enumerate(given["books"], start=1):
        what, who, why = book["title"], book["author"], book["because"]
        lines.append(f"{place:3}. {what:.58} -- {who}, {book['year']} ({why})")
    return "\n".join(lines)
