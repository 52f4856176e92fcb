"""The shop of the demo: 10,000 real books, their vectors, and readers drawn from real rating counts."""

from __future__ import annotations

import csv
import gzip
import io
import re
from collections import defaultdict
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Ints = NDArray[np.intp]

USERS = 1024
SHELF = 8
NEIGHBOURS = 24
ERA_STARTS = (1900, 1950, 1970, 1980, 1990, 2000, 2005, 2010)
_ENGLISH = {"", "en", "eng", "en-US", "en-GB", "en-CA"}
_SERIES = re.compile(r"\s*\(([^()]*?),?\s*#[^()]*\)")


@dataclass(frozen=True)
class Catalog:
    """Books, readers and the indices that the candidate generators read; nothing in it is ever changed."""

    titles: list[str]
    bylines: list[str]  # who a reader would name: the first author
    years: list[int]
    languages: list[str]
    eras: list[int]
    authors: list[int]  # of each book, the first author's number
    author_of: Ints  # the same as arrays, for many books at once
    era_of: Ints
    language_of: Ints
    language_numbers: dict[str, int]
    vectors: Floats  # (books, 32), unit length
    traits: Floats  # (books, 20), what is known of a book whoever asks
    by_author: dict[int, list[int]]  # most read first
    by_shelf: dict[tuple[str, int], list[int]]  # (language, era), most read first
    by_language: dict[str, list[int]]
    ratings: NDArray[np.int64]  # (books, 5), how many readers gave 1 to 5 stars
    shelves: Ints  # (users, 8), what each reader has read
    stars: Floats  # (users, 8), 1.0 to 5.0
    weights: dict[str, Floats]  # of the 64-32-1 scoring network


def open_data(name: str) -> io.BytesIO:
    """Return a data file of the package as a stream."""
    return io.BytesIO(files("tailrace.demos").joinpath("data", name).read_bytes())


def load_arrays(name: str) -> dict[str, NDArray[Any]]:
    """Return the arrays of an `.npz` file of the package; pickles are refused."""
    with np.load(open_data(name), allow_pickle=False) as arrays:
        return {key: arrays[key] for key in arrays.files}


def load(seed: int = 0) -> Catalog:
    """Read the shipped books and draw the readers.

    Args:
        seed: decides which readers there are, and what they read and rated.
    """
    with gzip.open(open_data("books.csv.gz"), "rt", encoding="utf-8", newline="") as text:
        rows = list(csv.DictReader(text))
    packed = load_arrays("vectors.npz")
    return build(rows, packed["vectors"].astype(np.float32), load_arrays("mlp.npz"), seed)


def build(rows: list[dict[str, str]], vectors: Floats, weights: dict[str, Floats], seed: int) -> Catalog:
    """Make the shop of rows as in `books.csv.gz` and of vectors of any length."""
    vectors = vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-9)
    ratings = np.array([[int(row[f"ratings_{star}"]) for star in range(1, 6)] for row in rows], np.int64)
    readers = ratings.sum(1)
    years = [int(row["year"]) for row in rows]
    eras = np.searchsorted(ERA_STARTS, years, side="right").tolist()
    languages = ["eng" if row["language"] in _ENGLISH else row["language"] for row in rows]
    bylines = [row["authors"].split(",")[0].strip() for row in rows]
    numbers: dict[str, int] = {}
    authors = [numbers.setdefault(name, len(numbers)) for name in bylines]
    codes = {name: code for code, name in enumerate(sorted(set(languages)))}
    by_author: dict[int, list[int]] = defaultdict(list)
    by_shelf: dict[tuple[str, int], list[int]] = defaultdict(list)
    by_language: dict[str, list[int]] = defaultdict(list)
    for book in np.argsort(-readers, kind="stable").tolist():
        by_author[authors[book]].append(book)
        by_shelf[languages[book], eras[book]].append(book)
        by_language[languages[book]].append(book)
    shelves, stars = _readers(
        ratings=ratings,
        languages=languages,
        authors=authors,
        by_author=by_author,
        by_shelf=by_shelf,
        eras=eras,
        vectors=vectors,
        seed=seed,
    )
    return Catalog(
        titles=[row["title"] for row in rows],
        bylines=bylines,
        years=years,
        languages=languages,
        eras=eras,
        authors=authors,
        author_of=np.array(authors, np.intp),
        era_of=np.array(eras, np.intp),
        language_of=np.array([codes[language] for language in languages], np.intp),
        language_numbers=codes,
        vectors=np.ascontiguousarray(vectors, np.float32),
        traits=_traits(rows, ratings=ratings, years=years, eras=eras, languages=languages, authors=authors),
        by_author=dict(by_author),
        by_shelf=dict(by_shelf),
        by_language=dict(by_language),
        ratings=ratings,
        shelves=shelves,
        stars=stars,
        weights={name: np.asarray(value, np.float32) for name, value in weights.items()},
    )


def _traits(
    rows: list[dict[str, str]],
    *,
    ratings: NDArray[np.int64],
    years: list[int],
    eras: list[int],
    languages: list[str],
    authors: list[int],
) -> Floats:
    """Describe each book by 20 numbers of about unit size."""
    share = ratings / ratings.sum(1, keepdims=True)
    mean = share @ np.arange(1.0, 6.0)
    readers = np.log10(ratings.sum(1))
    written = np.bincount(authors)[authors]
    columns = [
        _unit(readers),
        _unit(mean),
        _unit(-(share * np.log(share + 1e-9)).sum(1)),
        _unit(share[:, 4]),
        _unit(share[:, 0]),
        np.clip((np.asarray(years) - 1980) / 50, -3, 1),
        np.asarray([language == "eng" for language in languages], float),
        np.asarray([bool(_SERIES.search(row["title"])) for row in rows], float),
        np.log1p(written) / 2,
        _unit(np.log10(np.bincount(authors, ratings.sum(1))[authors])),
        np.asarray([row["authors"].count(",") > 0 for row in rows], float),
        *(np.asarray(eras) == era for era in range(len(ERA_STARTS) + 1)),
    ]
    return np.ascontiguousarray(np.stack(columns, axis=1), np.float32)


def _unit(column: NDArray[Any]) -> NDArray[np.float64]:
    return np.asarray((column - column.mean()) / column.std(), np.float64)


def _readers(
    *,
    ratings: NDArray[np.int64],
    languages: list[str],
    authors: list[int],
    by_author: dict[int, list[int]],
    by_shelf: dict[tuple[str, int], list[int]],
    eras: list[int],
    vectors: Floats,
    seed: int,
) -> tuple[Ints, Floats]:
    """Draw readers: a first book as often as it is really read, then more of its author, kind and time."""
    rng = np.random.default_rng([seed, 0x5EED])
    readers = ratings.sum(1)
    reach = np.cumsum(readers)
    first = np.searchsorted(reach, rng.random(USERS) * reach[-1], side="right")
    # Fewer than one rating in a hundred is of a book in another language; they deserve to be seen here.
    foreign = np.flatnonzero(np.asarray(languages) != "eng")
    if foreign.size:
        first[::16] = rng.choice(foreign, first[::16].size)
    near = np.argpartition(vectors[first] @ vectors.T, -NEIGHBOURS, axis=1)[:, -NEIGHBOURS:]
    shelves = np.empty((USERS, SHELF), np.intp)
    for user in range(USERS):
        start = int(first[user])
        pools = [
            by_author[authors[start]],
            near[user].tolist(),
            by_shelf[languages[start], eras[start]][:200],
        ]
        shelf = [start]
        while len(shelf) < SHELF:
            pool = pools[int(rng.integers(len(pools)))]
            # Squaring favours the front of a list, where the widely read books stand.
            book = (
                pool[int(rng.random() ** 2 * len(pool))]
                if rng.random() < 0.9
                else int(rng.integers(len(authors)))
            )
            if book not in shelf:
                shelf.append(book)
        shelves[user] = shelf
    share = np.cumsum(ratings[shelves], axis=2) / readers[shelves][..., None]
    stars = 1 + (rng.random((USERS, SHELF, 1)) > share).sum(2)
    return shelves, stars.astype(np.float32)
