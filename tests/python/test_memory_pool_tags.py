"""Who has how much of a pool: tags with limits of their own, scopes that measure."""

from __future__ import annotations

import threading

import numpy as np
import pytest
import tailrace as tr

MIB = 1 << 20


def test_a_tag_counts_what_was_allocated_under_it(pool):
    frames = pool.tag("frames")
    held = [
        frames.empty(MIB, "u1"),
        pool.zeros(2 * MIB, "u1", tag="frames"),
        pool.empty_bytes(MIB, tag="frames"),
    ]
    held += [frames.full(MIB, 1, "u1"), frames.zeros(MIB, "u1"), pool.empty_like(held[0], tag="frames")]
    other = pool.empty(MIB, "u1", tag="other")
    now = frames.statistics()
    assert (now.used_bytes, now.n_alloc, now.n_free, now.limit_bytes) == (7 * MIB, 6, 0, None)
    held.clear()
    now = frames.statistics()
    assert (now.used_bytes, now.peak_used_bytes, now.n_free) == (0, 7 * MIB, 6)
    assert sorted(pool.statistics().tags) == ["frames", "other"]
    assert (frames.name, repr(frames)) == ("frames", "<PoolTag 'frames' of <MemoryPool limit=64MiB>>")
    del other


def test_a_tags_limit_refuses_its_own_and_nobody_else(pool):
    decoder = pool.tag("decoder", limit="4MiB")
    held = [decoder.empty(2 * MIB, "u1"), decoder.empty(2 * MIB, "u1")]
    with pytest.raises(
        tr.PoolExhausted, match=r"1MiB for tag 'decoder': 4MiB of the tag's limit of 4MiB are used"
    ):
        decoder.empty(MIB, "u1")
    assert decoder.statistics().n_refused > 0
    other = pool.empty(MIB, "u1")
    held.pop()
    assert decoder.empty(MIB, "u1").nbytes == MIB
    pool.tag("decoder", limit="1MiB")
    with pytest.raises(tr.PoolExhausted, match="of the tag's limit of 1MiB"):
        decoder.empty(10, "u1")
    pool.tag("decoder")
    assert decoder.statistics().limit_bytes == MIB
    held.clear()
    assert decoder.statistics().used_bytes == 0
    del other


def test_what_a_tag_never_has_is_refused_at_once(pool):
    small = pool.tag("small", limit="1MiB")
    with pytest.raises(tr.PoolExhausted, match="of the tag's limit of 1MiB"):
        small.empty(2 * MIB, "u1", timeout_s=1e6)


def test_a_tag_is_a_text_and_there_are_4096_of_them(pool):
    for wrong, kind in ((7, TypeError), ("", ValueError)):
        with pytest.raises(kind, match="a tag"):
            pool.tag(wrong)
    with pytest.raises(ValueError, match="limit"):
        pool.tag("x", limit="much")
    for number in range(4096):
        pool.tag(f"part {number}")
    with pytest.raises(ValueError, match="tag number 4097; a tag names a part of the program"):
        pool.empty(10, tag="request 1")
    pool.tag("part 17")


def test_tags_are_counted_exactly_by_several_threads(pool):
    pool.tag("shared", limit="8MiB")
    start = threading.Barrier(4)

    def work(seed):
        rng = np.random.default_rng(seed)
        start.wait(20)
        held = []
        for _ in range(300):
            if held and rng.random() < 0.5:
                held.pop(int(rng.integers(len(held))))
            try:
                held.append(pool.empty(int(rng.integers(1, MIB)), "u1", tag="shared", collect=False))
            except tr.PoolExhausted:
                held.clear()
            assert pool.statistics().tags["shared"].used_bytes <= 16 * MIB

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    now = pool.statistics().tags["shared"]
    assert (now.used_bytes, now.n_alloc) == (0, now.n_free)
    assert now.peak_used_bytes <= 8 * MIB


def test_a_scope_measures_what_is_taken_and_given_back_inside(pool):
    older = pool.empty(MIB, "u1")
    with pool.measure() as used:
        first = pool.empty(2 * MIB, "u1")
        second = pool.zeros(4 * MIB, "u1")
        del first
        assert used.read().live_bytes == 4 * MIB
        with pool.numpy():
            third = np.ones(MIB, "u1")
        del older
    after = used.read()
    assert (after.n_alloc, after.n_free, after.allocated_bytes) == (3, 2, 7 * MIB)
    assert (after.live_bytes, after.peak_bytes) == (4 * MIB, 6 * MIB)
    del second, third
    assert used.read() == after
    assert "n_alloc=3" in repr(used)


def test_scopes_nest_and_each_has_a_peak_of_its_own(pool):
    with pool.measure() as outer:
        pool.empty(8 * MIB, "u1")
        with pool.measure() as inner:
            held = pool.empty(MIB, "u1")
        pool.empty(2 * MIB, "u1")
        del held
    assert (inner.read().n_alloc, inner.read().peak_bytes) == (1, MIB)
    assert (outer.read().n_alloc, outer.read().peak_bytes) == (3, 8 * MIB)


def test_a_scope_is_used_once_and_sixteen_are_open_at_most(pool):
    scopes = [pool.measure() for _ in range(17)]
    with pytest.raises(RuntimeError, match="nothing is measured yet"):
        scopes[0].read()
    for scope in scopes[:16]:
        scope.__enter__()
    with pytest.raises(ValueError, match="16 open measure"):
        scopes[16].__enter__()
    for scope in scopes[:16]:
        scope.__exit__(None, None, None)
    with scopes[16]:
        pass
    with pytest.raises(RuntimeError, match="measures once"), scopes[16]:
        pass
