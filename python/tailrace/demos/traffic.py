"""What is asked of the demo, and when: seeded requests, and the rhythm of a real production trace."""

from __future__ import annotations

import json
from collections.abc import Sequence

import numpy as np

from tailrace.demos.catalog import Catalog, load_arrays


def requests(shop: Catalog, count: int, seed: int = 0) -> list[str]:
    """Return `count` lines of JSON: any reader, looking at a book as often as it is really read."""
    rng = np.random.default_rng([seed, 0xA5C])
    reach = np.cumsum(shop.ratings.sum(1))
    books = np.searchsorted(reach, rng.random(count) * reach[-1], side="right").tolist()
    users = rng.integers(len(shop.shelves), size=count).tolist()
    return [
        json.dumps({"user": user, "viewing": book, "count": 10})
        for user, book in zip(users, books, strict=True)
    ]


def trace_gaps_s() -> list[float]:
    """Return the 8,818 times between arrivals of the Azure `code` trace, in seconds."""
    gaps: list[float] = (load_arrays("arrivals.npz")["gaps_us"] / 1e6).tolist()
    return gaps


def arrivals(gaps_s: Sequence[float], count: int, per_s: float) -> list[float]:
    """Return `count` arrival times in seconds with the rhythm of the gaps and a mean rate of `per_s`.

    The gaps are used again from the front when they run out.

    >>> arrivals([1.0, 3.0], 5, per_s=1.0)
    [0.0, 0.5, 2.0, 2.5, 4.0]
    """
    times = [0.0]
    for place in range(count - 1):
        times.append(times[-1] + gaps_s[place % len(gaps_s)])
    stretch = (count - 1) / per_s / times[-1] if times[-1] > 0 else 0.0
    return [moment * stretch for moment in times[:count]]
