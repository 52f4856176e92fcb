"""`tailrace demo`: what it prints and writes, and what it says to wrong arguments."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pytest
from tailrace import cli, demos
from tailrace.demos import main, pools, progress, report, steps, traffic
from tailrace.demos.pools import Done

FIGURES = ["capacity_per_s", "throughput_per_s", "p50_s", "p90_s", "p99_s", "p999_s", "max_s"]
ENDS = ["ok", "failed", "cancelled", "rejected", "timed_out"]


def test_a_short_demo_compares_three_engines_and_writes_json(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "demo.json"
    assert cli.main(["demo", "--seconds", "2", "--workers", "2", "--seed", "3", "--json", str(file)]) == 0
    found: dict[str, Any] = json.loads(file.read_text("utf-8"))
    assert list(found) == ["demo", "seed", "host", "engines", "answers_equal"]
    assert (found["demo"], found["seed"], found["answers_equal"]) == ("recommend", 3, True)
    assert found["host"]["workers"] == 2
    assert list(found["engines"]) == ["tailrace", "tpe_steps", "tpe_whole"]
    for row in found["engines"].values():
        assert list(row) == ["offered", *ENDS, *FIGURES]
        assert row["offered"] == row["ok"] == sum(row[end] for end in ENDS) > 0
        assert 0 < row["p50_s"] <= row["p90_s"] <= row["p99_s"] <= row["p999_s"] <= row["max_s"]
        assert row["capacity_per_s"] > 0
        assert row["throughput_per_s"] > 0
    assert len({row["offered"] for row in found["engines"].values()}) == 1
    shown = capsys.readouterr().out
    assert "is recommended:" in shown
    assert "p99.9, ms" in shown
    assert "Next, `tailrace demo --load" in shown


class Other(pools.WholeRequests):
    """An engine that answers something else."""

    name = "other"

    def start(self, line: str, done: Done) -> None:
        done("something else", None)


def test_engines_that_disagree_are_found_out(recommender: steps.Recommender, lines: list[str]) -> None:
    whole = pools.WholeRequests(recommender.answer, 1)
    other = Other(recommender.answer, 1)
    found = main.compare(
        (whole, other),
        lines,
        traffic.trace_gaps_s(),
        seconds=0.5,
        load=demos.Load(200.0, is_share=False),
        progress=progress.Progress(io.StringIO()),
    )
    whole.close()
    other.close()
    assert not found.answers_equal
    assert found.all_ok


def test_a_missing_answer_is_no_agreement() -> None:
    assert main.digest(None) is None
    assert main.digest("a") == main.digest("a") != main.digest("b")


def test_the_load_is_a_share_of_the_best_rival_or_a_rate() -> None:
    capacities = {"tailrace": 4000.0, "tpe_steps": 500.0, "tpe_whole": 1000.0}
    share = main.plan(14.0, capacities, demos.Load(0.7, is_share=True))
    assert share.per_s == pytest.approx(700.0)
    assert share.slices == 3
    # The slow engine needs 1.4/500 s a request, the others are held to 1/700 s.
    assert share.count == int(14.0 / (1.4 / 500 + 2 / 700))
    assert main.plan(14.0, capacities, demos.Load(300.0, is_share=False)).per_s == 300.0


@pytest.mark.parametrize(
    ("text", "load"),
    [("70%", (0.7, True)), ("1.2", (1.2, True)), ("1500", (1500.0, False)), ("150%", (1.5, True))],
)
def test_a_load_can_be_said_in_two_ways(text: str, load: tuple[float, bool]) -> None:
    assert demos._load(text) == pytest.approx(load)


@pytest.mark.parametrize(
    ("words", "teaches"),
    [
        (["demo", "--seconds", "0"], "--seconds 20"),
        (["demo", "--seconds", "soon"], "--seconds 20"),
        (["demo", "--seconds", "nan"], "--seconds 20"),
        (["demo", "--load", "-5"], "--load 1500"),
        (["demo", "--load", "much%"], "--load 70%"),
        (["demo", "--seed", "-1"], "--seed 7"),
        (["demo", "--workers", "0"], "--workers 4"),
        (["demo", "--json", "/no/such/folder/x.json"], "--json demo.json"),
        (["demo", "chess"], "recommend"),
        (["demmo"], "demo"),
        (["--colour"], "--help"),
    ],
)
def test_a_wrong_argument_is_shown_the_right_one(
    words: list[str], teaches: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stop:
        cli.main(words)
    assert stop.value.code == 2
    assert teaches in capsys.readouterr().err


def test_the_command_tells_its_version_and_where_the_cpp_files_are(
    capsys: pytest.CaptureFixture[str],
) -> None:
    import tailrace

    with pytest.raises(SystemExit) as stop:
        cli.main(["--version"])
    assert stop.value.code == 0
    assert capsys.readouterr().out == f"tailrace {tailrace.__version__}\n"
    assert cli.main(["--includes"]) == 0
    assert Path(capsys.readouterr().out.strip(), "tailrace").is_dir()
    assert cli.main(["--cmakedir"]) == 0
    assert Path(capsys.readouterr().out.strip(), "tailraceConfig.cmake").is_file()


def test_without_a_subcommand_the_help_lists_what_works(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main([]) == 0
    shown = capsys.readouterr().out
    assert "demo" in shown
    assert "bench" in shown


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_progress_is_plain_lines_in_a_file_and_a_bar_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    plain = io.StringIO()
    with progress.Progress(plain) as bar:
        bar.show(0.5, "half way")
    assert plain.getvalue() == " 50% half way\n"
    import sys

    monkeypatch.setitem(sys.modules, "rich", None)
    live = Terminal()
    with progress.Progress(live) as bar:
        bar.show(0.5, "half way")
    assert "[" + "=" * 20 + " " * 20 + "]  50% half way" in live.getvalue()
    assert live.getvalue().endswith("\r")


def test_the_table_says_how_many_times_better_the_first_engine_is() -> None:
    row = dict.fromkeys(["offered", *ENDS], 1.0) | dict.fromkeys(FIGURES, 2.0)
    half = row | {"capacity_per_s": 1.0, "p99_s": 4.0}
    text = report.table({"tailrace": row, "tpe_whole": half}).splitlines()
    cells = {line.split("  ")[0].strip(): line.split() for line in text}
    assert cells["capacity, /s"][-1] == "2.00"
    assert cells["p99, ms"][-1] == "2.00"
    assert cells["p50, ms"][-1] == "1.00"
