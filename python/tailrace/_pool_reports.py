"""What a memory pool tells about itself: frozen counts, what is still live, why it refused."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tailrace._sizes import format_bytes
from tailrace.errors import PoolExhausted, RuntimeClosed, TailraceError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tailrace._core import PoolCore

__all__ = ["ClassStatistics", "LiveBlocks", "PoolStatistics", "TagStatistics", "refusal"]

_UNTAGGED = "(untagged)"
_TOP_TAGS = 3
_log = logging.getLogger("tailrace")


@dataclass(frozen=True, slots=True)
class ClassStatistics:
    """Blocks of one size: how many bytes each holds, how often one was taken and given back."""

    block_bytes: int
    n_alloc: int
    n_free: int


@dataclass(frozen=True, slots=True)
class TagStatistics:
    """What was allocated under one tag.

    Attributes:
        limit_bytes: The tag's own limit, or None.
        used_bytes: In live blocks, by what the blocks hold.
        n_refused: Allocations that the tag's limit refused, at least at first.
    """

    limit_bytes: int | None
    used_bytes: int
    peak_used_bytes: int
    n_alloc: int
    n_free: int
    n_refused: int


@dataclass(frozen=True, slots=True)
class PoolStatistics:
    """Counters of a pool; exact when nobody allocates or frees meanwhile.

    Attributes:
        limit_bytes: What `committed_bytes` never exceeds.
        reserved_bytes: Of address space; costs no memory.
        committed_bytes: What may be resident: used, cached and retained.
        used_bytes: In live blocks, by what the blocks hold.
        peak_used_bytes: The highest seen at a shortage, a pass of decay or a look like this.
        cached_bytes: Free, in the caches of threads.
        retained_bytes: Free in the range, not yet given back to the system.
        largest_free_bytes: The largest piece that is free in the range.
        frag_ratio: 1 - `largest_free_bytes` / all that is free in the range.
        n_remote_free: Small blocks that went back to another thread.
        n_miss: Allocations that no cache had; `hit_ratio` is the share of those that one had.
        n_purge: How often memory went back to the system; `purged_bytes` is how much.
        n_shortage: Allocations that did not fit at first; `n_exhausted` those that did not fit afterwards.
        n_caches: Caches of threads, those of ended threads that wait for adoption included.
        classes: By size of blocks.
        tags: By name.
    """

    limit_bytes: int
    reserved_bytes: int
    committed_bytes: int
    peak_committed_bytes: int
    used_bytes: int
    peak_used_bytes: int
    cached_bytes: int
    retained_bytes: int
    largest_free_bytes: int
    frag_ratio: float
    n_alloc: int
    n_free: int
    n_remote_free: int
    n_miss: int
    hit_ratio: float
    n_purge: int
    purged_bytes: int
    n_shortage: int
    n_exhausted: int
    n_caches: int
    classes: tuple[ClassStatistics, ...]
    tags: Mapping[str, TagStatistics]


@dataclass(frozen=True, slots=True)
class LiveBlocks:
    """Blocks of a pool that somebody still has; false when there are none.

    Attributes:
        blocks: How many.
        bytes: What they hold.
        by_tag: (blocks, bytes) for each tag that has some; what has no tag stands under "(untagged)".
    """

    blocks: int
    bytes: int
    by_tag: Mapping[str, tuple[int, int]]

    def __bool__(self) -> bool:
        return self.blocks > 0

    def __str__(self) -> str:
        rows = [f"{name}: {n} of {format_bytes(size)}" for name, (n, size) in self.by_tag.items()]
        blocks = "block" if self.blocks == 1 else "blocks"
        return f"{self.blocks} {blocks} of {format_bytes(self.bytes)} ({', '.join(rows)})" if rows else "none"


def pool_statistics(raw: Mapping[str, Any]) -> PoolStatistics:
    """Freeze what the core has counted."""
    classes = tuple(ClassStatistics(**one) for one in raw["classes"])
    tags = {name: TagStatistics(**one) for name, one in raw["tags"].items()}
    return PoolStatistics(**{**raw, "classes": classes, "tags": tags})


def live_blocks(raw: Mapping[str, Any]) -> LiveBlocks:
    """Say what is live, by tag."""
    by_tag = {
        name: (one["n_alloc"] - one["n_free"], one["used_bytes"])
        for name, one in raw["tags"].items()
        if one["n_alloc"] > one["n_free"]
    }
    blocks, size = raw["n_alloc"] - raw["n_free"], raw["used_bytes"]
    rest = blocks - sum(n for n, _ in by_tag.values())
    if rest > 0:
        by_tag[_UNTAGGED] = (rest, size - sum(held for _, held in by_tag.values()))
    return LiveBlocks(blocks, size, dict(sorted(by_tag.items(), key=lambda item: -item[1][1])))


def log_live(pool: object, live: LiveBlocks) -> None:
    """Log at the level INFO what outlives the closing of a pool: it is allowed, yet worth a look."""
    if live:
        _log.info("%r is closed and these outlive it: %s", pool, live)


def refusal(pool: PoolCore, wanted: int, tag: str | None, timeout_s: float) -> TailraceError:
    """Return the error for an allocation that the pool has refused; the core calls this."""
    short = pool.shortage_raw(wanted)
    if short["closed"]:
        return RuntimeClosed(
            f"{pool!r} is closed and gives no new memory; arrays that it gave before stay good. Allocate "
            "inside its `with` block, or make a new one with tr.MemoryPool()"
        )
    raw = pool.statistics_raw()
    tags = raw["tags"]
    own = tags.get(tag) if tag is not None else None
    waited = f" within timeout_s={timeout_s:g}" if timeout_s > 0 else ""
    what = f"{format_bytes(wanted)}" + (f" for tag {tag!r}" if tag is not None else "")
    limit = short["limit_bytes"]
    if own is not None and own["limit_bytes"] is not None and own["used_bytes"] + wanted > own["limit_bytes"]:
        return PoolExhausted(
            f"{pool!r} cannot give {what}{waited}: {format_bytes(own['used_bytes'])} of the tag's limit of "
            f"{format_bytes(own['limit_bytes'])} are used. Drop arrays with this tag, raise it with "
            f"pool.tag({tag!r}, limit=...), or wait with timeout_s=..."
        )
    state = (
        f"{format_bytes(short['used_bytes'])} of limit={format_bytes(limit)} are used, "
        f"{format_bytes(short['cached_bytes'])} cached; the largest free piece has "
        f"{format_bytes(short['largest_free_bytes'])}{_top_tags(raw)}"
    )
    if wanted > limit:
        right = "More than the limit never fits: make the pool larger with tr.MemoryPool(limit=...)"
    else:
        right = "Drop arrays, wait with timeout_s=... or `await pool.acquire(...)`, or raise limit"
    return PoolExhausted(f"{pool!r} cannot give {what}{waited}: {state}. {right}")


def _top_tags(raw: Mapping[str, Any]) -> str:
    top = list(live_blocks(raw).by_tag.items())[:_TOP_TAGS]
    rows = ", ".join(f"{name}: {format_bytes(size)}" for name, (_, size) in top)
    return f"; most is used by {rows}" if rows else ""
