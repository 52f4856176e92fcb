"""docs/features.md answers every feature F-1 ... F-177 and every defect D-1 ... D-21 of the sources."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

FEATURES, DEFECTS = 177, 21
STATUS = re.compile(r"done|integrated|demo only|planned \([^)]+\)|out of scope: .{10,}|answered: .{10,}")


def rows(text: str, letter: str) -> list[tuple[int, list[str]]]:
    """(number, other cells) of each table row whose first cell is `<letter>-<number>`."""
    found = []
    for line in text.splitlines():
        match = re.fullmatch(rf"\| {letter}-(\d+) \|(.*)\|", line.strip())
        if match:
            found.append((int(match.group(1)), [cell.strip() for cell in match.group(2).split("|")]))
    return found


def wrong_features(text: str, repo: Path) -> list[str]:
    """Numbers missing or doubled; rows without an owner, a known status, or (if done) a test that exists."""
    table = rows(text, "F")
    numbers = [number for number, _ in table]
    found = [f"F-{n}: {numbers.count(n)} rows" for n in range(1, FEATURES + 1) if numbers.count(n) != 1]
    for number, cells in table:
        if len(cells) != 4 or not all(cells):
            found.append(f"F-{number}: need the cells item, owner, test, status, none empty")
            continue
        _, owner, test, status = cells
        if not STATUS.fullmatch(status):
            found.append(f"F-{number}: unknown status {status!r}")
        if status in {"done", "integrated", "demo only"}:
            files = re.findall(r"`([^`]+)`", test)
            found += [f"F-{number}: {status}, but no test named"] if not files else []
            missing = [f for f in files + re.findall(r"`([^`]+/[^`]+)`", owner) if not (repo / f).exists()]
            found += [f"F-{number}: {name} does not exist" for name in missing]
    return found


def wrong_defects(text: str) -> list[str]:
    """Defects missing or doubled, and rows that do not say where the right behaviour is."""
    table = rows(text, "D")
    numbers = [number for number, _ in table]
    found = [f"D-{n}: {numbers.count(n)} rows" for n in range(1, DEFECTS + 1) if numbers.count(n) != 1]
    return found + [
        f"D-{n}: need defect, answer, where" for n, cells in table if len(cells) != 3 or not all(cells)
    ]


def test_every_feature_number_has_one_row_with_owner_test_and_status(repo: Path) -> None:
    found = wrong_features((repo / "docs" / "features.md").read_text(encoding="utf-8"), repo)
    assert not found, "\n".join(found)


def test_every_defect_of_the_sources_is_answered(repo: Path) -> None:
    found = wrong_defects((repo / "docs" / "features.md").read_text(encoding="utf-8"))
    assert not found, "\n".join(found)


def test_missing_doubled_and_unproved_features_are_found(make_tree: Callable[[dict[str, str]], Path]) -> None:
    repo = make_tree({"tests/python/test_run.py": ""})
    good = [f"| F-{n} | thing | x | `tests/python/test_run.py` | done |" for n in range(1, FEATURES + 1)]
    found = wrong_features("\n".join(good), repo)
    assert not found, "\n".join(found)
    bad = [
        *good[3:],
        good[3],
        "| F-1 | thing | x | – | done |",
        "| F-2 | thing | x | – | soon |",
        "| F-3 | thing | | – | done |",
        "| F-178 | thing | `python/none.py` | `tests/none.py` | done |",
    ]
    assert wrong_features("\n".join(bad), repo) == [
        "F-4: 2 rows",
        "F-1: done, but no test named",
        "F-2: unknown status 'soon'",
        "F-3: need the cells item, owner, test, status, none empty",
        "F-178: tests/none.py does not exist",
        "F-178: python/none.py does not exist",
    ]


def test_an_unanswered_defect_is_found() -> None:
    text = (
        "\n".join(f"| D-{n} | wrong | right | there |" for n in range(1, DEFECTS)) + "\n| D-21 | wrong | | |"
    )
    assert wrong_defects(text) == ["D-21: need defect, answer, where"]
    assert wrong_defects("\n".join(text.splitlines()[1:-1])) == ["D-1: 0 rows", "D-21: 0 rows"]
