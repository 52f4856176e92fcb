"""Every test that docs/hazards.md names exists, and every hazard has a row."""

from __future__ import annotations

import ast
import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "hazards.md"


def missing_tests(text: str) -> list[str]:
    """Names of the form `tests/….py::test_…` that are defined nowhere."""
    missing = []
    for path, name in re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", text):
        file = ROOT / path
        tree = ast.parse(file.read_text(encoding="utf-8")) if file.exists() else ast.Module([], [])
        if name not in {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}:
            missing.append(f"{path}::{name}")
    return missing


def test_every_hazard_has_a_row_and_every_test_that_is_named_exists() -> None:
    text = PAGE.read_text(encoding="utf-8")
    assert re.findall(r"^\| H(\d+) ", text, re.MULTILINE) == [str(i) for i in range(1, 25)]
    assert not missing_tests(text)


def test_a_name_of_no_test_is_found() -> None:
    assert missing_tests("`tests/python/test_exit.py::test_nothing`, `tests/python/no.py::test_a`")
