"""The data in the package: small, attributed, free of pickles, and made by the script beside it."""

from __future__ import annotations

import gzip
import os
from importlib.resources import files
from pathlib import Path

import numpy as np
import pytest
from tailrace.demos import catalog, make_data, traffic

DATA = files("tailrace.demos").joinpath("data")


def test_the_data_are_small_and_each_file_names_its_licence() -> None:
    sizes = {entry.name: len(entry.read_bytes()) for entry in DATA.iterdir() if entry.is_file()}
    assert sum(sizes.values()) < 1_500_000
    books = DATA.joinpath("BOOKS-LICENSE.txt").read_text("utf-8")
    trace = DATA.joinpath("TRACE-LICENSE.txt").read_text("utf-8")
    assert "CC BY-SA 4.0" in books
    assert "goodbooks-10k" in books
    assert "creativecommons.org/licenses/by/4.0" in trace
    assert "Splitwise" in trace
    named = books + trace
    assert [name for name in sizes if not name.endswith((".txt", ".md")) and name not in named] == []


@pytest.mark.parametrize("name", ["vectors.npz", "mlp.npz", "arrivals.npz"])
def test_arrays_load_without_pickle(name: str) -> None:
    with np.load(catalog.open_data(name), allow_pickle=False) as arrays:
        assert all(arrays[key].dtype != object for key in arrays.files)


def test_the_trace_is_as_bursty_as_the_real_one() -> None:
    gaps = np.array(traffic.trace_gaps_s())
    assert len(gaps) == 8_818
    assert gaps.sum() == pytest.approx(3435.95, abs=0.1)
    assert gaps.std() / gaps.mean() == pytest.approx(13.15, abs=0.05)


def test_arrivals_keep_the_rhythm_and_have_the_rate_that_was_asked_for() -> None:
    gaps = traffic.trace_gaps_s()
    due = traffic.arrivals(gaps, 20_001, per_s=500.0)
    assert due[0] == 0.0
    assert due[-1] == pytest.approx(40.0)
    assert np.all(np.diff(due) >= 0)
    assert np.diff(due)[:50] / np.diff(due)[0] == pytest.approx(np.array(gaps[:50]) / gaps[0])
    assert traffic.arrivals(gaps, 1, per_s=500.0) == [0.0]


def test_the_script_makes_the_shipped_files_from_the_raw_ones() -> None:
    raw = os.environ.get("TAILRACE_RAW_DATA")
    if not raw:
        pytest.skip("TAILRACE_RAW_DATA does not name the folder with books/ and azure_llm_2023/")
    rows = make_data.trim(Path(raw, "books", "books.csv"))
    with gzip.open(catalog.open_data("books.csv.gz"), "rt", encoding="utf-8", newline="") as text:
        assert text.readline() == ",".join(make_data.COLUMNS) + "\n"
        assert sum(1 for _ in text) >= len(rows) == 10_000
    packed = np.clip(np.round(make_data.embed(rows) * 127), -127, 127)
    assert np.abs(packed - catalog.load_arrays("vectors.npz")["vectors"]).max() <= 1
    gaps = make_data.gaps_us(Path(raw, "azure_llm_2023", "AzureLLMInferenceTrace_code.csv"))
    assert np.array_equal(gaps, catalog.load_arrays("arrivals.npz")["gaps_us"])


def test_the_networks_training_finds_a_rule_that_is_there() -> None:
    rng = np.random.default_rng(0)
    inputs = rng.standard_normal((2048, 64)).astype(np.float32)
    answers = (inputs[:, 0] * inputs[:, 1] > 0).astype(np.float32)
    net = make_data.train(inputs, answers, epochs=60)
    scores = np.maximum(inputs @ net["w1"] + net["b1"], 0) @ net["w2"] + net["b2"]
    assert make_data.ranking_quality(scores, answers) > 0.9
    assert make_data.ranking_quality(answers, answers) == 1.0
