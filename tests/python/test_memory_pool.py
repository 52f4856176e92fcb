"""Arrays out of a memory pool: shapes, dtypes, what they hold, what is refused and how that is said."""

from __future__ import annotations

import gc
import sys
import threading
import weakref

import numpy as np
import pytest
import tailrace as tr

MIB = 1 << 20


@pytest.mark.parametrize(
    "shape", [5, 0, (), (3,), (2, 0, 4), (7, 5, 3), [2, 3], np.int64(4), (np.int32(2), 3), np.array([2, 2])]
)
@pytest.mark.parametrize(
    "dtype",
    ["float32", np.float64, float, "S16", "U3", "complex128", "datetime64[ns]", "?", "V7", "<i2", ">f8"],
)
def test_shape_and_dtype_are_those_that_numpy_would_give(pool, shape, dtype):
    ours, theirs = pool.zeros(shape, dtype), np.zeros(shape, dtype)
    assert (ours.shape, ours.dtype) == (theirs.shape, theirs.dtype)
    assert ours.strides == theirs.strides or ours.size == 0
    assert ours.flags.carray
    assert ours.tobytes() == theirs.tobytes()


def test_structured_dtypes_and_dtypes_of_subarrays_are_laid_out_as_numpys(pool):
    record = [("id", "i8"), ("score", "f4", (2, 3)), ("name", "S5")]
    assert pool.zeros(4, record).tobytes() == np.zeros(4, record).tobytes()
    assert pool.empty(4, ("f4", (2, 3))).shape == (4, 2, 3)


def test_a_dtype_that_changed_since_the_last_call_is_read_again(pool):
    record = [("id", "i8")]
    assert pool.empty(1, record).itemsize == 8
    record.append(("score", "f4"))
    assert pool.empty(1, record).itemsize == 12

    class Kind:
        dtype = np.dtype("i4")

    assert pool.empty(1, Kind).itemsize == 4
    Kind.dtype = np.dtype("i8")
    assert pool.empty(1, Kind).itemsize == 8


def test_the_default_dtype_is_numpys(pool):
    assert pool.empty(3).dtype == pool.zeros(3, None).dtype == np.float64
    assert pool.empty(shape=3, dtype="i4").dtype == np.int32


def test_buffers_are_aligned_for_what_touches_them(pool):
    for size, alignment in ((1, 64), (1000, 64), (64 << 10, 64 << 10), (MIB, 64 << 10), (2 * MIB, 2 * MIB)):
        assert pool.empty(size, "u1").ctypes.data % alignment == 0, size


def test_zeros_are_zeros_in_memory_that_was_used_before(pool):
    for size in (100, 64 << 10, MIB, 8 * MIB):
        for _ in range(4):
            pool.empty(size, "u1")[:] = 255
            assert not pool.zeros(size, "u1").any()


def test_full_takes_the_dtype_of_its_value_unless_one_is_given(pool):
    assert pool.full(3, 7).tolist() == [7, 7, 7]
    assert pool.full(3, 7).dtype == np.full(3, 7).dtype
    assert pool.full((2, 2), [1.5, 2.5], "f4").tolist() == [[1.5, 2.5], [1.5, 2.5]]
    assert pool.full(2, 3.9, "i4").tolist() == np.full(2, 3.9, "i4").tolist()


def test_empty_like_takes_shape_and_dtype_of_its_prototype(pool):
    like = np.ones((3, 4), "f4")
    assert pool.empty_like(like).shape == (3, 4)
    assert pool.empty_like(like).dtype == np.float32
    assert pool.empty_like(like, "i8", (2,)).shape == (2,)
    assert pool.empty_like([1, 2, 3]).dtype == np.array([1, 2, 3]).dtype


@pytest.mark.parametrize(
    ("arguments", "kind", "text"),
    [
        ((-1,), ValueError, "no negative sizes, got -1"),
        (((4, -3),), ValueError, "no negative sizes, got -3"),
        ((2.5,), TypeError, "an int or a tuple of ints, got 2.5"),
        (("64",), TypeError, "an int or a tuple of ints, got '64'"),
        (((2, "x"),), TypeError, "an int or a tuple of ints, got 'x' in it"),
        ((None,), TypeError, "an int or a tuple of ints, got None"),
        ((1 << 70,), ValueError, "more than any memory"),
        (((1 << 40, 1 << 40),), ValueError, "more than any memory"),
        (((0, 1 << 40, 1 << 40),), ValueError, "more than any memory"),
        (((1,) * 65,), ValueError, "at most 64 dimensions, got 65"),
        ((3, "flot32"), TypeError, "'flot32' is none that NumPy knows"),
        ((3, object), TypeError, "references to Python objects"),
        ((3, [("a", "i4"), ("b", "O")]), TypeError, "references to Python objects"),
        ((3, "S"), ValueError, 'write for instance "S16"'),
        ((), TypeError, "needs a shape"),
        ((3, "f4", 5), TypeError, "takes shape and dtype, got 3 arguments"),
    ],
)
def test_a_wrong_shape_or_dtype_is_refused_with_what_was_given(pool, arguments, kind, text):
    with pytest.raises(kind) as caught:
        pool.empty(*arguments)
    assert text in str(caught.value)
    assert "MemoryPool" in str(caught.value)


@pytest.mark.parametrize(
    ("options", "kind", "text"),
    [
        ({"limit": "12 parsecs"}, ValueError, "parsecs"),
        ({"limit": 1000}, ValueError, "at least 1048576"),
        ({"limit": "5TiB"}, ValueError, "at most 4TiB"),
        ({"limit": 1.5}, TypeError, "limit"),
        ({"huge_pages": "yes"}, ValueError, "'auto' or 'off'"),
        ({"hardened": 1}, TypeError, "True or False"),
        ({"decay_s": -1}, ValueError, "decay_s"),
        ({"decay_s": "1"}, TypeError, "decay_s"),
    ],
)
def test_a_wrong_option_is_refused_with_what_is_allowed(options, kind, text):
    with pytest.raises(kind) as caught:
        tr.MemoryPool(**options)
    assert "MemoryPool" in str(caught.value)
    assert text in str(caught.value)


@pytest.mark.parametrize(
    ("wish", "kind", "text"),
    [
        ({"timeout_s": -1}, ValueError, "0 or more seconds, got -1"),
        ({"timeout_s": float("nan")}, ValueError, "0 or more seconds, got nan"),
        ({"timeout_s": "1"}, TypeError, "a number of seconds, got '1'"),
        ({"tag": 7}, TypeError, "got 7"),
        ({"tag": ""}, ValueError, "must not be empty"),
        ({"order": "F"}, TypeError, "unexpected argument 'order'"),
    ],
)
def test_a_wrong_wish_is_refused_with_what_is_allowed(pool, wish, kind, text):
    for method in (pool.empty, pool.zeros):
        with pytest.raises(kind) as caught:
            method(3, **wish)
        assert text in str(caught.value)


def test_what_never_fits_is_refused_at_once_with_all_that_is_known(pool):
    held = pool.empty(3 * MIB, "u1", tag="frames")
    with pytest.raises(tr.PoolExhausted) as caught:
        pool.empty(1 << 30, "u1", timeout_s=1e6)
    for part in (
        "1GiB",
        "limit=64MiB",
        "used",
        "cached",
        "largest free piece",
        "frames: ",
        "tr.MemoryPool(limit=...)",
    ):
        assert part in str(caught.value)
    assert isinstance(caught.value, MemoryError)
    del held


def test_a_pool_that_is_full_refuses_until_something_is_freed(pool):
    held = [pool.empty(8 * MIB, "u1") for _ in range(8)]
    with pytest.raises(tr.PoolExhausted, match=r"cannot give 8MiB: 64MiB of limit=64MiB are used"):
        pool.empty(8 * MIB, "u1")
    held.pop()
    held.append(pool.empty(8 * MIB, "u1"))
    assert pool.statistics().n_exhausted >= 1


def test_garbage_is_collected_once_before_the_pool_refuses(pool):
    class Holder:
        pass

    def leave_a_cycle():
        holder = Holder()
        holder.me, holder.frame = holder, pool.empty(48 * MIB, "u1")

    gc.disable()
    try:
        leave_a_cycle()
        with pytest.raises(tr.PoolExhausted):
            pool.empty(48 * MIB, "u1", collect=False)
        assert pool.empty(48 * MIB, "u1").nbytes == 48 * MIB
    finally:
        gc.enable()


def test_an_array_outlives_the_pool_object_and_the_memory_goes_with_the_array():
    pool = tr.MemoryPool(limit="16MiB")
    array = pool.full(MIB, 7, "u1")
    gone = weakref.ref(pool)
    del pool
    gc.collect()
    assert gone() is None
    assert (array == 7).all()
    assert "block of 1048576 bytes" in repr(array.base)


@pytest.mark.parametrize(
    "keep", [lambda a: a[10:20], memoryview, np.from_dlpack, lambda a: a.T.reshape(-1)[::2]]
)
def test_views_and_exports_keep_the_block(pool, keep):
    array = pool.full(MIB, 7, "u1")
    view = keep(array)
    del array
    gc.collect()
    assert pool.statistics().used_bytes == MIB
    others = [pool.full(MIB, 1, "u1") for _ in range(20)]
    assert (np.asarray(view) == 7).all()
    del view, others


def test_a_closed_pool_refuses_new_arrays_and_leaves_the_others_alone(pool):
    array = pool.full(MIB, 7, "u1")
    with pool:
        pass
    assert pool.closed
    for allocate in (pool.empty, pool.zeros):
        with pytest.raises(tr.RuntimeClosed, match="is closed and gives no new memory"):
            allocate(3)
    assert (array == 7).all()
    assert repr(pool) == "<MemoryPool limit=64MiB, closed>"
    pool.close()


def test_blocks_are_freed_on_any_thread_in_any_order(pool):
    arrays = [
        pool.full(size, size % 251, "u1") for size in (10, 5000, 70_000, MIB, 3 * MIB) for _ in range(4)
    ]
    piles = [arrays[i::3] for i in range(3)]
    arrays.clear()

    def free(pile):
        while pile:
            array = pile.pop(len(pile) // 2)
            assert (array == array.size % 251).all()

    threads = [threading.Thread(target=free, args=(pile,)) for pile in piles]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    now = pool.statistics()
    assert now.n_alloc == now.n_free


def test_statistics_count_what_was_done(pool):
    before = pool.statistics()
    arrays = [pool.empty(MIB, "u1") for _ in range(5)]
    now = pool.statistics()
    assert now.n_alloc - before.n_alloc == 5
    assert now.used_bytes == 5 * MIB
    assert now.used_bytes <= now.committed_bytes <= now.limit_bytes == 64 * MIB
    assert now.peak_used_bytes >= 5 * MIB
    arrays.clear()
    end = pool.statistics()
    assert end.n_free - before.n_free == 5
    assert end.used_bytes == 0
    with pytest.raises(AttributeError):
        end.used_bytes = 1


def test_the_limit_is_as_it_was_made_and_cannot_be_set(pool):
    assert pool.limit == 64 * MIB
    with pytest.raises(AttributeError):
        pool.limit = 1 << 30


def test_memory_that_is_free_goes_back_on_demand_and_is_made_ready_on_demand(pool):
    assert pool.reserve("8MiB", prefault=True) >= 8 * MIB
    assert pool.statistics().committed_bytes >= 8 * MIB
    pool.trim()
    assert pool.statistics().committed_bytes < 8 * MIB
    for wrong in ("many", -1):
        with pytest.raises(ValueError, match=r"MemoryPool\.(trim|reserve)"):
            pool.trim(keep=wrong)
        with pytest.raises(ValueError, match=r"MemoryPool\.(trim|reserve)"):
            pool.reserve(wrong)


def test_no_reference_is_lost_or_kept(pool):
    dtype = np.dtype([("only_here", "i4")])
    shape = (1000, 3)
    for _ in range(3):
        pool.empty(shape, dtype)
    before = sys.getrefcount(dtype), sys.getrefcount(shape)
    for _ in range(100):
        pool.empty(shape, dtype)
        with pytest.raises(tr.PoolExhausted):
            pool.empty((1 << 20, 1000), dtype, collect=False)
    after = sys.getrefcount(dtype), sys.getrefcount(shape)
    assert after[0] - before[0] <= 1
    assert after[1] - before[1] <= 1


def test_what_is_still_live_is_returned_and_logged_when_the_pool_closes(caplog):
    pool = tr.MemoryPool(limit="16MiB")
    held = [pool.empty(MIB, "u1", tag="frames"), pool.empty(2 * MIB, "u1")]
    with caplog.at_level("INFO", "tailrace"):
        live = pool.close()
    assert live
    assert (live.blocks, live.bytes) == (2, 3 * MIB)
    assert live.by_tag == {"(untagged)": (1, 2 * MIB), "frames": (1, MIB)}
    assert str(live) == "2 blocks of 3MiB ((untagged): 1 of 2MiB, frames: 1 of 1MiB)"
    assert str(live) in caplog.text
    held.clear()
    assert not pool.close()
    assert str(pool.close()) == "none"
