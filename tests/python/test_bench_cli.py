"""`tailrace bench` as a user meets it, with works that take no time."""

import json
from contextlib import contextmanager

import pytest
from tailrace import bench_cli
from tailrace._bench import native, timing


def work(name, answers):
    def engine(answer):
        @contextmanager
        def opened():
            yield timing.Op(lambda: answer)

        return opened

    return timing.Work(name, "a thing", "us", 1, {engine_: engine(a) for engine_, a in answers.items()})


@pytest.fixture
def works(monkeypatch):
    given = [work("P1", {"tailrace": 1, "pool": 1}), work("P5", {"tailrace": 1, "pool": 1})]
    monkeypatch.setattr(timing, "all_works", lambda: given)
    monkeypatch.setattr(bench_cli, "_QUICK_BUDGET_S", 0.0)
    return given


def test_quick_prints_a_table_and_writes_the_rows(works, capsys, tmp_path):
    path = tmp_path / "rows.json"
    assert bench_cli.main(["--quick", "--json", str(path)]) == 0
    out = capsys.readouterr()
    assert "median" in out.out
    assert "pool" in out.out
    assert "measuring P1" in out.err
    assert [row["id"] for row in json.loads(path.read_text())] == ["P1", "P5"]


def test_only_the_rows_that_are_named_run(works, capsys):
    assert bench_cli.main(["--quick", "--only", "P5"]) == 0
    assert "P1" not in capsys.readouterr().out


def test_an_unknown_row_is_refused_with_the_names_there_are(works, capsys):
    with pytest.raises(SystemExit):
        bench_cli.main(["--quick", "--only", "Q7"])
    assert "no row is called 'Q7'; there are P1, P5" in capsys.readouterr().err


def test_a_wrong_answer_is_an_error_exit(monkeypatch, works, capsys):
    works.append(work("P6", {"tailrace": 1, "pool": 2}))
    assert bench_cli.main(["--quick"]) == 1
    assert "P6: pool answered 2, expected 1" in capsys.readouterr().err


def test_the_engines_run_in_turn():
    order = []

    def engine(name):
        @contextmanager
        def opened():
            yield timing.Op(lambda: order.append(name))

        return opened

    given = timing.Work("P1", "w", "us", None, {name: engine(name) for name in ("tailrace", "pool")})
    timing.measure(given, 3, 0.0, lambda _text: None)
    assert order == ["tailrace", "pool"] * 4


def test_native_without_cmake_names_the_extra(monkeypatch, capsys):
    monkeypatch.setattr(native, "search_path", lambda: "")
    assert bench_cli.main(["native"]) == 1
    error = capsys.readouterr().err
    assert "no CMake found" in error
    assert 'pip install "tailrace[bench]"' in error


def test_native_without_a_compiler_says_what_to_install(monkeypatch, tmp_path, capsys):
    cmake = tmp_path / "cmake"
    cmake.write_text("#!/bin/sh\n")
    cmake.chmod(0o755)
    monkeypatch.setattr(native, "search_path", lambda: str(tmp_path))
    monkeypatch.delenv("CXX", raising=False)
    assert bench_cli.main(["native"]) == 1
    error = capsys.readouterr().err
    assert "no C++ compiler found (c++, g++, clang++)" in error
    assert 'pip install "tailrace[bench]"' in error


def test_an_unknown_native_work_is_refused_before_anything_is_built(capsys):
    with pytest.raises(SystemExit):
        bench_cli.main(["native", "--only", "fib"])
    assert "no native work is called 'fib'; there are alloc_buffer, alloc_cross" in capsys.readouterr().err


def test_the_cache_folder_follows_xdg_and_the_version(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(native, "sources", lambda: tmp_path / "sources")
    import tailrace

    assert native.cache_folder().parent == tmp_path / "tailrace" / f"bench-{tailrace.__version__}"
