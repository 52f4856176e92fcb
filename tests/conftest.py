"""Fixtures for all Python tests: runtimes whose accounting is checked when the test is over."""

from __future__ import annotations

import asyncio
import gc
import os
import subprocess
import sys
from collections.abc import Callable, Coroutine, Iterator
from typing import Any

import pytest
import tailrace as tr

WAIT_S = 20.0  # how long a test waits for what must happen, before it fails instead of hanging


@pytest.fixture
def make_runtime() -> Iterator[Callable[..., tr.Runtime]]:
    made: list[tr.Runtime] = []

    def make(**options: object) -> tr.Runtime:
        made.append(tr.Runtime(**options))  # type: ignore[arg-type]
        return made[-1]

    yield make
    for runtime in made:
        if not runtime.closed:
            assert runtime.drain(None if runtime.clock else WAIT_S), (
                f"{runtime!r} is not idle: {runtime.stuck(0)}"
            )
        tr.testing.check_accounting(runtime)
        runtime.close()
        tr.testing.check_accounting(runtime)


@pytest.fixture
def rt(make_runtime: Callable[..., tr.Runtime]) -> tr.Runtime:
    return make_runtime(workers=2, name="test")


@pytest.fixture
def clock(request: pytest.FixtureRequest) -> tr.VirtualClock:
    clock = tr.VirtualClock(seed=int(os.environ.get("TAILRACE_TEST_SEED", "0")))
    print(f"{request.node.name}: {clock!r}")
    return clock


@pytest.fixture
def virtual(make_runtime: Callable[..., tr.Runtime], clock: tr.VirtualClock) -> tr.Runtime:
    return make_runtime(clock=clock, name="virtual")


@pytest.fixture
def pool(request: pytest.FixtureRequest) -> Iterator[tr.MemoryPool]:
    """A memory pool, of `POOL_LIMIT` where the module says one, that must be empty again at the end."""
    pool = tr.MemoryPool(limit=getattr(request.module, "POOL_LIMIT", "64MiB"))
    yield pool
    gc.collect()
    assert pool.statistics().used_bytes == 0, f"left live: {pool.close()}"


@pytest.fixture
def run_script() -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run Python text in a process of its own, warnings as errors."""

    def run(text: str, *arguments: str, timeout_s: float = WAIT_S) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-W", "error", "-c", text, *arguments]
        return subprocess.run(command, capture_output=True, text=True, timeout=timeout_s, check=False)

    return run


@pytest.fixture(params=["asyncio", "uvloop"])
def run_loop(request: pytest.FixtureRequest) -> Callable[[Coroutine[Any, Any, Any]], Any]:
    """`asyncio.run`, and uvloop's where it is installed."""
    if request.param == "asyncio":
        return asyncio.run
    uvloop: Any = pytest.importorskip("uvloop", reason="uvloop is not installed")
    run: Callable[[Coroutine[Any, Any, Any]], Any] = uvloop.run
    return run
