"""What `tailrace bench kernels` measures: answers that must be close, shares of the roofline, a history."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
from tailrace import bench_cli
from tailrace._bench import kernels, rows, timing
from tailrace._bench.kernels import common, roofline


def work(answer: np.ndarray) -> timing.Work:
    expected = common.Close(np.array([1.0, 2.0]), 1e-3)
    return common.kernel_work(
        "K0", "a thing", expected, {"tailrace": lambda: answer, "absent": None}, calls=3, flops=100, nbytes=10
    )


def test_an_answer_may_differ_by_rounding_and_not_more() -> None:
    close = common.Close(np.array([1.0, 2.0]), 1e-3)
    assert np.array([1.0, 2.0001]) == close
    for wrong in (np.array([1.0, 2.1]), np.array([1.0, np.nan]), np.array([1.0])):
        assert wrong != close
    with pytest.raises(timing.WrongAnswer, match="K0: tailrace answered"):
        timing.measure(work(np.array([1.0, 3.0])), 1, 0.0, lambda _: None)


def test_a_row_has_the_time_of_one_call_and_leaves_out_what_is_not_installed() -> None:
    row = timing.measure(work(np.array([1.0, 2.0])), 2, 0.0, lambda _: None)
    assert list(row.values) == ["tailrace"]


def test_the_share_of_the_roofline_is_that_of_the_slower_of_bytes_and_operations() -> None:
    ceilings = roofline.Ceilings(1e9, [(1000, 1e9), (10**9, 1e8)])
    assert ceilings.floor_s(2_000_000, 500) == 2e-3
    assert ceilings.floor_s(1, 10**10) == 100
    row = rows.Row("K0", "a thing", "us", {"tailrace": [0.4, 0.2]})
    text = roofline.table([work(np.zeros(2))], [row], ceilings)
    assert "50 % of the roofline" in text


def test_the_history_grows_by_a_line_per_engine_under_one_header(tmp_path: Path) -> None:
    path = tmp_path / "history.csv"
    row = rows.Row("K1", "mlp, batch 1", "us", {"tailrace": [2.0, 1.0, 3.0], "torch": [4.0]})
    rows.append_csv(path, [row], "a machine, 2 cores")
    rows.append_csv(path, [row], "a machine, 2 cores")
    with path.open(encoding="utf-8") as file:
        lines = list(csv.DictReader(file))
    assert [line["engine"] for line in lines] == ["tailrace", "torch"] * 2
    assert lines[0]["median"] == "2.0"
    assert lines[0]["best"] == "1.0"
    assert lines[0]["machine"] == "a machine, 2 cores"


def test_the_command_prints_rows_and_rooflines(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        monkeypatch.setenv(variable, "1")  # so that the command's own setting is taken back
    monkeypatch.setattr(kernels, "works", lambda: [work(np.array([1.0, 2.0]))])
    monkeypatch.setattr(bench_cli, "_QUICK_BUDGET_S", 0.0)
    path = tmp_path / "k.csv"
    assert bench_cli.main(["kernels", "--quick", "--csv", str(path)]) == 0
    out = capsys.readouterr().out
    assert "K0" in out
    assert "% of the roofline" in out
    assert path.read_text(encoding="utf-8").startswith("when,machine,row")
    with pytest.raises(SystemExit):
        bench_cli.main(["kernels", "--only", "K99"])
    assert "no row is called 'K99'" in capsys.readouterr().err


def test_every_op_of_the_benches_gives_works() -> None:
    assert len(set(kernels.MODULES)) == len(kernels.MODULES)
    assert all(
        name in {path.stem for path in Path(kernels.__path__[0]).glob("*.py")} for name in kernels.MODULES
    )
