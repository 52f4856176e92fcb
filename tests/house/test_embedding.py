"""docs/embedding.md is true: its code is a part of programs that run, and its names are public."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

PAGE = "docs/embedding.md"
UMBRELLA = "cpp/include/tailrace/tailrace.hpp"


def blocks(text: str) -> list[str]:
    return re.findall(r"^```cpp\n(.*?)^```", text, re.DOTALL | re.MULTILINE)


def lines(code: str) -> list[str]:
    """The lines that count: without indentation, blanks and the space before a comment."""
    return [re.sub(r"\s+//", " //", line.strip()) for line in code.splitlines() if line.strip()]


def is_part_of(block: str, program: str) -> bool:
    wanted, given = lines(block), lines(program)
    return any(given[i : i + len(wanted)] == wanted for i in range(len(given)))


def public_names(header: str) -> set[str]:
    return set(re.findall(r"^using (?:\w+::)*(\w+)\b(?= =|;)", header, re.MULTILINE))


def used_names(text: str) -> set[str]:
    """What is written as tailrace::Name, but the target and the package of CMake."""
    return set(re.findall(r"\btailrace::(\w+)", text)) - {"tailrace"}


@pytest.fixture
def examples(repo: Path) -> dict[str, str]:
    return {p.name: p.read_text(encoding="utf-8") for p in sorted((repo / "cpp" / "examples").glob("*.cpp"))}


def test_every_piece_of_code_on_the_page_is_a_part_of_a_program_that_runs(
    repo: Path, examples: dict[str, str]
) -> None:
    found = blocks((repo / PAGE).read_text(encoding="utf-8"))
    assert len(found) >= 6
    astray = [b.splitlines()[0] for b in found if not any(is_part_of(b, text) for text in examples.values())]
    assert not astray, f"in no program of cpp/examples: the block that begins {astray}"


def test_the_page_and_the_examples_use_public_names_only(repo: Path, examples: dict[str, str]) -> None:
    public = public_names((repo / UMBRELLA).read_text(encoding="utf-8"))
    page = (repo / PAGE).read_text(encoding="utf-8")
    for name, text in {PAGE: page, **examples}.items():
        assert used_names(text) <= public, f"{name}: {used_names(text) - public} is not in {UMBRELLA}"
    for name, text in examples.items():
        included = re.findall(r'#include "(tailrace/[^"]+)"', text)
        assert included == ["tailrace/tailrace.hpp"], f"{name}: includes {included}"


def test_every_public_name_is_explained_on_the_page_or_used_in_an_example(
    repo: Path, examples: dict[str, str]
) -> None:
    text = (repo / PAGE).read_text(encoding="utf-8") + "".join(examples.values())
    public = public_names((repo / UMBRELLA).read_text(encoding="utf-8"))
    assert len(public) > 10
    unknown = sorted(name for name in public if not re.search(rf"\b{name}\b", text))
    assert not unknown, f"public, but nobody says what for: {unknown}"


def test_every_example_is_built_and_run(repo: Path, examples: dict[str, str]) -> None:
    listed = re.search(
        r"foreach\(_name IN ITEMS ([^)]+)\)", (repo / "cpp/examples/CMakeLists.txt").read_text()
    )
    assert listed is not None
    assert {f"{name}.cpp" for name in listed.group(1).split()} == set(examples)


def test_code_that_drifted_from_its_program_and_a_private_name_are_found() -> None:
    program = "int main() {\n  f(1);\n  g(2);  // so\n}\n"
    assert is_part_of("f(1);\ng(2); // so\n", program)
    assert not is_part_of("f(1);\ng(3);\n", program)
    assert not is_part_of("f(1);\nh();\ng(2);  // so\n", program)
    assert public_names("using base::Outcome;\nusing Run = flow::RunHandle;  // x\n") == {"Outcome", "Run"}
    assert used_names("tailrace::Plan a; link tailrace::tailrace; tailrace::flow::Run b;") == {"Plan", "flow"}
