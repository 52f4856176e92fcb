"""Bad input is refused before a kernel sees it, and the error says what is wanted."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tailrace.kernels import _cpu, embedding_bag
from tailrace.kernels.ops.embedding_bag import reference

TABLE = np.ones((4, 3), np.float32)
UNALIGNED = np.zeros(49, np.uint8)[1:].view(np.float32).reshape(4, 3)
ITEMS, BAGS = np.array([0, 3, 1]), np.array([0, 2, 3])


@pytest.mark.parametrize(
    ("arguments", "kind", "message"),
    [
        (
            (TABLE.astype(np.float64), ITEMS, BAGS),
            TypeError,
            r"table must be float32 or .*; got float64 \[4, 3\]: pass table.astype",
        ),
        (
            (TABLE[0], ITEMS, BAGS),
            ValueError,
            r"table must be .* \[rows, dim\].*; got float32 \[3\]: it has 1 dim",
        ),
        (
            (TABLE.T, ITEMS, BAGS),
            ValueError,
            r"C-contiguous; got float32 \[3, 4\] with strides .*ascontiguousarray",
        ),
        ((TABLE.astype(">f4"), ITEMS, BAGS), TypeError, r"got >f4 \[4, 3\]: pass table.astype"),
        ((UNALIGNED, ITEMS, BAGS), ValueError, r"not aligned to its values: pass table.copy\(\)"),
        (([[1.0]], ITEMS, BAGS), TypeError, r"got list: pass np.asarray\(table"),
        ((TABLE, ITEMS.astype(np.int32), BAGS), TypeError, "indices must be int64"),
        ((TABLE, ITEMS, BAGS[:0]), ValueError, "of at least 1 bags"),
        ((TABLE, np.array([0, 4, 1]), BAGS), IndexError, r"indices\[1\] is 4; the table has 4 rows.*0 to 3"),
        ((TABLE, np.array([0, -1, 1]), BAGS), IndexError, r"indices\[1\] is -1"),
        ((TABLE, ITEMS, np.array([0, 3, 2])), ValueError, "never fall and end with 3"),
        ((TABLE, ITEMS, np.array([1, 2, 3])), ValueError, "must begin with 0"),
        ((TABLE.astype(np.int8), ITEMS, BAGS), ValueError, r"an int8 table needs scales, float32 \[4\]"),
    ],
)
def test_a_wrong_argument_is_named_with_what_is_wanted(arguments, kind, message) -> None:
    with pytest.raises(kind, match=message):
        embedding_bag(*arguments)


@pytest.mark.parametrize(
    ("out", "message"),
    [
        (np.empty((2, 4), np.float32), r"out must be float32 \[2, 3\].*; got float32 \[2, 4\]"),
        (np.empty((3, 2), np.float32).T, "C-contiguous"),
        (np.broadcast_to(np.float32(0), (2, 3)), "C-contiguous"),
    ],
)
def test_a_wrong_buffer_is_refused(out, message) -> None:
    with pytest.raises(ValueError, match=message):
        embedding_bag(TABLE, ITEMS, BAGS, out=out)


def test_a_read_only_buffer_is_refused() -> None:
    out = np.empty((2, 3), np.float32)
    out.flags.writeable = False
    with pytest.raises(ValueError, match="out is read-only"):
        embedding_bag(TABLE, ITEMS, BAGS, out=out)


@pytest.mark.parametrize("backend", ["cpu", "numpy"])
@pytest.mark.parametrize(
    ("items", "bags", "kind"), [([0, 9, 1], [0, 2, 3], IndexError), ([0], [0, 2], ValueError)]
)
def test_each_backend_of_the_host_refuses_the_same(items, bags, kind, backend) -> None:
    with pytest.raises(kind, match="embedding_bag: "):
        embedding_bag(TABLE, np.array(items), np.array(bags), backend=backend)


def test_a_buffer_that_shares_memory_with_an_input_is_refused() -> None:
    table = np.ones((2, 3), np.float32)
    with pytest.raises(ValueError, match=r"out shares memory with an input \(float32 \[2, 3\]\)"):
        embedding_bag(table, ITEMS % 2, BAGS, out=table)


def test_the_compiled_module_refuses_what_its_face_would_have_caught() -> None:
    out = np.empty((2, 3), np.float32)
    for wrong in (ITEMS.astype(np.int32), ITEMS[None], ITEMS[::2], ITEMS.astype(">i8"), "text", None):
        with pytest.raises(TypeError):
            _cpu.embedding_bag(TABLE, wrong, BAGS, None, None, False, out)
    for wrong in (TABLE.astype(">f4"), TABLE.astype(np.float64), None):
        with pytest.raises(TypeError):
            _cpu.embedding_bag(wrong, ITEMS, BAGS, None, None, False, out)
    with pytest.raises(TypeError):
        _cpu.embedding_bag(TABLE, ITEMS, BAGS, None, None, False, np.broadcast_to(np.float32(0), (2, 3)))


@settings(deadline=None, max_examples=60)
@given(
    rows=st.integers(1, 20),
    dim=st.integers(0, 70),
    counts=st.lists(st.integers(0, 5), max_size=6),
    seed=st.integers(0, 2**31),
)
def test_bags_of_any_size_sum_their_rows(rows, dim, counts, seed) -> None:
    rng = np.random.default_rng(seed)
    table = rng.normal(size=(rows, dim)).astype(np.float32)
    offsets = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
    indices = rng.integers(0, rows, int(offsets[-1]))
    found = embedding_bag(table, indices, offsets)
    np.testing.assert_allclose(found, reference.embedding_bag(table, indices, offsets), rtol=1e-5, atol=1e-5)
