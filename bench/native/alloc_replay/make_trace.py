"""Writes the trace that is committed here: a service that batches requests, two threads, one seed.

    python bench/native/alloc_replay/make_trace.py > bench/native/alloc_replay/service.csv

Thread 0 takes requests and keeps a cache, thread 1 gathers batches and computes on them; what one allocates
the other often frees. The format is that of `docs/memory.md`, section Traces.
"""

from __future__ import annotations

import random
import sys
from typing import NamedTuple

SEED = 20261121
REQUESTS = 320
KIB = 1024


class Call(NamedTuple):
    """A line of the trace."""

    ns: int
    thread: int
    op: str
    id: int
    bytes: int
    tag: str


class Writer:
    """Gathers the calls in the order of their time."""

    def __init__(self) -> None:
        self.calls: list[Call] = []
        self._next = 1
        self._bytes: dict[int, tuple[int, str]] = {}

    def alloc(self, ns: int, thread: int, size: int, tag: str) -> int:
        """Allocate and return the id."""
        self._next += 1
        self._bytes[self._next] = size, tag
        self.calls.append(Call(ns, thread, "alloc", self._next, size, tag))
        return self._next

    def free(self, ns: int, thread: int, block: int) -> None:
        """Free a block."""
        size, tag = self._bytes.pop(block)
        self.calls.append(Call(ns, thread, "free", block, size, tag))


def between(dice: random.Random, least: int, most: int) -> int:
    """Return a size, evenly by powers of two."""
    return int(least * (most / least) ** dice.random())


def service(dice: random.Random) -> list[Call]:
    """Return the calls of all requests."""
    out = Writer()
    now = 0
    waiting: list[int] = []
    cache: list[int] = []
    for _ in range(REQUESTS):
        now += int(dice.expovariate(1 / 200_000))
        node = out.alloc(now, 0, between(dice, 96, 512), "run")
        waiting.append(out.alloc(now + 900, 0, between(dice, 32 * KIB, 512 * KIB), "features"))
        if dice.random() < 0.5:
            cache.append(out.alloc(now + 1500, 0, between(dice, 2 * KIB, 32 * KIB), "cache"))
        if len(cache) > 64:
            out.free(now + 1700, 0, cache.pop(dice.randrange(len(cache))))
        out.free(now + 150_000, 0, node)
        if len(waiting) == 8 or dice.random() < 0.1:
            infer(out, dice, now + 2000, waiting)
            waiting.clear()
    for block in waiting + cache:
        out.free(now + 10_000_000, 0, block)
    return sorted(out.calls)


def infer(out: Writer, dice: random.Random, now: int, waiting: list[int]) -> None:
    """One batch: gather, two layers, scores for each request."""
    batch = out.alloc(now, 1, len(waiting) * between(dice, 256 * KIB, 512 * KIB), "batch")
    for place, block in enumerate(waiting):
        out.free(now + 10_000 * (place + 1), 1, block)
    hidden = out.alloc(now + 100_000, 1, between(dice, 512 * KIB, 2048 * KIB), "activations")
    last = out.alloc(now + 300_000, 1, between(dice, 256 * KIB, 1024 * KIB), "activations")
    out.free(now + 400_000, 1, batch)
    out.free(now + 500_000, 1, hidden)
    for place in range(len(waiting)):
        scores = out.alloc(now + 510_000 + 1000 * place, 1, between(dice, 4 * KIB, 64 * KIB), "scores")
        out.free(now + 600_000 + int(dice.expovariate(1 / 300_000)), 0, scores)
    out.free(now + 550_000, 1, last)


def main() -> None:
    """Write the trace to the standard output."""
    sys.stdout.write("ns,thread,op,id,bytes,tag\n")
    for call in service(random.Random(SEED)):
        sys.stdout.write(",".join(map(str, call)) + "\n")


if __name__ == "__main__":
    main()
