"""How urgent a run is."""

from __future__ import annotations

from enum import IntEnum

__all__ = ["Priority"]


class Priority(IntEnum):
    """The lane of a run: a worker takes from `HIGH` before `NORMAL` before `LOW`.

    >>> Priority.HIGH < Priority.LOW
    True
    """

    HIGH = 0
    NORMAL = 1
    LOW = 2
