"""Which share of this machine's ceilings a kernel reaches: bytes or operations, whichever takes longer."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from tailrace._bench.rows import US, Row
from tailrace._bench.timing import Work

_CACHES = (16 << 10, 512 << 10, 16 << 20, 256 << 20)  # bytes: a block of each is read from another level


@dataclass(frozen=True)
class Ceilings:
    """What one thread of this machine does at most.

    Attributes:
        flops_per_s: float32 operations.
        bytes_per_s: for blocks of each size, ascending: (bytes, bytes/s).
    """

    flops_per_s: float
    bytes_per_s: Sequence[tuple[int, float]]

    def floor_s(self, flops: int, nbytes: int) -> float:
        """Return the time below which no float32 kernel gets.

        >>> Ceilings(1e9, [(1000, 1e9), (10**9, 1e8)]).floor_s(2_000_000, 500)
        0.002
        """
        rate = next((rate for size, rate in self.bytes_per_s if nbytes <= size), self.bytes_per_s[-1][1])
        return max(flops / self.flops_per_s, nbytes / rate)


def measured() -> Ceilings:
    """Measure this machine, for about a second."""
    from tailrace.kernels import _cpu

    return Ceilings(_cpu.measure_flops(), [(size, _cpu.measure_bandwidth(size)) for size in _CACHES])


def table(works: Iterable[Work], rows: Iterable[Row], ceilings: Ceilings | None = None) -> str:
    """Return a line per row with its floor and the share of it that tailrace reaches.

    A share above 100 % is int8, of which a machine does more than of float32.
    """
    found = ceilings or measured()
    by_id = {row.id: row for row in rows}
    lines = [
        f"ceilings of one thread: {found.flops_per_s / 1e9:.0f} GFLOP/s of float32; "
        + ", ".join(f"{rate / 1e9:.0f} GB/s from {size >> 10} KiB" for size, rate in found.bytes_per_s)
    ]
    for work in works:
        if not work.bytes or work.id not in by_id:
            continue
        best_s = by_id[work.id].best(US) / 1e6
        floor_s = found.floor_s(work.flops, work.bytes)
        lines.append(
            f"{work.id:<14} {work.flops / best_s / 1e9:8.1f} GFLOP/s {work.bytes / best_s / 1e9:8.1f} GB/s "
            f"{100 * floor_s / best_s:6.0f} % of the roofline"
        )
    return "\n".join(lines)
