"""`tr.SharedPool` between processes: spawned, started by `subprocess`, forked, killed."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np
import pytest
import tailrace as tr

WAIT_S = 20.0


def answer(connection: Connection) -> None:
    """A spawned process: attach, then add what is asked to each array and send a new one back."""
    fd = tr.SharedPool.receive_fd(connection)
    pool = tr.SharedPool.attach(fd)
    os.close(fd)
    while (handle := connection.recv()) is not None:
        array = pool.open(handle)
        block = pool.alloc(array.shape, array.dtype)
        np.add(array, 1, out=block.array)
        connection.send(pool.share(block, until_opened=True))


def test_a_spawned_process_receives_arrays_and_sends_others_back(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.syspath_prepend(Path(__file__).parents[2])  # where the child finds this module
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe()
    process = context.Process(target=answer, args=(there,))
    process.start()
    pool = tr.SharedPool(limit="4MiB")
    pool.send_fd(here)
    block = pool.alloc((100, 50), "int32")
    for n in range(5):
        block.array[:] = n
        here.send(pool.share(block))
        assert here.poll(WAIT_S)
        assert (pool.open(here.recv()) == n + 1).all()
    assert pool.statistics().participants == 2
    here.send(None)
    process.join(WAIT_S)
    assert process.exitcode == 0
    pool.reap()
    assert pool.statistics().participants == 1
    assert pool.statistics().blocks == 1


CHILD = """
import json, sys
import tailrace as tr
pool = tr.SharedPool.attach(int(sys.argv[1]), writable=False)
print(int(pool.open(json.loads(sys.argv[2])).sum()))
"""


def test_a_subprocess_inherits_the_descriptor_and_reads_the_handle_as_json():
    pool = tr.SharedPool(limit="1MiB")
    block = pool.alloc(1000, "int64")
    block.array[:] = 7
    command = [sys.executable, "-W", "error", "-c", CHILD, str(pool.fileno()), json.dumps(pool.share(block))]
    done = subprocess.run(
        command, pass_fds=[pool.fileno()], capture_output=True, text=True, check=False, timeout=WAIT_S
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "7000"
    assert pool.statistics().participants == 1


def in_child(body: Callable[[], object]) -> int:
    """Run `body` in a forked child; return its exit code."""
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            body()
            code = 0
        except BaseException as error:
            print(repr(error), file=sys.stderr)
        finally:
            sys.stderr.flush()
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


@pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork:DeprecationWarning")
def test_a_forked_child_takes_part_and_keeps_what_it_has_inherited():
    pool = tr.SharedPool(limit="1MiB")
    inherited = pool.alloc(1000, "u1")
    inherited.array[:] = 5
    here, there = socket.socketpair()

    def body() -> None:
        there.recv(1)  # the parent has dropped it
        assert (inherited.array == 5).all()
        block = pool.alloc(1000, "u1")
        block.array[:] = 6
        there.sendall(json.dumps(pool.share(block)).encode())
        assert there.recv(1) == b"y"  # it is open
        os.kill(os.getpid(), signal.SIGKILL)

    pid = os.fork()
    if pid == 0:
        try:
            body()
        finally:
            os._exit(1)
    there.close()
    here.settimeout(WAIT_S)
    inherited.array = None  # type: ignore[assignment]
    assert pool.statistics().blocks == 1, "the child holds it"
    here.sendall(b"x")
    seen = pool.open(json.loads(here.recv(1000)))
    here.sendall(b"y")
    here.close()
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == -signal.SIGKILL
    assert (seen == 6).all()
    assert pool.reap() == 1
    assert (seen == 6).all()
    assert pool.statistics().blocks == 1
    assert pool.statistics().reclaimed_blocks == 1


@pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork:DeprecationWarning")
def test_memory_of_dead_processes_is_taken_back_when_it_is_wanted():
    pool = tr.SharedPool(limit="1MiB")

    def body() -> None:
        kept.append(pool.alloc(2**20, "u1"))
        pool.share(kept[0], until_opened=True)

    kept: list[tr.SharedBlock] = []
    for _ in range(10):
        assert in_child(body) == 0
        assert pool.statistics().used_bytes == 2**20
        assert pool.alloc(2**20, "u1").array.size == 2**20
    assert pool.statistics().n_reaped == 20  # each was a participant, and a slot for what is in transit


@pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork:DeprecationWarning")
def test_a_child_for_which_there_was_no_slot_is_told_to_attach():
    pool = tr.SharedPool(limit="1MiB")
    block = pool.alloc(10)
    full = [tr.SharedPool.attach(pool.fileno()) for _ in range(62)]
    with pytest.raises(tr.Overloaded, match="all 63 slots"):
        tr.SharedPool.attach(pool.fileno())

    def body() -> None:
        with pytest.raises(tr.RuntimeClosed, match=r"attach\(pool\.fileno\(\)\)"):
            pool.alloc(1)
        with pytest.raises(tr.RuntimeClosed, match="attach"):
            pool.open(pool_handle)
        block.array[:] = 1
        del full[:]

    pool_handle = pool.share(block)
    assert in_child(body) == 0
    assert block.array.sum() == 10
    assert pool.statistics().blocks == 1
    full.pop()
    assert in_child(lambda: pool.alloc(1)) == 0


def test_a_process_that_ends_with_arrays_alive_ends_well(run_script):
    done = run_script("""
import tailrace as tr
pool = tr.SharedPool(limit="1MiB")
block = pool.alloc(100)
pool.share(pool.alloc(5), until_opened=True)
class Late:
    def __init__(self, array): self.array = array
    def __del__(self): self.array[:] = 1
import builtins
builtins.late = Late(pool.alloc(100).array)
builtins.cycle = [block]
builtins.cycle.append(builtins.cycle)
""")
    assert (done.returncode, done.stderr) == (0, "")
