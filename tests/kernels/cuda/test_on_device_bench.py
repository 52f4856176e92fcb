"""The bench of the device runs from end to end on the stand-in, and says why it does not without one."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tailrace._bench.kernels import on_device
from tailrace.kernels import device


def test_every_work_runs_and_is_checked(
    host_device: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(on_device, "_PASSES", 1)
    assert on_device.main(["--csv", str(tmp_path / "a.csv"), "--budget", "0"], small=True) == 0
    with (tmp_path / "a.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert {row["work"].split()[0] for row in rows} == set(on_device.WORKS)
    assert all(row["device"] == "the stand-in of the tests" for row in rows)
    assert "mlp_forward int4" in capsys.readouterr().out


def test_a_wrong_answer_ends_it(host_device: Any) -> None:
    work = next(on_device.WORKS["pca_project"](np.random.default_rng(1), True))
    wrong = on_device.DeviceWork(work.name, work.call, work.truth + 1, work.within, 1, 1, {})
    with pytest.raises(ArithmeticError, match=r"pca_project float32.*: off by"):
        on_device.measure(wrong, 0)


def test_without_a_device_it_says_why(capsys: pytest.CaptureFixture[str]) -> None:
    if device.problem() is None:
        pytest.skip("there is a device")
    assert on_device.main([]) == 1
    assert "no row was measured: cuda: " in capsys.readouterr().err
