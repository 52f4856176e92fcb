"""A file holds one idea: 400 lines is the limit in cpp/, python/ and kernels/."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

LIMIT = 400
CODE = {".hpp", ".cpp", ".h", ".py", ".cu", ".cuh"}
EXEMPT: dict[str, str] = {}  # "path from the root": "the reason"


def too_long(root: Path, exempt: dict[str, str]) -> list[str]:
    """Every file above the limit, as `path: lines`."""
    sized = (
        (path.relative_to(root).as_posix(), len(path.read_text(encoding="utf-8").splitlines()))
        for folder in ("cpp", "python", "kernels")
        for path in sorted((root / folder).rglob("*"))
        if path.suffix in CODE
    )
    return [f"{name}: {lines} lines" for name, lines in sized if lines > LIMIT and name not in exempt]


def test_no_source_file_is_longer_than_400_lines(repo: Path) -> None:
    found = too_long(repo, EXEMPT)
    assert not found, "\n".join(found)


def test_every_exemption_names_a_file_that_needs_it_and_a_reason(repo: Path) -> None:
    long = {entry.split(":")[0] for entry in too_long(repo, {})}
    assert set(EXEMPT) <= long
    assert all(len(reason) > 20 for reason in EXEMPT.values())


def test_a_file_of_401_lines_is_found_and_a_stub_is_not(make_tree: Callable[[dict[str, str]], Path]) -> None:
    root = make_tree(
        {
            "cpp/src/base/long.cpp": "\n" * 401,
            "cpp/src/base/full.cpp": "\n" * 400,
            "python/tailrace/_core.pyi": "\n" * 900,
            "kernels/generated.py": "\n" * 900,
        }
    )
    assert too_long(root, {"kernels/generated.py": "made up"}) == ["cpp/src/base/long.cpp: 401 lines"]
