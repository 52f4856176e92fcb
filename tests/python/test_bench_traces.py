"""The trace that the replay bench carries: written from its seed, in the format of docs/memory.md."""

import csv
import random
import runpy
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
REPLAY = ROOT / "bench" / "native" / "alloc_replay"


@pytest.fixture
def lines():
    with (REPLAY / "service.csv").open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_the_committed_trace_is_what_its_writer_writes(capsys):
    runpy.run_path(str(REPLAY / "make_trace.py"), run_name="__main__")
    assert capsys.readouterr().out == (REPLAY / "service.csv").read_text(encoding="utf-8")


def test_every_call_of_the_trace_is_an_alloc_or_the_free_of_a_live_block_in_the_order_of_time(lines):
    live, before = {}, 0
    for line in lines:
        assert int(line["ns"]) >= before
        before = int(line["ns"])
        if line["op"] == "alloc":
            assert line["id"] not in live
            live[line["id"]] = line["bytes"]
        else:
            assert line["op"] == "free"
            assert live.pop(line["id"]) == line["bytes"]
    assert not live


def test_the_trace_has_blocks_that_another_thread_frees(lines):
    allocated = {line["id"]: line["thread"] for line in lines if line["op"] == "alloc"}
    freed = [line for line in lines if line["op"] == "free"]
    assert 0 < sum(allocated[line["id"]] != line["thread"] for line in freed) < len(freed)


def test_another_seed_gives_another_trace_of_the_same_kind():
    writer = runpy.run_path(str(REPLAY / "make_trace.py"))
    calls = writer["service"](random.Random(1))
    assert {call.op for call in calls} == {"alloc", "free"}
    assert calls != writer["service"](random.Random(writer["SEED"]))
