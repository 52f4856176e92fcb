"""The documents are true: their examples run, as do those in docstrings, and their links lead somewhere."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
DOCS = [ROOT / "README.md", ROOT / "kernels" / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
MODULES = sorted(p.stem for p in (ROOT / "python" / "tailrace").glob("*.py") if p.stem not in {"__main__"})
DOCTEST = (
    "import doctest, importlib, sys; sys.exit(doctest.testmod(importlib.import_module(sys.argv[1])).failed)"
)


def blocks(text: str) -> list[tuple[int, str]]:
    """(line, code) of every ```python block but those with `<!-- not run: reason -->` on the line above."""
    found = []
    for match in re.finditer(r"^```python\n(.*?)^```", text, re.DOTALL | re.MULTILINE):
        above = text[: match.start()].rstrip().rsplit("\n", 1)[-1]
        if not re.fullmatch(r"<!-- not run: \S.{8,} -->", above):
            found.append((text.count("\n", 0, match.start()) + 2, match.group(1)))
    return found


def run(code: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run one example in a process of its own, warnings being errors; `>>>` examples are compared too."""
    path = folder / ("example.txt" if code.lstrip().startswith(">>>") else "example.py")
    path.write_text(code, encoding="utf-8")
    how = ["-m", "doctest", str(path)] if path.suffix == ".txt" else [str(path)]
    command = [sys.executable, "-W", "error", *how]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False, timeout=60)


def dead_links(page: Path) -> list[str]:
    """Relative links of a page that lead to no file."""
    text = re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)
    targets = re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", text)
    return [t for t in targets if "://" not in t and not (page.parent / t).exists()]


EXAMPLES = [
    pytest.param(code, id=f"{page.relative_to(ROOT)}:{line}")
    for page in DOCS
    if page.is_file()
    for line, code in blocks(page.read_text(encoding="utf-8"))
]


@pytest.mark.parametrize("code", EXAMPLES)
def test_an_example_of_the_documents_runs(code: str, tmp_path: Path) -> None:
    done = run(code, tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("module", MODULES)
def test_the_examples_in_docstrings_are_true(module: str, tmp_path: Path) -> None:
    name = "tailrace" if module == "__init__" else f"tailrace.{module}"
    command = [sys.executable, "-W", "error", "-c", DOCTEST, name]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("page", [pytest.param(p, id=str(p.relative_to(ROOT))) for p in DOCS])
def test_the_links_of_a_page_lead_to_files(page: Path) -> None:
    found = dead_links(page)
    assert not found, "\n".join(found)


def test_a_failing_example_is_found_and_a_marked_one_is_left_out(tmp_path: Path) -> None:
    text = (
        "```python\nassert 1 == 2\n```\n<!-- not run: needs a GPU -->\n```python\nimport cupy\n```\n"
        "<!-- not run: -->\n\n```python\n>>> 1 + 1\n3\n```\n```sh\nfalse\n```\n"
    )
    found = blocks(text)
    assert [line for line, _ in found] == [2, 11]
    assert all(run(code, tmp_path).returncode != 0 for _, code in found)
    assert run(">>> 1 + 1\n2\n", tmp_path).returncode == 0
    assert run("x = 1\n", tmp_path).returncode == 0


def test_a_dead_link_is_found(make_tree: Callable[[dict[str, str]], Path]) -> None:
    root = make_tree({"a.md": "[b](b.md#top) [c](c.md) [web](https://example.org) [here](#top)", "b.md": ""})
    assert dead_links(root / "a.md") == ["c.md"]
