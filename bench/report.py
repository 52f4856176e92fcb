"""Puts the figures of several benches into one table, one JSON list and one picture.

    cmake --workflow --preset bench && python bench/report.py --native build/bench/bench/native
    pytest bench/python --benchmark-json py.json && python bench/report.py py.json --svg rows.svg
    python bench/report.py --native build/bench/bench/native --only alloc_rss --png rss.png

Inputs are files of rows (`tailrace bench --json`), pytest-benchmark's JSON, or lines that native benches have
printed. With `--native` the executables are run first, engines in turn. `--png` draws what was measured over
time, memory above all. Needs an installed tailrace; `--png` also `pip install "tailrace[plot]"`.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterable, Sequence
from html import escape
from pathlib import Path
from typing import Any

from tailrace._bench import curves, native, rows, timing

_BAR, _LINE, _LEFT = 360, 18, 420  # of the picture, in pixels


def read(path: Path, over_time: native.Curves) -> list[rows.Row]:
    """Return the rows of a file, whichever of the three kinds it is, and add its curves to `over_time`.

    Raises:
        ValueError: if it is none of them.
    """
    text = path.read_text(encoding="utf-8")
    try:
        given = json.loads(text)
    except json.JSONDecodeError:
        found: dict[str, rows.Row] = {}
        native.add_lines(found, text, curves=over_time)
        return list(found.values())
    if isinstance(given, list):
        return [rows.row_from_json(row) for row in given]
    if isinstance(given, dict) and "benchmarks" in given:
        return _from_pytest(given["benchmarks"])
    raise ValueError(f"{path}: neither rows of `tailrace bench --json` nor a pytest-benchmark file")


def _from_pytest(benchmarks: Iterable[dict[str, Any]]) -> list[rows.Row]:
    found: dict[str, rows.Row] = {}
    for bench in benchmarks:
        info = bench["extra_info"]
        row = found.setdefault(info["row"], rows.Row(info["row"], info["work"], info["unit"]))
        row.add(info["engine"], timing.value(info["unit"], bench["stats"]["median"] / info["operations"]))
    return list(found.values())


def merge(several: Iterable[list[rows.Row]]) -> list[rows.Row]:
    """Return one row per id, with the passes of all that have it."""
    merged: dict[str, rows.Row] = {}
    for row in (row for some in several for row in some):
        into = merged.setdefault(row.id, rows.Row(row.id, row.work, row.unit))
        if into.unit != row.unit:
            raise ValueError(f"row {row.id} is given in {into.unit} and in {row.unit}")
        for engine, values in row.values.items():
            into.values.setdefault(engine, []).extend(values)
        into.absent |= row.absent
    return [row for row in merged.values() if rows.US in row.values]


def picture(given: Sequence[rows.Row]) -> str:
    """Return an SVG with a bar per rival: how many times better tailrace is, on a logarithmic scale."""
    from math import log10

    bars = [(row, rival) for row in given for rival in sorted(row.rivals(), key=row.ratio_to)]
    most = max([row.ratio_to(rival) for row, rival in bars] + [10.0])
    height = _LINE * (len(bars) + 1)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{_LEFT + _BAR + 80}" height="{height}" '
        'font-family="sans-serif" font-size="12">'
    ]
    for place, (row, rival) in enumerate(bars):
        ratio = row.ratio_to(rival)
        top = _LINE * place + 4
        long = max(_BAR * log10(max(ratio, 1.0)) / log10(most), 1.0)
        colour = "#2a7" if ratio >= 1 else "#c54"
        label = escape(f"{row.id}  {row.work[:40]} / {rival}")
        parts.append(f'<text x="{_LEFT - 8}" y="{top + 11}" text-anchor="end">{label}</text>')
        parts.append(f'<rect x="{_LEFT}" y="{top}" width="{long:.1f}" height="{_LINE - 5}" fill="{colour}"/>')
        parts.append(f'<text x="{_LEFT + long + 6:.1f}" y="{top + 11}">{ratio:.3g} x</text>')
    return "\n".join([*parts, "</svg>"]) + "\n"


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit status."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("files", nargs="*", type=Path)
    parser.add_argument("--native", type=Path, metavar="FOLDER", help="run the executables there first")
    parser.add_argument("--only", metavar="WORKS", help="of the native ones, as in chain,submit")
    parser.add_argument("--passes", type=int, default=5)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--svg", type=Path)
    parser.add_argument("--png", type=Path, help="draw the curves; needs matplotlib")
    args = parser.parse_args(argv)
    if not args.files and args.native is None:
        parser.error("give files with figures, or --native FOLDER")
    progress = timing.Progress()
    over_time: native.Curves = {}
    try:
        several = [read(path, over_time) for path in args.files]
        if args.native is not None:
            measured = native.measure(args.native, args.passes, progress, only=args.only, curves=over_time)
            several.append(measured)
        found = merge(several)
        if args.png is not None:
            curves.draw(over_time, args.png)
    except (OSError, ValueError, native.CannotBuild, curves.CannotDraw) as error:
        progress.clear()
        print(f"report: {error}", file=sys.stderr)
        return 1
    progress.clear()
    print(rows.table(found))
    if args.json is not None:
        rows.write_json(args.json, found)
    if args.svg is not None:
        args.svg.write_text(picture(found), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
