"""What the kernels' tests share: the levels of this machine, and buffers full of poison."""

from __future__ import annotations

import os
from collections.abc import Iterator

import numpy as np
import pytest
from tailrace.kernels import _cpu, costs, force_isa

LEVELS = ["baseline", "avx2", "avx512", "vnni"]
HERE = LEVELS[: LEVELS.index(_cpu.best_isa()) + 1]


@pytest.fixture(params=LEVELS)
def isa(request: pytest.FixtureRequest) -> Iterator[str]:
    """Each instruction set in turn."""
    if request.param not in HERE:
        pytest.skip(f"this machine has no {request.param}, its best is {HERE[-1]}")
    with force_isa(request.param):
        yield request.param


@pytest.fixture
def rng(request: pytest.FixtureRequest) -> np.random.Generator:
    """Random numbers whose seed is printed; TAILRACE_TEST_SEED repeats or changes them."""
    seed = int(os.environ.get("TAILRACE_TEST_SEED", "0"))
    print(f"{request.node.name}: seed {seed}")
    return np.random.default_rng(seed)


@pytest.fixture(autouse=True)
def nothing_calibrated() -> Iterator[None]:
    yield
    costs.forget()
