"""Sizes in bytes: what is read, what is refused and with which advice."""

import random

import pytest
from tailrace._sizes import format_bytes, parse_bytes


@pytest.mark.parametrize(
    ("given", "size"),
    [
        (1, 1),
        (4096, 4096),
        ("1B", 1),
        ("64KiB", 64 << 10),
        ("256MiB", 256 << 20),
        ("1GiB", 1 << 30),
        ("2TiB", 2 << 40),
        ("1.5 GiB", 3 << 29),
        ("  0.5kib ", 512),
        ("8gib", 8 << 30),
    ],
)
def test_a_size_is_an_int_or_a_number_with_a_unit(given: object, size: int) -> None:
    assert parse_bytes("MemoryPool", "limit", given) == size


@pytest.mark.parametrize("given", [None, True, 1.5, b"1KiB", ["1KiB"]])
def test_a_size_of_another_type_is_refused_with_the_right_call(given: object) -> None:
    with pytest.raises(
        TypeError, match=r"^MemoryPool: limit must be .* write MemoryPool\(limit=\"256MiB\"\)"
    ):
        parse_bytes("MemoryPool", "limit", given)


@pytest.mark.parametrize("given", ["", "MiB", "12", "-1KiB", "1e3KiB", "1,5KiB", "1 2KiB", "0x10KiB", "٣KiB"])
def test_a_text_that_is_no_size_is_refused_with_what_is_allowed(given: str) -> None:
    with pytest.raises(ValueError, match="must be a number and one of B, KiB, MiB, GiB, TiB"):
        parse_bytes("MemoryPool", "limit", given)


def test_a_decimal_unit_is_refused_and_told_the_binary_one() -> None:
    with pytest.raises(
        ValueError, match=r"unit 'MB', allowed are .* write \"256MiB\"; units are powers of 1024"
    ):
        parse_bytes("MemoryPool", "limit", "256MB")
    with pytest.raises(ValueError, match="unit 'parsec'"):
        parse_bytes("MemoryPool", "limit", "3parsec")


def test_a_fraction_of_a_byte_is_refused() -> None:
    with pytest.raises(ValueError, match="whole number of bytes"):
        parse_bytes("MemoryPool", "limit", "0.3B")


@pytest.mark.parametrize(
    ("given", "bound"), [(0, "at least 1"), (-1, "at least 1"), ("0KiB", "at least 1"), (1 << 63, "at most")]
)
def test_a_size_out_of_range_is_refused_with_the_bound(given: object, bound: str) -> None:
    with pytest.raises(ValueError, match=f"MemoryPool: limit must be {bound}"):
        parse_bytes("MemoryPool", "limit", given)


def test_the_least_size_is_the_callers() -> None:
    assert parse_bytes("MemoryPool", "limit", "64KiB", least=65536) == 65536
    with pytest.raises(ValueError, match="at least 65536 bytes, got 65535"):
        parse_bytes("MemoryPool", "limit", 65535, least=65536)
    assert parse_bytes("gc_guard", "max_garbage", 0, least=0) == 0


def test_what_is_written_in_whole_units_is_read_back() -> None:
    seed = random.randrange(1 << 32)
    print(f"seed {seed}")
    draw = random.Random(seed)
    for _ in range(200):
        size = draw.randrange(1, 1024) << (10 * draw.randrange(5))
        assert parse_bytes("f", "x", format_bytes(size)) == size
