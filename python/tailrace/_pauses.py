"""What collections cost: pauses by generation, inside requests and while idle; fed by numbers."""

from __future__ import annotations

import math
from array import array
from dataclasses import dataclass

__all__ = ["GCGenerationStatistics", "PauseHistogram", "Pauses"]

_SUB_BITS = 4  # buckets of 1/16: a quantile is told at most 6 % too long
_MAX_BITS = 40  # 18 minutes
_BUCKETS = (_MAX_BITS - _SUB_BITS + 1) << _SUB_BITS


class PauseHistogram:
    """Pauses in log-linear buckets, as in `metrics/histogram`: to record one makes no object that stays.

    >>> pauses = PauseHistogram()
    >>> for ns in (100_000, 200_000, 5_000_000):
    ...     pauses.record(ns)
    >>> pauses.count, pauses.worst_ns, round(pauses.quantile_ns(0.5), -4)
    (3, 5000000, 200000)
    """

    __slots__ = ("_buckets", "count", "total_ns", "worst_ns")

    def __init__(self) -> None:
        self._buckets = array("Q", bytes(8 * _BUCKETS))
        self.count = 0
        self.total_ns = 0
        self.worst_ns = 0

    def record(self, pause_ns: int) -> None:
        """Count a pause of `pause_ns` nanoseconds."""
        shift = max(pause_ns.bit_length() - _SUB_BITS - 1, 0)
        self._buckets[min((shift << _SUB_BITS) + (pause_ns >> shift), _BUCKETS - 1)] += 1
        self.count += 1
        self.total_ns += pause_ns
        self.worst_ns = max(self.worst_ns, pause_ns)

    def quantile_ns(self, quantile: float) -> int:
        """Return a pause that `quantile` (0 to 1) of all do not exceed, told 6 % too long at most."""
        wanted = max(math.ceil(quantile * self.count), 1)
        seen = 0
        for upper, count in self.buckets():
            seen += count
            if seen >= wanted:
                return min(upper, self.worst_ns)
        return 0

    def buckets(self) -> list[tuple[int, int]]:
        """Return (most nanoseconds, pauses) of each bucket that has any, the shortest first."""
        return [(_upper(index), count) for index, count in enumerate(self._buckets) if count]


def _upper(index: int) -> int:
    shift = max((index >> _SUB_BITS) - 1, 0)
    return ((index - (shift << _SUB_BITS) + 1) << shift) - 1


@dataclass(frozen=True, slots=True)
class GCGenerationStatistics:
    """Collections of one generation.

    Attributes:
        generation: 0 the youngest, 2 all.
        collections: How many there were; in `inside_requests` of them a run or a task was in flight.
        collected: Objects found unreachable, and `uncollectable` ones.
        total_s: Seconds of all pauses together; `worst_s` the longest, `p50_s` and `p99_s` quantiles.
        histogram: (at most so many seconds, so many pauses) for each bucket that has any.
    """

    generation: int
    collections: int
    inside_requests: int
    collected: int
    uncollectable: int
    total_s: float
    worst_s: float
    p50_s: float
    p99_s: float
    histogram: tuple[tuple[float, int], ...]


class _Generation:
    __slots__ = ("collected", "inside", "pauses", "uncollectable")

    def __init__(self) -> None:
        self.pauses = PauseHistogram()
        self.inside = 0
        self.collected = 0
        self.uncollectable = 0

    def freeze(self, generation: int) -> GCGenerationStatistics:
        pauses = self.pauses
        return GCGenerationStatistics(
            generation=generation,
            collections=pauses.count,
            inside_requests=self.inside,
            collected=self.collected,
            uncollectable=self.uncollectable,
            total_s=pauses.total_ns * 1e-9,
            worst_s=pauses.worst_ns * 1e-9,
            p50_s=pauses.quantile_ns(0.5) * 1e-9,
            p99_s=pauses.quantile_ns(0.99) * 1e-9,
            histogram=tuple((upper * 1e-9, count) for upper, count in pauses.buckets()),
        )


class Pauses:
    """The account of a guard: every collection is told it once, by the thread that collected.

    Args:
        young: Net allocations after which CPython collects generation 0.
    """

    def __init__(self, young: int) -> None:
        self._young = young
        self._generations = (_Generation(), _Generation(), _Generation())
        self.worst_inside_ns = 0
        self.worst_idle_ns = 0
        self.kept_ns = 0  # what generation 0 has left in generation 1, as the time to walk it
        self.old_ns = 0  # what generation 1 has left in generation 2 since that was last collected, likewise
        self.full_ns = 0  # the last pass over all
        self.last_ns = 0  # the last of any

    def record(
        self, generation: int, pause_ns: int, collected: int, uncollectable: int, inside: bool
    ) -> None:
        """Count one collection that took `pause_ns`; `inside` says whether a request was in flight."""
        of = self._generations[generation]
        of.pauses.record(pause_ns)
        self.last_ns = pause_ns
        of.collected += collected
        of.uncollectable += uncollectable
        if inside:
            of.inside += 1
            self.worst_inside_ns = max(self.worst_inside_ns, pause_ns)
        else:
            self.worst_idle_ns = max(self.worst_idle_ns, pause_ns)
        if generation == 0:
            self.kept_ns += pause_ns * max(self._young - collected, 0) // self._young
            return
        self.kept_ns = 0
        if generation == 1:
            self.old_ns += pause_ns
        else:
            self.old_ns, self.full_ns = 0, pause_ns

    def full_is_due(self, budget_ns: int) -> bool:
        """Tell whether generation 2 has grown by a quarter and a pass over it should fit into `budget_ns`.

        What a pass over generation 1 leaves in generation 2 was walked in that pass: so the next one takes
        about as long as the last and those that fed it; half as much again where the cache holds less of it.
        """
        return self.old_ns > self.full_ns // 4 and 3 * (self.full_ns + self.old_ns) <= 2 * budget_ns

    def generations(self) -> tuple[GCGenerationStatistics, ...]:
        """Return the statistics of generations 0, 1 and 2."""
        return tuple(of.freeze(number) for number, of in enumerate(self._generations))
