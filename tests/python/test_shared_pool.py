"""`tr.SharedPool` within one process: arrays, handles, errors, statistics."""

from __future__ import annotations

import copy
import gc
import json
import mmap
import os
import pickle
import socket
import threading

import numpy as np
import pytest
import tailrace as tr
from tailrace.shared_pool import SharedPoolStatistics


@pytest.fixture
def pool() -> tr.SharedPool:
    return tr.SharedPool(limit="1MiB")


@pytest.fixture
def other(pool: tr.SharedPool) -> tr.SharedPool:
    """The same memory, as another process has it: another participant, mapped elsewhere."""
    return tr.SharedPool.attach(pool.fileno())


@pytest.mark.parametrize(
    "dtype", ["float32", np.int8, np.dtype(">u2"), "datetime64[ns]", bool, "S7", "U3", "c16"]
)
@pytest.mark.parametrize("shape", [5, (3, 4), [2, 1, 3], np.int64(4), ()])
def test_an_array_of_any_plain_dtype_and_shape_arrives(pool, other, dtype, shape):
    block = pool.alloc(shape, dtype)
    block.array[...] = np.zeros((), dtype)
    raw = block.array.reshape(-1).view(np.uint8)
    raw[:] = np.arange(raw.size) % 2
    seen = other.open(pool.share(block))
    assert seen.dtype == np.dtype(dtype)
    assert seen.shape == np.empty(shape, "b").shape
    assert seen.tobytes() == block.array.tobytes()
    assert block.array.flags.aligned
    assert block.array.ctypes.data % 64 == 0


def test_a_handle_is_plain_data_that_json_carries(pool, other):
    block = pool.alloc((2, 3), "int32")
    block.array[:] = [[1, 2, 3], [4, 5, 6]]
    handle = pool.share(block)
    assert {type(part) for part in handle} == {int, str}
    assert all(part < 2**53 for part in handle if isinstance(part, int)), (
        "a JSON number is a double elsewhere"
    )
    assert other.open(json.loads(json.dumps(handle))).tolist() == [[1, 2, 3], [4, 5, 6]]


def test_what_one_writes_the_other_sees(pool, other):
    block = pool.alloc(4, "int64")
    seen = other.open(pool.share(block))
    changed = other.open(pool.share(block), writable=True)
    changed[:] = 9
    assert block.array.tolist() == seen.tolist() == [9] * 4
    assert not seen.flags.writeable
    with pytest.raises(ValueError, match="cannot set WRITEABLE flag"):
        seen.flags.writeable = True


def test_an_array_and_its_views_keep_the_block_and_the_memory_without_pool_and_block():
    pool = tr.SharedPool(limit="1MiB")
    watcher = tr.SharedPool.attach(pool.fileno())
    view = pool.alloc((100, 100), "float32").array[5:50].reshape(-1)
    view[:] = 3
    del pool
    assert watcher.statistics().blocks == 1
    assert view.sum() == 3 * view.size
    memory = memoryview(view)
    del view
    assert watcher.statistics().blocks == 1
    del memory
    assert watcher.statistics().blocks == 0


def test_a_block_lives_while_one_participant_holds_it(pool, other):
    block = pool.alloc(10)
    handle = pool.share(block)
    seen = other.open(handle)
    del block
    again = pool.open(handle)
    del seen
    assert pool.statistics().blocks == 1
    del again
    with pytest.raises(tr.StaleHandle, match=r"keep it until.*until_opened=True"):
        other.open(handle)
    assert issubclass(tr.StaleHandle, LookupError)


def test_a_stale_handle_never_opens_the_next_block_in_its_place(pool, other):
    block = pool.alloc(10)
    handle = pool.share(block)
    del block
    successor = pool.alloc(10)
    assert pool.share(successor)[1] == handle[1], "it lies elsewhere: the test shows nothing"
    with pytest.raises(tr.StaleHandle):
        other.open(handle)


def test_until_opened_holds_the_block_for_its_receiver(pool, other):
    handle = pool.share(pool.alloc(10, "u1"), until_opened=True)
    assert pool.statistics().in_transit == 1
    seen = other.open(handle)
    assert seen.size == 10
    assert pool.statistics().in_transit == 0
    del seen
    assert pool.statistics().blocks == 0


def test_what_was_shared_until_opened_can_be_taken_back_and_outlives_the_pool_object(pool, other):
    pool.open(pool.share(pool.alloc(10), until_opened=True))
    assert pool.statistics().blocks == 0
    sender = tr.SharedPool.attach(pool.fileno())
    handle = sender.share(sender.alloc(10), until_opened=True)
    del sender
    assert other.open(handle).size == 10


def test_parts_of_arrays_and_received_arrays_are_shared_too(pool, other):
    block = pool.alloc((4, 5), "int16")
    block.array[:] = np.arange(20).reshape(4, 5)
    rows = other.open(pool.share(block.array[1:3]))
    assert rows.tolist() == [[5, 6, 7, 8, 9], [10, 11, 12, 13, 14]]
    assert pool.open(other.share(rows[1])).tolist() == [10, 11, 12, 13, 14]
    assert pool.open(other.share(rows.view("u1"))).tobytes() == rows.tobytes()


def test_threads_of_one_process_share_a_pool(pool, other):
    def work(n: int) -> None:
        for _ in range(200):
            block = pool.alloc(1000 + n, "u1")
            block.array[:] = n
            seen = other.open(pool.share(block))
            del block
            if not (seen == n).all():
                wrong.append(n)

    wrong: list[int] = []
    threads = [threading.Thread(target=work, args=(n,)) for n in range(1, 5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
    assert pool.statistics().used_bytes == 0


@pytest.mark.parametrize(
    ("shape", "dtype", "error", "text"),
    [
        (0, "f4", ValueError, "no elements"),
        ((3, 0), "f4", ValueError, "no elements"),
        (-1, "f4", ValueError, "negative"),
        ((2, -3), "f4", ValueError, "negative"),
        (1.5, "f4", TypeError, "int or a tuple of ints"),
        ("12", "f4", TypeError, "int or a tuple of ints"),
        (None, "f4", TypeError, "int or a tuple of ints"),
        (1, object, TypeError, "without objects or fields"),
        (1, [("x", "f4")], TypeError, "without objects or fields"),
        (1, "V0", TypeError, "without objects or fields"),
        (1, "no such", TypeError, "no such"),
        (2**40, "f4", tr.PoolExhausted, r"no room for 4TiB: limit 1MiB, .*limit=\.\.\."),
        ((2**62, 2**62), "f4", tr.PoolExhausted, "limit 1MiB"),
    ],
)
def test_a_wrong_shape_or_dtype_is_refused_with_the_reason(pool, shape, dtype, error, text):
    with pytest.raises(error, match=text):
        pool.alloc(shape, dtype)
    assert pool.statistics().used_bytes == 0


def test_a_full_pool_says_what_is_used_and_goes_on_when_memory_is_back(pool):
    blocks = [pool.alloc(2**18, "u1") for _ in range(4)]
    with pytest.raises(
        tr.PoolExhausted, match=r"used 1MiB in 4 blocks of 1 participants, largest free piece 0B"
    ):
        pool.alloc(1)
    assert pool.statistics().n_exhausted == 1
    del blocks[1]
    assert pool.alloc(2**18, "u1").array.size == 2**18


@pytest.mark.parametrize("limit", [0, -1, 4095, 2**41, "1KiB", "1MB", "much", None, 1.5, True])
def test_a_wrong_limit_is_refused(limit):
    with pytest.raises((TypeError, ValueError), match="limit"):
        tr.SharedPool(limit=limit)


def test_wrong_handles_are_refused(pool, other):
    block = pool.alloc((3, 4), "f4")
    right = pool.share(block)
    with pytest.raises(ValueError, match="another pool"):
        tr.SharedPool(limit="1MiB").open(right)
    for wrong in (None, "abc", 5, (), (1, 2), [*right[:6]], [*right[:5], 1.5, *right[6:]], [*right, "x"]):
        with pytest.raises(TypeError, match=r"SharedPool\.open"):
            other.open(wrong)
    values = {
        0: [1],
        1: [1, 2**40, -1],
        2: [0],
        3: [1, 2**62],
        4: [64, 2**62],
        5: [1],
        6: ["O", "f8", "nonsense", "(2,)f8"],
        7: [2**62, 4, -3],
        8: [2**80],
    }
    for place, value in [(place, value) for place, several in values.items() for value in several]:
        wrong = [*right]
        wrong[place] = value
        with pytest.raises(ValueError, match=r"SharedPool\.open: (no pool has made|this belongs to another)"):
            other.open(wrong)
    assert pool.statistics().held_blocks == 1
    assert other.statistics().held_blocks == 0


def test_only_arrays_of_the_pool_can_be_shared(pool):
    with pytest.raises(ValueError, match=r"in no shared pool; copy it into pool\.alloc"):
        pool.share(np.zeros(3))
    with pytest.raises(ValueError, match="another pool"):
        pool.share(tr.SharedPool(limit="1MiB").alloc(3))
    with pytest.raises(ValueError, match="C order"):
        pool.share(pool.alloc((4, 4)).array[:, ::2])
    with pytest.raises(TypeError, match="takes a block or an array"):
        pool.share([1, 2])


def test_wrong_descriptors_are_refused(tmp_path):
    for wrong in (None, "3", 1.0, True):
        with pytest.raises(TypeError, match="descriptor must be an int"):
            tr.SharedPool.attach(wrong)
    with pytest.raises(OSError, match="Bad file descriptor"):
        tr.SharedPool.attach(-1)
    with (
        (tmp_path / "file").open("w+b") as file,
        pytest.raises(ValueError, match=r"pass what pool\.fileno\(\) is"),
    ):
        tr.SharedPool.attach(file.fileno())
    loose = os.memfd_create("test", os.MFD_ALLOW_SEALING)
    os.truncate(loose, 10**6)
    with pytest.raises(ValueError, match="not the descriptor of a shared pool"):
        tr.SharedPool.attach(loose)
    os.close(loose)


def test_a_pool_attached_for_reading_maps_pages_that_cannot_be_written(pool):
    reader = tr.SharedPool.attach(pool.fileno(), writable=False)
    block = pool.alloc(2**15, "u1")
    block.array[:] = 4
    seen = reader.open(pool.share(block))
    assert (seen == 4).all()
    assert not reader.writable
    for call in (lambda: reader.alloc(1), lambda: reader.open(pool.share(block), writable=True)):
        with pytest.raises(
            ValueError, match=r"attached for reading; write SharedPool\.attach\(fd, writable=True\)"
        ):
            call()
    with open("/proc/self/maps") as file:
        maps = [line for line in file if "tailrace-shared-pool" in line]
    address = seen.ctypes.data
    ranges = [(*(int(end, 16) for end in line.split()[0].split("-")), line.split()[1]) for line in maps]
    assert [rights for low, high, rights in ranges if low <= address < high] == ["r--s"]


def test_after_close_nothing_is_allocated_or_opened_and_arrays_stay_good(pool):
    with pool as entered:
        block = entered.alloc(5)
        handle = pool.share(block)
    assert pool.closed
    for call in (lambda: pool.alloc(1), lambda: pool.open(handle)):
        with pytest.raises(tr.RuntimeClosed, match="this pool is closed"):
            call()
    block.array[:] = 1
    assert tr.SharedPool.attach(pool.fileno()).open(pool.share(block)).sum() == 5


def test_statistics_are_a_frozen_account(pool, other):
    block = pool.alloc(5000, "u1")
    kept = other.open(pool.share(block))
    s = pool.statistics()
    assert isinstance(s, SharedPoolStatistics)
    with pytest.raises(AttributeError):
        s.blocks = 5  # type: ignore[misc]
    assert (s.limit_bytes, s.granule_bytes, s.used_bytes) == (2**20, 4096, 8192)
    assert (s.blocks, s.participants, s.held_blocks, s.n_alloc, s.n_open) == (1, 2, 1, 1, 0)
    assert other.statistics().n_open == 1
    assert s.largest_free_bytes == 2**20 - 8192
    assert repr(pool) == "<SharedPool 8KiB of 1MiB in 1 blocks, 2 participants>"
    assert kept.size == 5000


def test_trim_gives_free_pages_back():
    pool = tr.SharedPool(limit=2**22)
    pool.alloc(2**22, "u1").array[:] = 1
    taken = os.fstat(pool.fileno()).st_blocks * 512
    assert taken >= 2**22
    assert pool.trim() == 2**22
    assert os.fstat(pool.fileno()).st_blocks * 512 <= taken - 2**22
    assert (pool.alloc(2**22, "u1").array == 0).all()


def test_a_pool_is_not_pickled_or_copied_and_says_how_it_travels(pool):
    for call in (pickle.dumps, copy.copy, copy.deepcopy):
        with pytest.raises(TypeError, match=r"pool\.send_fd\(socket\)"):
            call(pool)


def test_a_descriptor_travels_over_a_socket_and_something_else_is_noticed(pool):
    here, there = socket.socketpair()
    with here, there:
        pool.send_fd(here)
        fd = tr.SharedPool.receive_fd(there)
        assert not os.get_inheritable(fd)
        assert tr.SharedPool.attach(fd).statistics().participants == 2
        os.close(fd)
        here.sendall(b"x")
        with pytest.raises(OSError, match=r"pool\.send_fd"):
            tr.SharedPool.receive_fd(there)
        here.close()
        with pytest.raises(EOFError):
            tr.SharedPool.receive_fd(there)


def test_nothing_is_left_of_a_pool_that_is_gone():
    def left() -> tuple[int, int, list[str]]:
        gc.collect()
        with open("/proc/self/maps") as maps:
            mapped = sum("tailrace-shared-pool" in line for line in maps)
        named = [name for name in os.listdir("/dev/shm") if "tailrace" in name]  # others use it too
        return len(os.listdir("/proc/self/fd")), mapped, named

    before = left()
    for _ in range(20):
        pool = tr.SharedPool(limit=8 * mmap.PAGESIZE)
        array = pool.alloc(100).array
        assert tr.SharedPool.attach(pool.fileno()).open(pool.share(array)).size == 100
        assert left()[1] > before[1]
        del pool, array
    assert left() == before
