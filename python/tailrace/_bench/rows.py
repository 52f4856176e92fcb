"""Rows of figures: medians of several passes, ratios, the table, the JSON."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from time import strftime
from typing import Any

US = "tailrace"
PLAIN = "plain call"  # stands beside the engines, and is no rival: it schedules nothing
_KEYS = ("id", "work", "tailrace", "rivals", "unit", "ratio_to_best")
_TOO_SMALL = {"CPU s": 0.01}  # figures below this are noise, and so are their ratios


@dataclass
class Row:
    """One work on several engines: the value of each pass, per engine.

    Args:
        id: the row in the goals, its variant after a dot.
        work: what is done.
        unit: a time, where lower is better, or a rate that ends in "/s", where higher is.
        values: one value per pass, per engine.
        absent: rivals that are not installed here.

    >>> row = Row("P1", "submit", "us", {"tailrace": [0.5, 0.4, 0.6], "pool": [20.0, 25.0, 30.0]})
    >>> row.ratio_to("pool"), row.best_rival()
    (50.0, 'pool')
    """

    id: str
    work: str
    unit: str
    values: dict[str, list[float]] = field(default_factory=dict)
    absent: set[str] = field(default_factory=set)

    @property
    def higher_is_better(self) -> bool:
        """Whether the unit is a rate."""
        return self.unit.endswith("/s")

    def add(self, engine: str, value: float) -> None:
        """Add the value of one more pass."""
        self.values.setdefault(engine, []).append(value)

    def median(self, engine: str) -> float:
        """Return the value that the engine is quoted with."""
        return median(self.values[engine])

    def best(self, engine: str) -> float:
        """Return the value of the engine's best pass."""
        return max(self.values[engine]) if self.higher_is_better else min(self.values[engine])

    def rivals(self) -> list[str]:
        """Return the names of the engines to compare with."""
        return [engine for engine in self.values if engine not in (US, PLAIN)]

    def ratio_to(self, rival: str) -> float:
        """Return how many times better tailrace is than `rival`: above 1 when it is ahead."""
        least = _TOO_SMALL.get(self.unit, 1e-12)
        ours, theirs = max(self.median(US), least), max(self.median(rival), least)
        return ours / theirs if self.higher_is_better else theirs / ours

    def best_rival(self) -> str | None:
        """Return the rival that is hardest to beat; None without rivals."""
        return min(self.rivals(), key=self.ratio_to, default=None)

    def to_json(self) -> dict[str, Any]:
        """Return the row as `--json` writes it: medians, and a null ratio where there is no rival."""
        rival = self.best_rival()
        return {
            "id": self.id,
            "work": self.work,
            "tailrace": _rounded(self.median(US)),
            "rivals": {name: _rounded(self.median(name)) for name in self.rivals()},
            "unit": self.unit,
            "ratio_to_best": None if rival is None else _rounded(self.ratio_to(rival)),
        }


def row_from_json(given: Mapping[str, Any]) -> Row:
    """Return the row that `Row.to_json` has written.

    Raises:
        ValueError: if a key is missing.
    """
    missing = [key for key in _KEYS if key not in given]
    if missing:
        raise ValueError(
            f"a row needs the keys {', '.join(_KEYS)}; without {', '.join(missing)}: {dict(given)!r}"
        )
    values = {US: [float(given["tailrace"])]}
    values |= {name: [float(value)] for name, value in given["rivals"].items()}
    return Row(given["id"], given["work"], given["unit"], values)


def write_json(path: Path, rows: Iterable[Row]) -> None:
    """Write the rows as a list."""
    path.write_text(json.dumps([row.to_json() for row in rows], indent=2) + "\n", encoding="utf-8")


def append_csv(path: Path, rows: Iterable[Row], machine: str) -> None:
    """Append a line per row and engine, under a header in a new file: when, machine and version, figures."""
    new = not path.exists() or path.stat().st_size == 0
    with path.open("a", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        if new:
            writer.writerow(["when", "machine", "row", "work", "engine", "median", "best", "unit", "passes"])
        when = strftime("%Y-%m-%dT%H:%M:%S%z")
        for row in rows:
            for engine, values in row.values.items():
                figures = [_rounded(row.median(engine)), _rounded(row.best(engine)), row.unit, len(values)]
                writer.writerow([when, machine, row.id, row.work, engine, *figures])


def table(rows: Sequence[Row]) -> str:
    """Return the figures for a human: one line per engine; x is how many times better tailrace is."""
    lines = [["row", "work", "engine", "median", "best", "unit", "x"]]
    for row in rows:
        first = [row.id, row.work]
        ranked = sorted(row.rivals(), key=row.ratio_to)
        for engine in (US, *ranked, PLAIN):
            if engine not in row.values:
                continue
            ratio = f"{row.ratio_to(engine):.4g}" if engine in ranked else ""
            lines.append(
                [*first, engine, shown(row.median(engine)), shown(row.best(engine)), row.unit, ratio]
            )
            first = ["", ""]
        lines += [["", "", engine, "absent", "", "", ""] for engine in sorted(row.absent)]
    width = [max(len(line[place]) for line in lines) for place in range(len(lines[0]))]
    right = {3, 4, 6}
    return "\n".join(
        "  ".join(
            cell.rjust(width[place]) if place in right else cell.ljust(width[place])
            for place, cell in enumerate(line)
        ).rstrip()
        for line in lines
    )


def shown(value: float) -> str:
    """Return a figure with as many digits as it deserves.

    >>> shown(1234567.8), shown(12.345), shown(0.012345)
    ('1,234,568', '12.35', '0.0123')
    """
    if value >= 1000:
        return f"{value:,.0f}"
    return f"{value:.2f}" if value >= 1 else f"{value:.3g}"


def _rounded(value: float) -> float:
    return float(f"{value:.6g}")
