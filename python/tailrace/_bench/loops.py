"""Event loops for the rows that await."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import import_module, util


def factories() -> dict[str, Callable[[], asyncio.AbstractEventLoop]]:
    """Return the loops there are: asyncio's, and uvloop's where it is installed."""
    found: dict[str, Callable[[], asyncio.AbstractEventLoop]] = {"asyncio": asyncio.new_event_loop}
    if util.find_spec("uvloop") is not None:
        found["uvloop"] = import_module("uvloop").new_event_loop
    return found


@contextmanager
def opened(factory: Callable[[], asyncio.AbstractEventLoop]) -> Iterator[asyncio.AbstractEventLoop]:
    """Open a loop and close it at the end."""
    loop = factory()
    try:
        yield loop
    finally:
        loop.close()
