"""Pools, arrays and exports at the end of threads, of the interpreter, and on both sides of a fork."""

from __future__ import annotations

import os
import sys

import pytest

START = """
import threading, numpy as np, tailrace as tr
MIB = 1 << 20
pool = tr.MemoryPool(limit="64MiB")
"""

LEFT = {
    "a pool": "",
    "a pool that was used": "pool.empty(MIB, 'u1')",
    "an array in a global": "array = pool.full(3 * MIB, 7, 'u1')",
    "a small array": "array = pool.full(10, 7, 'u1')",
    "an array without its pool": "array = pool.full(MIB, 7, 'u1'); del pool",
    "a view in a module": "import json; json.view = pool.full(MIB, 7, 'u1')[5:]",
    "an array in a cycle": "class A: pass\na = A(); a.a, a.array, a.pool = a, pool.full(MIB, 7, 'u1'), pool",
    "arrays of numpy": "with pool.numpy(): arrays = [np.ones(MIB, 'u1'), np.ones(3, 'u1')]",
    "numpy's handler still set": "pool.numpy().__enter__(); array = np.ones(MIB)",
    "a buffer and its exports": (
        "buffer = pool.empty_bytes(MIB)\n"
        "views = [memoryview(buffer), np.from_dlpack(buffer), buffer.__dlpack__()]"
    ),
    "a lease that is open": "lease = pool.lease(MIB, 'u1'); array = lease.__enter__()",
    "a measure that is open": "scope = pool.measure(); scope.__enter__(); array = pool.empty(MIB, 'u1')",
    "a tag": "array = pool.tag('part', limit='8MiB').empty(MIB, 'u1')",
    "an array that a thread frees": (
        "pile = [pool.full(MIB, 7, 'u1')]\n"
        "thread = threading.Thread(target=pile.clear); thread.start(); thread.join()"
    ),
    "an array on a daemon thread": (
        "held = threading.Event()\n"
        "def hold():\n"
        "    array = pool.full(MIB, 7, 'u1'); held.set(); threading.Event().wait()\n"
        "threading.Thread(target=hold, daemon=True).start(); held.wait()"
    ),
    "a thread that waits for memory": (
        "array = pool.empty(60 * MIB, 'u1')\n"
        "threading.Thread(target=lambda: pool.empty(60 * MIB, 'u1', timeout_s=1e6), daemon=True).start()\n"
        "while not pool.statistics().n_exhausted: pass"
    ),
    "an array made while the interpreter ends": (
        "pool.empty(3)\n"
        "class Last:\n"
        "    def __del__(self, pool=pool):\n"
        "        self.array = pool.zeros(MIB, 'u1'); print(self.array[5], flush=True)\n"
        "import json; json.last = Last()"
    ),
    "a runtime whose steps have arrays": (
        "rt = tr.Runtime(workers=2)\n"
        "with pool.numpy(): arrays = [rt.submit(np.ones, MIB).result() for _ in range(4)]"
    ),
}


@pytest.mark.parametrize("left", LEFT)
def test_the_interpreter_ends_well_whatever_is_left(run_script, left):
    done = run_script(f"{START}{LEFT[left]}\nprint('end', flush=True)")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("end")


FORK = """
import os, sys
def in_child(body):
    sys.stdout.flush()
    child = os.fork()
    if child == 0:
        try:
            body()
        except BaseException as error:
            print(repr(error), flush=True)
            os._exit(1)
        sys.stdout.flush()
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
"""

IN_CHILD = {
    "frees what it inherited": "arrays.clear()",
    "uses what it inherited": "assert all((a == 7).all() for a in arrays); arrays[0][:] = 9",
    "allocates anew": "assert pool.full(20 * MIB, 3, 'u1')[5] == 3",
    "frees and allocates": "arrays.clear(); assert pool.full(40 * MIB, 3, 'u1')[-1] == 3",
    "makes a pool of its own": "assert tr.MemoryPool(limit='8MiB').full(MIB, 3, 'u1')[5] == 3",
    "gives numpy memory": "\n    with pool.numpy(): assert np.full(MIB, 5.0)[3] == 5",
    "works on threads": (
        "\n    threads = [threading.Thread(target=lambda: pool.full(MIB, 3, 'u1').sum()) for _ in range(4)]"
        "\n    [t.start() for t in threads]; [t.join() for t in threads]"
    ),
    "closes it": "assert pool.close()",
}


@pytest.mark.skipif(not hasattr(os, "fork") or sys.version_info >= (3, 15), reason="forks")
@pytest.mark.parametrize("what", IN_CHILD)
def test_a_forked_child(run_script, what):
    text = f"""{START}{FORK}
arrays = [pool.full(MIB, 7, 'u1') for _ in range(4)] + [pool.full(100, 7, 'u1')]
def body():
    {IN_CHILD[what]}
code = in_child(body)
assert all((a == 7).all() for a in arrays), "the parent's arrays are its own"
arrays.clear()
assert pool.statistics().used_bytes == 0 and not pool.closed
assert pool.full(60 * MIB, 1, 'u1')[0] == 1
sys.exit(code)
"""
    done = run_script(text)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.skipif(
    not hasattr(os, "fork") or sys.version_info >= (3, 12), reason="3.12 warns of forks with threads"
)
def test_a_child_of_a_process_whose_threads_were_at_the_pool(run_script):
    text = f"""{START}{FORK}
stop = threading.Event()
def work():
    while not stop.is_set():
        held = [pool.empty(size, 'u1') for size in (100, 5000, 70_000, MIB)]
threads = [threading.Thread(target=work) for _ in range(3)]
for thread in threads: thread.start()
def body():
    for _ in range(50):
        held = [pool.full(size, 3, 'u1') for size in (100, 5000, 70_000, MIB)]
codes = [in_child(body) for _ in range(20)]
stop.set()
for thread in threads: thread.join()
assert codes == [0] * 20, codes
"""
    done = run_script(text)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
