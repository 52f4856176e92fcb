"""What the kernels' tests share: the levels of this machine, and buffers full of poison."""

from __future__ import annotations

import importlib.util
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

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


def _module(path: Path) -> ModuleType:
    """A file beside the tests as a module: they are no package."""
    spec = importlib.util.spec_from_file_location(f"tailrace_tests_{path.stem}", path)
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules[spec.name] = importlib.util.module_from_spec(spec)  # dataclasses look there
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def load_beside() -> Callable[[Path], ModuleType]:
    """Loads a file that is no test, by its path."""
    return _module


_CUDA = Path(__file__).resolve().parent / "cuda"


@pytest.fixture(scope="session")
def shim_folder(request: pytest.FixtureRequest) -> Path:
    """Where compiled shims are kept, from one run to the next."""
    cache = request.config.cache
    assert cache is not None
    return Path(cache.mkdir("tailrace-shim"))


@pytest.fixture(scope="session")
def shim_modules() -> tuple[ModuleType, ModuleType]:
    shim = _module(_CUDA / "shim_library.py")
    if shim.compiler() is None:
        pytest.skip("no C++ compiler: the .cu files cannot be run on the host")
    return shim, _module(_CUDA / "host_device.py")


@pytest.fixture
def host_device_of(
    shim_modules: tuple[ModuleType, ModuleType], shim_folder: Path
) -> Callable[[str, int], Any]:
    """(text of a .cu, seed) -> a host device whose every op has these kernels."""
    shim, device = shim_modules
    return lambda text, seed: device.make(shim, lambda _op: text, shim_folder, seed)


@pytest.fixture
def expanded(tmp_path: Path) -> Callable[[str], str]:
    """The text of a .cu with the headers of kernels/cuda put in."""
    from tailrace.kernels.cuda import sources

    def expand(text: str) -> str:
        (tmp_path / "test.cu").write_text(text, encoding="utf-8")
        return sources.expand(tmp_path / "test.cu")

    return expand


@pytest.fixture
def mutant_of(shim_modules: tuple[ModuleType, ModuleType], shim_folder: Path) -> Callable[..., Any]:
    """(op, text, instead, seed, nth=0) -> a host device where the nth `text` of the source is `instead`."""
    from tailrace.kernels.cuda import sources

    shim, device = shim_modules

    def mutant(op: str, text: str, instead: str, seed: int, nth: int = 0) -> Any:
        parts = sources.source(op).split(text)
        assert len(parts) > nth + 1, f"{op} has no {text!r} number {nth}"
        changed = text.join(parts[: nth + 1]) + instead + text.join(parts[nth + 1 :])
        return device.make(shim, lambda _op: changed, shim_folder, seed)

    return mutant


@pytest.fixture(scope="session")
def _libraries() -> dict[str, Any]:
    return {}


@pytest.fixture
def host_device(
    shim_modules: tuple[ModuleType, ModuleType], shim_folder: Path, _libraries: dict[str, Any]
) -> Iterator[Any]:
    """The device that is not there: backend="cuda" runs each op's launch.py, its kernels in the shim.

    TAILRACE_TEST_SEED changes the order of threads; the seed of a fault is in its message.
    """
    from tailrace.kernels.cuda import launcher, sources

    shim, device = shim_modules
    seed = int(os.environ.get("TAILRACE_TEST_SEED", "0"))
    with launcher.using(device.make(shim, sources.source, shim_folder, seed, _libraries)) as engine:
        yield engine
