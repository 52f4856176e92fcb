"""Kernels in Numba: run in the simulator, compiled for every architecture, each in a process of its own."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from tailrace.kernels import FeaturesPrep, device

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


@pytest.mark.gpu
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_features_prep_on_the_device_agrees_with_the_cpu(rng: np.random.Generator, dtype: str) -> None:
    why = device.problem()
    if why is not None:
        pytest.skip(str(why))
    cupy = pytest.importorskip("cupy")
    pytest.importorskip("numba.cuda")
    data = rng.normal(5, 3, (10_007, 67)).astype(dtype)
    data[rng.random(data.shape) < 0.1] = np.nan
    categories = rng.integers(-9, 9, (len(data), 3))
    how = {"encode": ["one_hot", "hash", "one_hot"], "clip_quantiles": (0.01, 0.99), "unknown": "error"}
    prep = FeaturesPrep.fit(data, categories=categories, **how)
    there = prep(cupy.asarray(data), cupy.asarray(categories))
    np.testing.assert_allclose(there.get(), prep(data, categories), rtol=1e-5, atol=1e-5)
    categories[77, 2] = 1000
    with pytest.raises(ValueError, match="row 77 has category 1000 in category column 2"):
        prep(cupy.asarray(data), cupy.asarray(categories))


def test_numba_kernels_compile_for_every_architecture_within_their_budgets() -> None:
    if importlib.util.find_spec("numba_cuda") is None:
        pytest.skip('no numba-cuda: pip install "numba-cuda[cu13]" compiles its kernels without a device')
    said = process("numba_offline.py")
    if said.startswith("skip: "):
        pytest.skip(said[6:].strip())
    print(said)
