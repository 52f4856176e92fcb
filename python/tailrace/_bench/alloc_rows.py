"""The memory rows: what the allocation benches call their works, and who stands in for malloc."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from ctypes.util import find_library

PRELOAD_VARIABLE = "TAILRACE_BENCH_PRELOAD"
MALLOC = "malloc"  # the C library's, as an executable calls it
_LIBRARIES = {"mimalloc": "mimalloc", "jemalloc": "jemalloc", "tcmalloc": "tcmalloc_minimal"}

_THREADS = {"t1": "1 thread", "t2": "2 threads"}
_SMALL = {"16": "16 B", "64": "64 B", "256": "256 B", "1k": "1 KiB", "4k": "4 KiB", "16k": "16 KiB"}
_LARGE = {"64k": "64 KiB", "256k": "256 KiB", "1m": "1 MiB", "4m": "4 MiB", "16m": "16 MiB"}
_SIZES = _SMALL | _LARGE
_ONE, _BOTH, _TWO = ("t1",), ("t1", "t2"), ("t2",)
_BUFFERS = tuple(_LARGE)
_PAIRS = ("16", "64", "256", "1k")

# Work and kind -> the row in the goals, its title, sizes, threads.
_KINDS = {
    "alloc_pair.pair": ("M1.pair", "allocate and free {size}", _PAIRS, _BOTH),
    "alloc_pair.slots": ("M1.slots", "one of 1000 live of {size} replaced", ("64", "1k", "4k"), _BOTH),
    "alloc_pair.mix": ("M1.mix", "one of 10,000 live of 16 B to {size} replaced", ("4k",), _BOTH),
    "alloc_pair.hardened": ("M8.pair", "allocate and free {size}, hardened", _PAIRS, _BOTH),
    "alloc_cross.pc": ("M2.pc", "{size} from one thread to another, who frees it", ("64", "1k", "16k"), _TWO),
    "alloc_cross.xslots": ("M2.xslots", "one of 1000 shared of {size} replaced", ("64", "1k"), _TWO),
    "alloc_buffer.one": ("M3.one", "a buffer of {size}, untouched", _BUFFERS, _BOTH),
    "alloc_buffer.eight": ("M3.eight", "eight live of about {size}, untouched", _BUFFERS, _BOTH),
    "alloc_buffer.remote": ("M3.remote", "{size} freed by another thread, untouched", ("1m", "16m"), _TWO),
    "alloc_touch.eight": ("M4.eight", "eight live of about {size}, touched", _BUFFERS, _BOTH),
    "alloc_touch.first": ("M4.first", "the first 64 of a process, {size}", ("1m", "4m", "16m"), _ONE),
    "alloc_touch.cold": ("M4.cold", "first touch, {size}, none freed before", ("1m",), _ONE),
    "alloc_touch.prefault": ("M4.prefault", "the same, reserved ahead, {size}", ("1m",), _ONE),
}
_SINGLE = {
    "alloc_tail.hit.middle": ("M3.hit.middle", "1 MiB, calls of 2 busy threads, the middle one"),
    "alloc_tail.hit.slowest": ("M3.hit.slowest", "the same, p99.99"),
    "alloc_tail.miss.middle": ("M3.miss.middle", "1 MiB, from the system, the middle one of 1000"),
    "alloc_tail.miss.slowest": ("M3.miss.slowest", "the same, p99.9"),
    "alloc_replay.time": ("M7.replay.time", "a trace replayed, pages touched, an operation"),
    "alloc_replay.peak": ("M7.replay.peak", "the same, most memory of the process by most live"),
}
_RSS = {
    "peak": "a long mixed run, most memory of the process",
    "end": "the same, memory at the end",
    "most_freed": "5 s after 90 % is freed, no calls",
    "all_freed": "5 s after all is freed, no calls",
    "time": "the same, an allocation and all around it",
}


def _rows() -> Iterator[tuple[str, tuple[str, str]]]:
    for work, (row, title, sizes, threads) in _KINDS.items():
        for thread in threads:
            for size in sizes:
                named = title.format(size=_SIZES[size])
                yield f"{work}.{size}.{thread}", (f"{row}.{size}.{thread}", f"{named}, {_THREADS[thread]}")
    yield from _SINGLE.items()
    for what, title in _RSS.items():
        for thread, named in _THREADS.items():
            yield f"alloc_rss.{what}.{thread}", (f"M7.{what}.{thread}", f"{title}, {named}")


ROWS = dict(_rows())


def preloads() -> dict[str, str | None]:
    """Return the libraries that can take malloc's place, by the name of the rival; None for an absent one.

    `TAILRACE_BENCH_PRELOAD="name=path,name=path"` adds others.

    Raises:
        ValueError: if the variable is not of that form.
    """
    given = os.environ.get(PRELOAD_VARIABLE, "")
    found: dict[str, str | None] = {}
    if sys.platform == "linux":
        found = {name: find_library(library) for name, library in _LIBRARIES.items()}
    for entry in filter(None, given.split(",")):
        name, _, path = entry.partition("=")
        if not name or not path:
            raise ValueError(f'{PRELOAD_VARIABLE} is {given!r}; it must be "name=path,name=path"')
        found[name] = path
    return found
