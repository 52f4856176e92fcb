"""Kernels in Numba: run in the simulator, compiled for every architecture, each in a process of its own."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent


def process(script: str, *arguments: str) -> str:
    environment = {k: v for k, v in os.environ.items() if k != "NUMBA_ENABLE_CUDASIM"}
    environment["PYTHONPATH"] = os.pathsep.join(path for path in sys.path if path)
    done = subprocess.run(
        [sys.executable, str(HERE / script), *arguments],
        capture_output=True,
        text=True,
        check=False,
        env=environment,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.parametrize("work", ["numbers_and_categories", "numbers_alone", "unknown_categories"])
def test_features_prep_in_the_simulator_agrees_with_the_reference(work: str) -> None:
    if importlib.util.find_spec("numba") is None:
        pytest.skip('no Numba: pip install "tailrace[numba]" has its simulator')
    seed = os.environ.get("TAILRACE_TEST_SEED", "0")
    print(f"seed {seed}")
    process("simulated.py", "simulated_features_prep", work, seed)


def test_numba_kernels_compile_for_every_architecture_within_their_budgets() -> None:
    if importlib.util.find_spec("numba_cuda") is None:
        pytest.skip('no numba-cuda: pip install "numba-cuda[cu13]" compiles its kernels without a device')
    said = process("numba_offline.py")
    if said.startswith("skip: "):
        pytest.skip(said[6:].strip())
    print(said)
