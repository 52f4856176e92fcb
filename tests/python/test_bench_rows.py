"""The arithmetic and the shape of what `tailrace bench` prints and writes."""

import json

import pytest
from tailrace._bench import alloc_rows, curves, native, rows, timing
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


LINE = '{"work": "alloc_buffer.one.1m.t1", "engine": "%s", "unit": "ns", "value": %s}\n'
CURVE = '{"curve": "alloc_rss.rss.t1", "engine": "%s", "unit": "MiB", "points": [[0.0, 1.0], [0.02, 9.5]]}\n'


def test_what_stands_in_for_malloc_is_named_by_who_preloaded_it():
    found = {}
    native.add_lines(found, LINE % ("tailrace", 10.0) + LINE % ("malloc", 900.0))
    native.add_lines(found, LINE % ("mimalloc", 200.0), instead="mimalloc3")
    assert found["M3.one.1m.t1"].values == {"tailrace": [10.0], "malloc": [900.0], "mimalloc3": [200.0]}


def test_a_preload_that_did_not_take_is_an_error_and_no_figure():
    with pytest.raises(
        native.CannotBuild, match="jemalloc was preloaded, and malloc is still the C library's"
    ):
        native.add_lines({}, LINE % ("malloc", 900.0), instead="jemalloc")


def test_a_rival_that_is_not_installed_is_shown_as_absent():
    found = {}
    native.add_lines(found, LINE % ("tailrace", 10.0))
    native.mark_absent(found, LINE % ("malloc", 900.0) + CURVE % "malloc", "jemalloc")
    [row] = found.values()
    assert row.rivals() == []
    assert rows.table([row]).splitlines()[-1].split() == ["jemalloc", "absent"]


def test_curves_are_kept_apart_from_figures():
    found, curves = {}, {}
    native.add_lines(found, CURVE % "malloc", instead=None, curves=curves)
    native.add_lines(found, CURVE % "jemalloc", instead="jemalloc", curves=curves)
    assert found == {}
    assert curves == {
        "alloc_rss.rss.t1": {"malloc": [[0.0, 1.0], [0.02, 9.5]], "jemalloc": [[0.0, 1.0], [0.02, 9.5]]}
    }


def test_libraries_to_preload_can_be_given_by_name_and_path(monkeypatch):
    monkeypatch.setattr(alloc_rows, "find_library", lambda name: f"lib{name}.so" if "je" in name else None)
    monkeypatch.setattr(alloc_rows.sys, "platform", "linux")
    monkeypatch.setenv(alloc_rows.PRELOAD_VARIABLE, "snmalloc=x/libsn.so")
    assert alloc_rows.preloads() == {
        "mimalloc": None,
        "jemalloc": "libjemalloc.so",
        "tcmalloc": None,
        "snmalloc": "x/libsn.so",
    }
    monkeypatch.setenv(alloc_rows.PRELOAD_VARIABLE, "snmalloc")
    with pytest.raises(ValueError, match='must be "name=path,name=path"'):
        alloc_rows.preloads()


def test_every_memory_row_has_a_title_of_its_own():
    titles = [title for _, title in alloc_rows.ROWS.values()]
    assert len(alloc_rows.ROWS) == len({row for row, _ in alloc_rows.ROWS.values()})
    assert all(
        row.startswith(("M1.", "M2.", "M3.", "M4.", "M7.", "M8.")) for row, _ in alloc_rows.ROWS.values()
    )
    assert all(titles)


def test_nothing_measured_over_time_is_nothing_to_draw(tmp_path):
    with pytest.raises(curves.CannotDraw, match="alloc_rss"):
        curves.draw({}, tmp_path / "x.png")


def test_a_picture_without_matplotlib_says_what_to_install(monkeypatch, tmp_path):
    monkeypatch.setattr(curves.util, "find_spec", lambda _name: None)
    with pytest.raises(curves.CannotDraw, match=r"tailrace\[plot\]"):
        curves.draw({"w": {"malloc": [(0.0, 1.0)]}}, tmp_path / "x.png")


def test_curves_become_a_png(tmp_path):
    pytest.importorskip("matplotlib")
    path = tmp_path / "x.png"
    curves.draw({"w": {"malloc": [(0.0, 1.0), (1.0, 5.0)], "tailrace": [(0.0, 1.0), (1.0, 2.0)]}}, path)
    assert path.read_bytes().startswith(b"\x89PNG")
