"""Leases, and buffers of bytes: by the buffer protocol, by DLPack, and for how long they hold their block."""

from __future__ import annotations

import gc
import threading

import numpy as np
import pytest
import tailrace as tr

MIB = 1 << 20
CPU = (1, 0)


def test_a_leased_block_goes_back_when_the_block_of_code_ends_and_nobody_has_the_array(pool):
    lease = pool.lease((512, 512), "f4")
    with lease as scratch:
        assert (scratch.shape, scratch.dtype) == ((512, 512), np.float32)
        assert not lease.returned
        del scratch
        assert pool.statistics().used_bytes == MIB
    assert lease.returned
    assert pool.statistics().used_bytes == 0


@pytest.mark.parametrize("keep", [lambda a: a, lambda a: a[3:9], memoryview, np.from_dlpack])
def test_a_leased_block_is_never_recycled_under_what_still_refers_to_it(pool, keep):
    lease = pool.lease(MIB, "u1")
    with lease as scratch:
        scratch[:] = 7
        left = keep(scratch)
        del scratch
    others = [pool.full(MIB, 1, "u1") for _ in range(20)]
    assert not lease.returned
    assert (np.asarray(left) == 7).all()
    del left
    assert lease.returned
    del others


def test_a_lease_ends_by_an_exception_too_and_is_used_once(pool):
    lease = pool.lease(MIB, "u1", tag="scratch", timeout_s=1)
    with pytest.raises(KeyError), lease:
        raise KeyError
    assert lease.returned
    with pytest.raises(RuntimeError, match="a lease is used once"), lease:
        pass


def test_a_buffer_is_bytes_that_can_be_written(pool):
    buffer = pool.empty_bytes(1000)
    view = memoryview(buffer)
    assert (len(buffer), buffer.nbytes, view.nbytes, view.readonly) == (1000, 1000, 1000, False)
    view[:5] = b"hello"
    assert bytes(buffer)[:5] == b"hello"
    array = np.frombuffer(buffer, "u1")
    array[0] = ord("j")
    assert bytes(view[:5]) == b"jello"
    assert repr(buffer) == "<PoolBuffer of 1000 bytes>"
    assert array.ctypes.data % 64 == 0


def test_a_buffer_of_nothing_and_wrong_sizes(pool):
    assert bytes(pool.empty_bytes(0)) == b""
    for size, kind in ((-1, ValueError), ("3", TypeError), (2.0, TypeError), (1 << 70, ValueError)):
        with pytest.raises(kind, match=f"empty_bytes: a size is an int of 0 or more bytes, got {size!r}"):
            pool.empty_bytes(size)
    with pytest.raises(TypeError, match="unexpected argument 'dtype'"):
        pool.empty_bytes(3, dtype="u1")
    with pytest.raises(TypeError, match="takes the number of bytes"):
        pool.empty_bytes()
    with pytest.raises(tr.PoolExhausted, match="cannot give 1GiB for tag 'frames'"):
        pool.empty_bytes(1 << 30, tag="frames")


def test_a_read_only_buffer_shares_its_bytes_and_nobody_writes_through_it(pool):
    buffer = pool.empty_bytes(100)
    twin = buffer.toreadonly()
    memoryview(buffer)[:] = bytes(range(100))
    assert bytes(twin) == bytes(range(100))
    assert twin.readonly
    assert not buffer.readonly
    with pytest.raises(TypeError):
        memoryview(twin)[0] = 1
    assert not np.frombuffer(twin, "u1").flags.writeable
    del buffer
    gc.collect()
    assert bytes(twin) == bytes(range(100))
    assert repr(twin) == "<PoolBuffer of 100 bytes, read-only>"


def test_dlpack_shares_the_bytes_and_keeps_the_block(pool):
    buffer = pool.empty_bytes(MIB)
    assert buffer.__dlpack_device__() == CPU
    array = np.from_dlpack(buffer)
    assert (array.shape, array.dtype) == ((MIB,), np.uint8)
    memoryview(buffer)[:3] = b"abc"
    assert array[:3].tobytes() == b"abc"
    del buffer
    gc.collect()
    assert pool.statistics().used_bytes == MIB
    assert array[:3].tobytes() == b"abc"
    del array
    assert pool.statistics().used_bytes == 0


@pytest.mark.parametrize("version", [None, (0, 8), (1, 0), (1, 3), (2, 0)])
def test_a_capsule_that_nobody_takes_gives_the_block_back(pool, version):
    capsule = pool.empty_bytes(MIB).__dlpack__(max_version=version)
    name = '"dltensor_versioned"' if version is not None and version[0] >= 1 else '"dltensor"'
    assert name in repr(capsule)
    assert pool.statistics().used_bytes == MIB
    del capsule
    assert pool.statistics().used_bytes == 0


def test_a_read_only_buffer_is_exported_with_its_flag_or_not_at_all(pool):
    twin = pool.empty_bytes(100).toreadonly()
    with pytest.raises(BufferError, match="read-only"):
        twin.__dlpack__()
    with pytest.raises(BufferError, match="read-only"):
        twin.__dlpack__(max_version=(0, 8))
    assert "dltensor_versioned" in repr(twin.__dlpack__(max_version=(1, 0)))
    assert '"dltensor"' in repr(twin.__dlpack__(copy=True))
    if np.lib.NumpyVersion(np.__version__) >= "2.1.0":
        assert not np.from_dlpack(twin).flags.writeable


def test_a_copy_has_bytes_of_its_own_in_the_same_pool(pool):
    buffer = pool.empty_bytes(1000)
    memoryview(buffer)[:] = bytes(range(250)) * 4

    class Copied:
        def __dlpack__(self, **options):
            options.pop("copy", None)
            return buffer.toreadonly().__dlpack__(copy=True, **options)

        def __dlpack_device__(self):
            return CPU

    copied = np.from_dlpack(Copied())
    memoryview(buffer)[:] = bytes(1000)
    assert copied.tobytes() == bytes(range(250)) * 4


def test_what_an_export_cannot_be_is_refused(pool):
    buffer = pool.empty_bytes(10)
    with pytest.raises(BufferError, match=r"on the CPU, \(1, 0\)"):
        buffer.__dlpack__(dl_device=(2, 0))
    assert buffer.__dlpack__(dl_device=CPU) is not None
    with pytest.raises(RuntimeError, match="stream must be None"):
        buffer.__dlpack__(stream=1)
    for wrong in (
        {"max_version": 1},
        {"max_version": (1,)},
        {"dl_device": "cpu"},
        {"dl_device": (1,)},
        {"other": 1},
    ):
        with pytest.raises(TypeError):
            buffer.__dlpack__(**wrong)
    with pytest.raises(TypeError):
        type(buffer)()


def test_exports_are_given_back_on_any_thread(pool):
    exports = [np.from_dlpack(pool.empty_bytes(MIB)) for _ in range(6)]
    exports += [memoryview(pool.empty_bytes(MIB)) for _ in range(6)]
    piles = [exports[i::3] for i in range(3)]
    exports.clear()
    threads = [threading.Thread(target=pile.clear) for pile in piles]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert pool.statistics().used_bytes == 0
