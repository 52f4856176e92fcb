"""The arithmetic and the shape of what `tailrace bench` prints and writes."""

import json

import pytest
from tailrace._bench import native, rows, timing
from tailrace._bench.rows import Row

KEYS = {"id", "work", "tailrace", "rivals", "unit", "ratio_to_best"}


def latency(**values):
    return Row("P5", "diamond", "us", {name: list(passes) for name, passes in values.items()})


def test_a_lower_time_is_a_ratio_above_one():
    row = latency(tailrace=[2.0], pool=[100.0], loop=[30.0])
    assert row.ratio_to("pool") == pytest.approx(50)
    assert row.best_rival() == "loop"
    assert row.to_json()["ratio_to_best"] == pytest.approx(15)


def test_a_higher_rate_is_a_ratio_above_one():
    row = Row("P6", "diamond", "/s", {"tailrace": [300e3], "pool": [6e3], "loop": [600e3]})
    assert row.ratio_to("pool") == pytest.approx(50)
    assert row.best_rival() == "loop"
    assert row.to_json()["ratio_to_best"] == pytest.approx(0.5)


def test_a_row_quotes_the_median_and_knows_the_best_pass():
    row = latency(tailrace=[1.0, 9.0, 2.0], pool=[10.0, 30.0, 20.0])
    assert (row.median("tailrace"), row.best("tailrace")) == (2.0, 1.0)
    assert row.ratio_to("pool") == pytest.approx(10)
    assert Row("P6", "w", "/s", {"tailrace": [1.0, 9.0, 2.0]}).best("tailrace") == 9.0


def test_the_plain_call_is_shown_and_is_no_rival():
    row = Row("P5", "diamond", "us", {"tailrace": [2.0], "pool": [4.0], rows.PLAIN: [0.5]})
    assert row.rivals() == ["pool"]
    assert row.to_json()["ratio_to_best"] == pytest.approx(2)
    assert rows.PLAIN in rows.table([row])


def test_two_idle_engines_are_equal_and_not_infinitely_apart():
    row = Row("N11", "idle", "CPU s", {"tailrace": [0.0], "pool": [0.0015]})
    assert row.to_json()["ratio_to_best"] == 1.0
    assert Row("N11", "idle", "CPU s", {"tailrace": [0.0], "pool": [9.4]}).ratio_to("pool") == pytest.approx(
        940
    )


def test_a_row_without_rivals_has_no_ratio():
    assert latency(tailrace=[1.0]).to_json()["ratio_to_best"] is None


def test_the_json_is_a_list_of_rows_with_the_documented_keys(tmp_path):
    path = tmp_path / "rows.json"
    rows.write_json(path, [latency(tailrace=[2.0], pool=[100.0])])
    [row] = json.loads(path.read_text())
    assert set(row) == KEYS
    assert row["rivals"] == {"pool": 100.0}
    assert rows.row_from_json(row).to_json() == row


def test_a_row_with_a_missing_key_is_refused_by_name():
    with pytest.raises(ValueError, match="without unit, ratio_to_best"):
        rows.row_from_json({"id": "P1", "work": "w", "tailrace": 1, "rivals": {}})


def test_the_table_ranks_the_best_rival_first():
    lines = rows.table([latency(tailrace=[2.0], pool=[100.0], loop=[30.0])]).splitlines()
    assert [line.split()[-1] for line in lines] == ["x", "us", "15", "50"]


def test_lines_of_native_benches_become_rows_of_the_goals():
    found = {}
    line = '{"work": "chain", "engine": "%s", "unit": "ns/node", "value": %s}\n'
    native.add_lines(found, line % ("tailrace", 6.0) + line % ("oneTBB", 36.0) + line % ("serial", 2.0))
    native.add_lines(found, line % ("tailrace", 8.0))
    assert found["N3"].values == {"tailrace": [6.0, 8.0], "oneTBB": [36.0], rows.PLAIN: [2.0]}


def test_rows_are_chosen_by_name_with_their_variants():
    works = [timing.Work(name, "w", "us", 1, {}) for name in ("P1", "P1.cold", "P15")]
    assert [work.id for work in timing.chosen(works, "P1")] == ["P1", "P1.cold"]
    with pytest.raises(ValueError, match=r"no row is called 'P2'; there are P1, P1\.cold, P15"):
        timing.chosen(works, "P2")
