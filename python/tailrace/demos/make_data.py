"""Make the data files of the demo: `python -m tailrace.demos.make_data BOOKS_CSV TRACE_CSV OUT_DIR`.

Deterministic: the same raw files give the same arrays. Needs NumPy only; takes about ten seconds.
"""

from __future__ import annotations

import argparse
import csv
import gzip
import io
import re
from collections import Counter
from datetime import datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from tailrace.demos import catalog, steps
from tailrace.demos.catalog import Floats

COLUMNS = ["title", "authors", "year", "language", *(f"ratings_{star}" for star in range(1, 6))]
WORD_PARTS = 26
TRAIN_SEEDS = range(1000, 1012)
_STOP_WORDS = frozenset(
    re.findall(
        r"\w+",
        "the and for from with its you your les der die das los volume "
        "book books novel series edition complete "
        "collection trilogy boxed box set story stories tale tales one two three",
    )
)


def trim(raw: Path) -> list[dict[str, str]]:
    """Keep the columns the demo reads; a missing year becomes 2004, the median."""
    with raw.open(encoding="utf-8", newline="") as text:
        rows = list(csv.DictReader(text))
    for row in rows:
        row["year"] = str(int(float(row["original_publication_year"] or 2004)))
        row["language"] = row["language_code"]
    return [{name: row[name] for name in COLUMNS} for row in rows]


def words(row: dict[str, str]) -> dict[str, float]:
    """Return what a book is about: its series, its authors and the telling words of its title."""
    found: dict[str, float] = {}
    series = re.search(r"\(([^()]*?),?\s*#[^()]*\)", row["title"])
    if series:
        found["series " + series.group(1).strip().lower()] = 1.6
    for word in re.findall(r"[^\W\d_]+", re.sub(r"\(.*\)", "", row["title"]).lower()):
        if word not in _STOP_WORDS and len(word) > 2:
            found["word " + word] = 0.7
    for place, author in enumerate(row["authors"].split(",")[:3]):
        found["author " + author.strip()] = 0.6 if place else 1.6
    return found


def embed(rows: list[dict[str, str]]) -> Floats:
    """Give each book 32 numbers: 26 of projected words, 6 of time, language and reception."""
    documents = [words(row) for row in rows]
    frequency = Counter(word for document in documents for word in document)
    known = {word: place for place, word in enumerate(sorted(w for w, n in frequency.items() if n > 1))}
    projection = np.random.default_rng(1).standard_normal((len(known), WORD_PARTS)) / np.sqrt(WORD_PARTS)
    meaning = np.zeros((len(rows), WORD_PARTS))
    for book, document in enumerate(documents):
        for word, weight in document.items():
            if word in known:
                rarity = min(float(np.log(len(rows) / frequency[word])), 6.0) / 6.0
                meaning[book] += projection[known[word]] * weight * rarity
    meaning /= np.linalg.norm(meaning, axis=1, keepdims=True) + 1e-9
    ratings = np.array([[float(row[f"ratings_{star}"]) for star in range(1, 6)] for row in rows])
    share = ratings / ratings.sum(1, keepdims=True)
    years = [float(row["year"]) for row in rows]
    time = np.interp(
        years,
        [0, 1800, 1900, 1950, 1980, 1995, 2005, 2012, 2017],
        [0, 0.05, 0.2, 0.4, 0.55, 0.7, 0.85, 0.95, 1],
    )
    english = np.array([row["language"] in {"", "en", "eng", "en-US", "en-GB", "en-CA"} for row in rows])
    unit = catalog._unit
    side = [
        np.cos(time * np.pi),
        np.sin(time * np.pi),
        unit(share @ np.arange(1.0, 6.0)) * 0.25,
        unit(np.log10(ratings.sum(1))) * 0.15,
        unit(-(share * np.log(share + 1e-9)).sum(1)) * 0.25,
        english - 0.5,
    ]
    vectors = np.hstack([meaning, 0.45 * np.stack(side, axis=1)])
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.asarray(vectors, np.float32)


def examples(rows: list[dict[str, str]], vectors: Floats) -> tuple[Floats, Floats]:
    """Hide a well rated book of each reader, who looks at the first one, and ask which candidate it was."""
    inputs, answers = [], []
    for seed in TRAIN_SEEDS:
        rng = np.random.default_rng(seed)
        shop = catalog.build(rows, vectors, {}, seed)
        ask = steps.Recommender(shop)
        for user in range(catalog.USERS):
            hidden, viewing = int(rng.integers(1, catalog.SHELF)), 0
            book = int(shop.shelves[user, hidden])
            shop.shelves[user, hidden] = shop.shelves[user, viewing]
            reader = ask.profile(steps.Request(user, int(shop.shelves[user, viewing]), 10))
            found = ask.merge(reader, ask.popular(reader), ask.same_authors(reader), ask.neighbours(reader))
            hit = np.flatnonzero(found.books == book)
            if hit.size == 0 or shop.stars[user, hidden] < 4:
                continue
            keep = np.append(rng.choice(np.delete(np.arange(len(found.books)), hit), 20, replace=False), hit)
            inputs.append(ask.features(reader, found)[keep])
            answers.append((found.books[keep] == book).astype(np.float32))
    return np.concatenate(inputs), np.concatenate(answers)


def train(inputs: Floats, answers: Floats, epochs: int = 30) -> dict[str, Floats]:
    """Fit the 64-32-1 network to the log-odds by Adam with weight decay."""
    rng = np.random.default_rng(2)
    net: dict[str, Any] = {
        "w1": rng.standard_normal((64, 32)) / 8.0,
        "b1": np.zeros(32),
        "w2": rng.standard_normal(32) / 6.0,
        "b2": np.zeros(()),
    }
    first = {name: np.zeros_like(value) for name, value in net.items()}
    second = {name: np.zeros_like(value) for name, value in net.items()}
    step = 0
    for epoch in range(epochs):
        rate = 0.003 * (1 - epoch / epochs) + 1e-4
        for batch in np.array_split(rng.permutation(len(inputs)), len(inputs) // 512):
            rows, wanted = inputs[batch], answers[batch]
            hidden = np.maximum(rows @ net["w1"] + net["b1"], 0)
            error = (1 / (1 + np.exp(-(hidden @ net["w2"] + net["b2"]))) - wanted) / len(batch)
            back = np.outer(error, net["w2"]) * (hidden > 0)
            slopes = {"w1": rows.T @ back, "b1": back.sum(0), "w2": hidden.T @ error, "b2": error.sum()}
            step += 1
            for name, slope in slopes.items():
                first[name] += 0.1 * (slope - first[name])
                second[name] += 0.001 * (slope * slope - second[name])
                move = first[name] / (1 - 0.9**step) / (np.sqrt(second[name] / (1 - 0.999**step)) + 1e-8)
                net[name] = net[name] - rate * (move + 0.01 * net[name])
    return {name: np.asarray(value, np.float32) for name, value in net.items()}


def ranking_quality(scores: Floats, answers: Floats) -> float:
    """Return the area under the ROC curve: 0.5 for a guess, 1.0 for never wrong."""
    order = np.empty(len(scores))
    order[np.argsort(scores, kind="stable")] = np.arange(len(scores))
    wanted = int(answers.sum())
    return float((order[answers > 0].sum() - wanted * (wanted - 1) / 2) / (wanted * (len(scores) - wanted)))


def gaps_us(raw: Path) -> np.ndarray[Any, np.dtype[np.uint32]]:
    """Return the times between the arrivals of the trace, in microseconds."""
    with raw.open(encoding="utf-8", newline="") as text:
        times = [datetime.fromisoformat(row["TIMESTAMP"][:26]) for row in csv.DictReader(text)]
    return np.array([round((b - a).total_seconds() * 1e6) for a, b in pairwise(times)], np.uint32)


def main(argv: list[str] | None = None) -> None:
    """Write `books.csv.gz`, `vectors.npz`, `mlp.npz` and `arrivals.npz`."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("books", type=Path, help="books.csv of goodbooks-10k")
    parser.add_argument("trace", type=Path, help="AzureLLMInferenceTrace_code.csv")
    parser.add_argument("out", type=Path, help="folder to write to")
    args = parser.parse_args(argv)
    rows = trim(args.books)
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    (args.out / "books.csv.gz").write_bytes(gzip.compress(text.getvalue().encode(), 9, mtime=0))
    packed = np.clip(np.round(embed(rows) * 127), -127, 127).astype(np.int8)
    np.savez_compressed(args.out / "vectors.npz", vectors=packed)
    np.savez_compressed(args.out / "arrivals.npz", gaps_us=gaps_us(args.trace))
    inputs, answers = examples(rows, packed.astype(np.float32))
    held_out = len(inputs) // 6
    net = train(inputs[held_out:], answers[held_out:])
    np.savez(args.out / "mlp.npz", **net)  # type: ignore[arg-type]
    scores = np.maximum(inputs[:held_out] @ net["w1"] + net["b1"], 0) @ net["w2"] + net["b2"]
    print(
        f"{len(inputs)} examples; held-out ranking quality {ranking_quality(scores, answers[:held_out]):.3f}"
    )


if __name__ == "__main__":
    main()
