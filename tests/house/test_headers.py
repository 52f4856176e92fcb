"""A C++ header opens with its card: `// name.hpp -- ...`, then What, Why and Threads."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

LINES = ("What", "Why", "Threads")


def without_card(include: Path) -> list[str]:
    """Every header below `include` whose card is missing or incomplete, as `path: what is missing`."""
    found = []
    for path in sorted(include.rglob("*.hpp")):
        head = path.read_text(encoding="utf-8").split("#pragma once")[0].splitlines()
        missing = [word for word in LINES if not any(re.match(rf"//\s{word}\s+\S", line) for line in head)]
        if not head or not re.match(rf"// {re.escape(path.name)} -- \S", head[0]):
            missing.insert(0, f"first line '// {path.name} -- ...'")
        if missing:
            found.append(f"{path.relative_to(include)}: {', '.join(missing)}")
    return found


def test_every_header_opens_with_its_card(repo: Path) -> None:
    found = without_card(repo / "cpp" / "include") + without_card(repo / "kernels")
    assert not found, "\n".join(found)


def untrue_checks(repo: Path, folder: Path) -> list[str]:
    """Tests that a card below `folder` names and that do not exist, as `path: test`."""
    return [
        f"{path.name}: {named}"
        for path in sorted(p for p in folder.rglob("*") if p.suffix in {".hpp", ".cuh"})
        for named in re.findall(
            r"\btests/[\w/*]+(?:\.\w+)?", path.read_text(encoding="utf-8").split("#pragma once")[0]
        )
        if not any(repo.glob(named))
    ]


def test_the_tests_that_a_card_names_exist(repo: Path) -> None:
    found = [*untrue_checks(repo, repo / "cpp"), *untrue_checks(repo, repo / "kernels")]
    assert not found, "\n".join(found)


def test_a_card_that_names_no_test_of_ours_is_found(make_tree: Callable[[dict[str, str]], Path]) -> None:
    card = "// a.hpp -- a.\n// Checked   tests/a.cpp, tests/b.cpp and tests/c.\n#pragma once\n"
    root = make_tree({"include/a.hpp": card, "tests/a.cpp": "", "tests/c/d.cpp": ""})
    assert untrue_checks(root, root / "include") == ["a.hpp: tests/b.cpp"]


def test_a_missing_line_of_a_card_is_found(make_tree: Callable[[dict[str, str]], Path]) -> None:
    card = "// {} -- a thing.\n//\n// What      It.\n// Why       So.\n{}#pragma once\n"
    include = make_tree(
        {
            "good.hpp": card.format("good.hpp", "// Threads   any.\n"),
            "late.hpp": card.format("late.hpp", "") + "// Threads   any.\n",
            "other.hpp": card.format("copied.hpp", "// Threads   any.\n"),
        }
    )
    assert without_card(include) == ["late.hpp: Threads", "other.hpp: first line '// other.hpp -- ...'"]
