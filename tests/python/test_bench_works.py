"""The works of the Python rows: every engine gives the answer that the work expects."""

import pytest
from tailrace._bench import timing

# P3, P4, P10 and GC take seconds and P15 sleeps: `tailrace bench` checks their answers itself.
QUICK = (
    "P1",
    "P1.cold",
    "P2",
    "P5",
    "P5.awaited",
    "P6",
    "P7",
    "P7.across",
    "P8",
    "P9",
    "P9.paced",
    "P11",
    "P12",
    "P16",
    "F47.1MiB",
    "M5.16k",
    "M5.1m",
    "M6.64k",
)


@pytest.mark.parametrize("name", QUICK)
def test_every_engine_gives_the_answer_of_its_work(name):
    [work] = [work for work in timing.all_works() if work.id == name]
    assert "tailrace" in work.engines
    for engine, opened in work.engines.items():
        with opened() as op:
            timing.check(work, engine, op.call())


def test_each_row_of_the_foundation_is_measured():
    assert {work.id for work in timing.all_works()} >= {
        "P1",
        "P1.cold",
        "P2",
        "P3",
        "P4",
        "P5",
        "P5.awaited",
        "P6",
        "P7",
        "P7.across",
        "P8",
        "P9",
        "P9.lag",
        "P9.paced",
        "P11",
        "P10",
        "P12",
        "P15",
        "P16",
        "GC",
        "M5.1m",
        "M5.4m",
        "M5.16m",
        "M6.1m",
    }
