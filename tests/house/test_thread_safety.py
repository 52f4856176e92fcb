"""docs/thread_safety.md has a row for every public type and names every public member of it."""

from __future__ import annotations

import inspect
import re
from pathlib import Path

import tailrace as tr

CELLS = 6


def rows(text: str) -> dict[str, set[str]]:
    """Type -> the members that its rows name; a row must have an answer in each column."""
    found: dict[str, set[str]] = {}
    for line in text.splitlines():
        match = re.match(r"\| `(\w+)` \|", line)
        if match is None:
            continue
        cells = [cell.strip() for cell in line.strip().strip("|").split("|")]
        assert len(cells) == CELLS, f"needs {CELLS} cells: {line}"
        assert all(cells), f"needs an answer in each column: {line}"
        found.setdefault(match.group(1), set()).update(re.findall(r"`(\w+)`", cells[1]))
    return found


def public_types(module: object, names: list[str]) -> dict[str, type]:
    """The classes among `names`; of the exceptions only the root, which answers for them all."""
    types = {name: getattr(module, name) for name in names if inspect.isclass(getattr(module, name))}
    return {
        name: kind
        for name, kind in types.items()
        if not issubclass(kind, tr.TailraceError) or kind is tr.TailraceError
    }


def members(kind: type) -> set[str]:
    """What users may touch: public names that our classes define; `_raw` and virtual ones are inner."""
    ours = [c for c in kind.__mro__ if c.__module__.partition(".")[0] == "tailrace"]
    names = {name for c in ours for name in vars(c)}
    return {n for n in names if not n.startswith(("_", "virtual_")) and not n.endswith("_raw")}


def missing(table: dict[str, set[str]], types: dict[str, type]) -> list[str]:
    found = [f"{name}: no row" for name in types if name not in table]
    found += [f"{name}: a row, but no such public type" for name in table if name not in types]
    for name, kind in types.items():
        left = members(kind) - table.get(name, set())
        found += [f"{name}.{member}: in no row" for member in sorted(left) if name in table]
    return found


def test_every_public_type_and_member_has_a_row(repo: Path) -> None:
    table = rows((repo / "docs" / "thread_safety.md").read_text(encoding="utf-8"))
    found = missing(table, public_types(tr, tr.__all__))
    assert not found, "\n".join(found)


def test_a_missing_type_member_and_a_stale_row_are_found() -> None:
    class Kind:
        def named(self) -> None: ...
        def unnamed(self) -> None: ...
        def inner_raw(self) -> None: ...

    Kind.__module__ = "tailrace.kind"
    table = rows("| `Kind` | `named` | yes | yes | yes | yes |\n| `Gone` | `x` | yes | yes | yes | yes |\n")
    assert missing(table, {"Kind": Kind, "Other": Kind}) == [
        "Other: no row",
        "Gone: a row, but no such public type",
        "Kind.unnamed: in no row",
    ]
