"""Checks of numbers that users pass, with errors that say what is allowed."""

from __future__ import annotations

import math

__all__ = ["check_bool", "check_choice", "check_count", "check_seconds"]


def check_bool(where: str, name: str, value: object) -> None:
    """Raise unless `value` is True or False."""
    if not isinstance(value, bool):
        raise TypeError(f"{where}: {name} must be True or False, got {value!r}")


def check_choice(where: str, name: str, value: object, allowed: tuple[str, ...]) -> None:
    """Raise unless `value` is one of the texts `allowed`."""
    choices = ", ".join(repr(choice) for choice in allowed[:-1]) + f" or {allowed[-1]!r}"
    if not isinstance(value, str):
        raise TypeError(f"{where}: {name} must be {choices}, got {value!r}")
    if value not in allowed:
        raise ValueError(
            f"{where}: {name} must be {choices}, got {value!r}; write {where}({name}={allowed[0]!r})"
        )


def check_count(where: str, name: str, value: object, *, most: int | None = None) -> None:
    """Raise unless `value` is an int from 1 up to `most`."""
    limit = "" if most is None else f" and at most {most}"
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"{where}: {name} must be an int of at least 1{limit}, got {value!r}")
    if value < 1 or (most is not None and value > most):
        raise ValueError(f"{where}: {name} must be at least 1{limit}, got {value}")


def check_seconds(where: str, name: str, value: object) -> None:
    """Raise unless `value` is a finite number of seconds, 0 or more."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f"{where}: {name} must be a number of seconds, got {value!r}")
    if not 0.0 <= value < math.inf:
        raise ValueError(f"{where}: {name} must be 0 or more and finite, got {value!r}")
