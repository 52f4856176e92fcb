"""Sizes in bytes that users pass as `4096` or `"256MiB"`, and sizes as people read them."""

from __future__ import annotations

import re

__all__ = ["format_bytes", "parse_bytes"]

_UNITS = {"B": 0, "KiB": 10, "MiB": 20, "GiB": 30, "TiB": 40}
_PATTERN = re.compile(r"\s*([0-9]+(?:\.[0-9]+)?)\s*([A-Za-z]+)\s*")
_LOWER = {unit.lower(): unit for unit in _UNITS}
_MEANT = {unit[0].lower() + end: unit for unit in _UNITS if unit != "B" for end in ("", "b")}
_MOST = (1 << 63) - 1  # what a C ssize_t holds


def parse_bytes(where: str, name: str, value: object, *, least: int = 1) -> int:
    """Return the number of bytes that `value` says: an int, or a text such as "64KiB", "1.5 GiB".

    Args:
        where: The function that was called, for the error.
        name: The name of its argument.
        value: What was passed for it. Units are powers of 1024: B, KiB, MiB, GiB, TiB, in any case.
        least: The smallest number of bytes that is allowed.

    Raises:
        TypeError: if it is neither an int nor a text.
        ValueError: if the text cannot be read, is no whole number of bytes, or the size is out of range.
    """
    right = f'write {where}({name}="256MiB") or {where}({name}=256 * 1024**2)'
    if isinstance(value, str):
        size = _read(f"{where}: {name}", value, right)
    elif isinstance(value, int) and not isinstance(value, bool):
        size = value
    else:
        raise TypeError(
            f"{where}: {name} must be an int of bytes or a text with a unit, got {value!r}; {right}"
        )
    if not least <= size <= _MOST:
        bound = f"at least {least}" if size < least else f"at most {_MOST}"
        raise ValueError(f"{where}: {name} must be {bound} bytes, got {value!r}")
    return size


def format_bytes(size: int) -> str:
    """Return `size` bytes in the largest unit that leaves 1 or more, with one decimal where it is not whole.

    >>> format_bytes(1536), format_bytes(64 << 20), format_bytes(100)
    ('1.5KiB', '64MiB', '100B')
    """
    unit, shift = "B", 0
    for candidate, bits in _UNITS.items():
        if size >= 1 << bits:
            unit, shift = candidate, bits
    scaled = size / (1 << shift)
    return f"{int(scaled)}{unit}" if scaled == int(scaled) else f"{scaled:.1f}{unit}"


def _read(what: str, text: str, right: str) -> int:
    units = ", ".join(_UNITS)
    match = _PATTERN.fullmatch(text)
    if match is None:
        raise ValueError(f"{what} must be a number and one of {units}, got {text!r}; {right}")
    number, unit = match.groups()
    known = _LOWER.get(unit.lower())
    if known is None:
        meant = _MEANT.get(unit.lower())
        right = f'write "{number}{meant}"; units are powers of 1024' if meant else right
        raise ValueError(f"{what} has the unit {unit!r}, allowed are {units}; {right}")
    whole, _, fraction = number.partition(".")
    scale = int(10 ** len(fraction))
    size, rest = divmod((int(whole) * scale + int(fraction or 0)) << _UNITS[known], scale)
    if rest:
        raise ValueError(f"{what} must be a whole number of bytes, got {text!r}; {right}")
    return size
