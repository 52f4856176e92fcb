"""Random programs of allocations, views, frees beside a model: no overlap, zeros are zeros, nothing lost."""

from __future__ import annotations

import gc
import os
import random
import threading

import numpy as np
import pytest
import tailrace as tr

MIB = 1 << 20
SEED = int(os.environ.get("TAILRACE_TEST_SEED", "0"))
DTYPES = ["u1", "i2", "f4", "f8", "c16", "S7"]


class Program:
    """Arrays, each with what must stand in it; every step changes something and looks at something."""

    def __init__(self, pool: tr.MemoryPool, seed: int) -> None:
        self.pool = pool
        self.random = random.Random(seed)
        self.live: list[tuple[np.ndarray, bytes]] = []
        self.refused = 0

    def size(self) -> int:
        return int(2 ** self.random.uniform(0, 22))

    def make(self) -> None:
        dtype = np.dtype(self.random.choice(DTYPES))
        count = self.size() // dtype.itemsize
        shape = (count,) if self.random.random() < 0.5 else (max(1, count // 8), 8)
        tag = self.random.choice([None, "a", "b"])
        try:
            if self.random.random() < 0.3:
                array = self.pool.zeros(shape, dtype, tag=tag, collect=False)
                assert not array.view("u1").any()
            elif self.random.random() < 0.2:
                buffer = self.pool.empty_bytes(count * dtype.itemsize, tag=tag, collect=False)
                array = np.frombuffer(buffer, "u1") if len(buffer) else np.empty(0, "u1")
            elif self.random.random() < 0.2:
                with self.pool.numpy(tag=tag):
                    array = np.empty(shape, dtype)
            else:
                array = self.pool.empty(shape, dtype, tag=tag, collect=False)
        except MemoryError:
            self.refused += 1
            self.drop()
            return
        mark = self.random.randbytes(8)
        raw = array.reshape(-1).view("u1") if array.size else np.empty(0, "u1")
        raw[: len(raw) // 8 * 8].view("S8")[:] = mark.replace(b"\0", b"x")
        self.live.append((array, mark.replace(b"\0", b"x")))

    def look(self) -> None:
        if not self.live:
            return
        array, mark = self.random.choice(self.live)
        raw = array.reshape(-1).view("u1") if array.size else np.empty(0, "u1")
        assert (raw[: len(raw) // 8 * 8].view("S8") == mark).all()

    def keep_a_view(self) -> None:
        if not self.live:
            return
        place = self.random.randrange(len(self.live))
        array, mark = self.live[place]
        flat = array.reshape(-1)
        # From an item on that begins with the mark again.
        self.live[place] = (flat[flat.size // 16 * 8 :], mark) if flat.size >= 16 else (flat, mark)

    def drop(self) -> None:
        for _ in range(self.random.randrange(1, 4)):
            if self.live:
                self.live.pop(self.random.randrange(len(self.live)))

    def run(self, steps: int) -> None:
        for _ in range(steps):
            self.random.choice([self.make, self.make, self.make, self.look, self.keep_a_view, self.drop])()
            if len(self.live) > 60:
                self.drop()
        for _ in range(20):
            self.look()


def whole_limit_fits(pool):
    """Nothing is live, so the whole limit can be had in one piece."""
    gc.collect()
    now = pool.statistics()
    assert (now.used_bytes, now.n_alloc) == (0, now.n_free), now
    assert all(tag.used_bytes == 0 and tag.n_alloc == tag.n_free for tag in now.tags.values())
    array = pool.empty(now.limit_bytes, "u1", collect=False)
    array[:: 64 << 10] = 1
    return True


@pytest.mark.parametrize("seed", range(SEED, SEED + 6))
def test_a_program_of_one_thread(seed):
    print(f"seed {seed}")
    pool = tr.MemoryPool(limit="8MiB", decay_s=0.001 if seed % 2 else 1.0)
    program = Program(pool, seed)
    program.run(1500)
    assert seed != 0 or program.refused > 0  # the limit was met
    program.live.clear()
    assert whole_limit_fits(pool)


@pytest.mark.parametrize("seed", range(SEED, SEED + 2))
def test_a_program_on_a_hardened_pool_meets_no_fault(seed):
    print(f"seed {seed}")
    pool = tr.MemoryPool(limit="32MiB", hardened=True)
    program = Program(pool, seed)
    program.run(800)
    program.live.clear()
    gc.collect()
    now = pool.statistics()
    assert (now.used_bytes, now.n_alloc) == (0, now.n_free)


@pytest.mark.parametrize("seed", range(SEED, SEED + 2))
def test_programs_of_several_threads_that_hand_arrays_on(seed):
    print(f"seed {seed}")
    pool = tr.MemoryPool(limit="64MiB")
    programs = [Program(pool, seed * 10 + i) for i in range(3)]
    errors = []

    def work(mine, others):
        try:
            for _ in range(12):
                mine.run(40)
                others.live.extend(mine.live[:5])
                del mine.live[:5]
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=work, args=(p, programs[i - 1])) for i, p in enumerate(programs)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors, errors[0]
    for program in programs:
        program.look()
        program.live.clear()
    assert whole_limit_fits(pool)


def test_threads_that_come_and_go_leave_nothing_behind():
    pool = tr.MemoryPool(limit="64MiB")
    kept = []

    def work(number):
        held = [pool.full(size, number % 251, "u1") for size in (100, 3000, 40_000, 200_000)]
        kept.append(held.pop(number % 4))

    for number in range(400):
        thread = threading.Thread(target=work, args=(number,))
        thread.start()
        thread.join()
        if len(kept) > 20:
            array = kept.pop(0)
            assert (array == array[0]).all()
            del array
    kept.clear()
    assert whole_limit_fits(pool)
