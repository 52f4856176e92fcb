"""The instruction set: the best there is, less if asked, never one that the machine does not have."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
from tailrace.kernels import _cpu, force_isa

LEVELS = ["baseline", "avx2", "avx512", "vnni"]
HERE = LEVELS[: LEVELS.index(_cpu.best_isa()) + 1]

ASK = "from tailrace.kernels import status; print(status().isa)"


def asked(level: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", ASK]
    environment = {**os.environ, "TAILRACE_ISA": level}
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=60)


@pytest.mark.parametrize("level", HERE)
def test_a_level_of_this_machine_can_be_forced_and_is_taken_back(level: str) -> None:
    before = _cpu.chosen_isa()
    with force_isa(level):
        assert _cpu.chosen_isa() == level
    assert _cpu.chosen_isa() == before


def test_the_environment_chooses_and_an_unknown_level_is_refused() -> None:
    assert asked("baseline").stdout.strip() == "baseline"
    assert asked("").stdout.strip() == HERE[-1]
    refused = asked("sse9")
    assert "there is no level 'sse9'; levels are baseline, avx2, avx512, vnni" in refused.stderr
    with pytest.raises(ValueError, match="there is no level 'neon'"), force_isa("neon"):
        pass


def test_a_level_that_the_machine_lacks_is_refused() -> None:
    lacking = [level for level in LEVELS if level not in HERE]
    if not lacking:
        pytest.skip("this machine has every level")
    with pytest.raises(ValueError, match="this machine has no"), force_isa(lacking[0]):
        pass


def test_the_ceilings_are_those_of_a_machine() -> None:
    assert 1e8 < _cpu.measure_flops() < 1e13
    assert 1e8 < _cpu.measure_bandwidth(1 << 20) < 1e13
