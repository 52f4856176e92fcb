"""The README is true: its commands are those that .ci/run runs, and every figure names its bench."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

FENCE = re.compile(r"^```.*?^```\s*$", re.DOTALL | re.MULTILINE)
FIGURE = re.compile(r"\b\d[\d.,]*\s?(?:ns|µs|us|ms|s|%|×|x|k/s|M/s|times)(?![\w/])")


def commands(readme: str) -> list[str]:
    """The command lines of the first fenced block after `<!-- commands -->`."""
    block = re.search(r"<!-- commands -->\s*```\w*\n(.*?)^```", readme, re.DOTALL | re.MULTILINE)
    lines = block.group(1).splitlines() if block else []
    return [line.strip() for line in lines if line.strip() and not line.lstrip().startswith("#")]


def not_run(readme: str, script: str) -> list[str]:
    """The README's commands that are no line of their own in the CI script."""
    run = {line.strip() for line in script.splitlines()}
    return [command for command in commands(readme) if command not in run]


def figure_rows(readme: str) -> list[str]:
    """The body rows of the table after `<!-- figures -->`."""
    table = re.search(r"<!-- figures -->\s*((?:^\|.*\n)+)", readme, re.MULTILINE)
    return table.group(1).splitlines()[2:] if table else []


def rows_without_bench(readme: str, repo: Path) -> list[str]:
    """Rows whose last cell names no bench: a `tailrace` command, or a file of the repository in backticks."""

    def names_bench(row: str) -> bool:
        named = re.findall(r"`([^`]+)`", row.strip().strip("|").split("|")[-1])
        return any(n.startswith(("tailrace demo", "tailrace bench")) or (repo / n).exists() for n in named)

    return [row for row in figure_rows(readme) if not names_bench(row)]


def loose_figures(readme: str) -> list[str]:
    """Figures with a unit outside code blocks and outside the table of figures."""
    rows = set(figure_rows(readme))
    prose = [line for line in FENCE.sub("", readme).splitlines() if line not in rows]
    return [match.group() for line in prose for match in FIGURE.finditer(re.sub(r"`[^`]*`", "", line))]


def test_ci_runs_every_command_of_the_readme_as_it_stands_there(repo: Path) -> None:
    readme = (repo / "README.md").read_text(encoding="utf-8")
    assert len(commands(readme)) == 2
    found = not_run(readme, (repo / ".ci" / "run").read_text(encoding="utf-8"))
    assert not found, "\n".join(found)


def test_every_figure_of_the_readme_stands_in_the_table_and_names_its_bench(repo: Path) -> None:
    readme = (repo / "README.md").read_text(encoding="utf-8")
    found = rows_without_bench(readme, repo)
    assert not found, "\n".join(found)
    found = loose_figures(readme)
    assert not found, "\n".join(found)


def test_a_readme_command_that_ci_does_not_run_is_found() -> None:
    readme = "text\n<!-- commands -->\n```sh\n# install\npip install . && demo\npytest\n```\n"
    assert not_run(readme, "step one\n  pytest\npip install .\n") == ["pip install . && demo"]


def test_a_figure_without_a_bench_and_a_figure_in_prose_are_found(
    make_tree: Callable[[dict[str, str]], Path],
) -> None:
    repo = make_tree({"bench/python/bench_submit.py": ""})
    readme = (
        "Takes 5 µs in version 0.1, 2 cores.\n\n<!-- figures -->\n| work | ratio | bench |\n|---|---|---|\n"
        "| submit | 9 × | `bench/python/bench_submit.py` |\n| map | 3 × | `bench/none.py` |\n"
        "| all | 3 × | `tailrace bench --quick` |\n| oral | 7 × | |\n\n```sh\nsleep 5 s\n```\n"
    )
    assert rows_without_bench(readme, repo) == ["| map | 3 × | `bench/none.py` |", "| oral | 7 × | |"]
    assert loose_figures(readme) == ["5 µs"]
