"""A trace has each call, in an order in which it can be replayed."""

from __future__ import annotations

import csv
import threading
from pathlib import Path

import pytest
import tailrace as tr


def calls(path: Path) -> list[dict[str, str]]:
    """The lines of a trace; fails when one frees what is not live, or allocates what is."""
    with path.open(newline="") as file:
        lines = list(csv.DictReader(file))
    live: dict[str, str] = {}
    for line in lines:
        assert list(line) == ["ns", "thread", "op", "id", "bytes", "tag"]
        if line["op"] == "alloc":
            assert line["id"] not in live
            live[line["id"]] = line["bytes"]
        else:
            assert live.pop(line["id"]) == line["bytes"]
    assert [int(line["ns"]) for line in lines] == sorted(int(line["ns"]) for line in lines)
    return lines


def test_a_trace_has_what_was_taken_and_given_back_while_it_was_open(tmp_path: Path) -> None:
    pool = tr.MemoryPool(limit="64MiB")
    before = pool.empty(1000, "uint8")
    with pool.trace(tmp_path / "trace.csv"):
        first = pool.empty(123_456, "uint8")
        second = pool.zeros((10, 10), "float32", tag="masks, all")
        del before, first
    del second
    found = [(line["op"], line["bytes"], line["tag"]) for line in calls(tmp_path / "trace.csv")]
    assert found == [("alloc", "123456", ""), ("alloc", "400", "masks  all"), ("free", "123456", "")]


def test_threads_of_a_trace_have_numbers(tmp_path: Path) -> None:
    pool = tr.MemoryPool(limit="64MiB")

    def work() -> None:
        for size in range(1, 200):
            pool.empty(size * 100, "uint8")

    with pool.trace(tmp_path / "trace.csv"):
        threads = [threading.Thread(target=work) for _ in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    lines = calls(tmp_path / "trace.csv")
    assert len(lines) == 3 * 199 * 2
    assert {line["thread"] for line in lines} <= {"0", "1", "2"}


def test_a_pool_writes_one_trace_at_a_time(tmp_path: Path) -> None:
    pool = tr.MemoryPool(limit="16MiB")
    refused = pytest.raises(RuntimeError, match="writes a trace already")
    with pool.trace(tmp_path / "one.csv"), refused, pool.trace(tmp_path / "two.csv"):
        pass
    with pool.trace(tmp_path / "two.csv"):
        pass
    assert not calls(tmp_path / "two.csv")


def test_a_trace_that_cannot_be_written_says_which_file(tmp_path: Path) -> None:
    pool = tr.MemoryPool(limit="16MiB")
    with pytest.raises(FileNotFoundError, match="nowhere"), pool.trace(tmp_path / "nowhere" / "trace.csv"):
        pass
