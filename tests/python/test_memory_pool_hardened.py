"""A hardened pool ends the process of whoever writes where it should not, and says why."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
import tailrace as tr

BEGIN = """
import ctypes, gc
import tailrace as tr
pool = tr.MemoryPool(limit="64MiB", {option})
array = pool.empty({size}, "uint8")
at = array.ctypes.data
"""


def last_words(
    body: str, option: str = "hardened=True", size: int = 1000, **environment: str
) -> tuple[int, str]:
    """Exit status and standard error of a process that runs the body after BEGIN."""
    program = BEGIN.format(option=option, size=size) + body
    env = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)} | environment
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, env=env, timeout=120
    )
    return done.returncode, done.stderr


@pytest.mark.parametrize("size", [1, 1000, 100_000])
def test_an_overrun_by_one_byte_ends_the_process_with_its_reason(size: int) -> None:
    code, said = last_words("ctypes.memset(at + array.nbytes, 0, 1); del array; gc.collect()", size=size)
    assert code != 0
    assert f"block of {size} bytes, byte {size} of it" in said


@pytest.mark.parametrize("size", [1000, 100_000])
def test_a_write_to_a_freed_block_ends_the_process_when_the_pool_is_closed(size: int) -> None:
    code, said = last_words("del array; gc.collect(); ctypes.memset(at + 7, 0, 1); pool.close()", size=size)
    assert code != 0
    assert "written to after it was freed" in said
    assert "byte 7 of it" in said


def test_the_environment_hardens_a_pool_that_did_not_ask() -> None:
    body = "ctypes.memset(at + array.nbytes, 0, 1); del array; gc.collect()"
    code, said = last_words(body, option="hardened=False", TAILRACE_POOL_HARDENED="1")
    assert code != 0
    assert "block of 1000 bytes" in said


def test_a_hardened_pool_gives_arrays_as_any_other() -> None:
    pool = tr.MemoryPool(limit="64MiB", hardened=True)
    for _ in range(100):
        array = pool.zeros((100, 100), "float32")
        assert not array.any()
        array += 1
        assert array.sum() == 10_000
    del array
    assert pool.statistics().used_bytes == 0
    assert pool.trim() >= 0
