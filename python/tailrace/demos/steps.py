"""The ten steps of one recommendation, as plain functions: every engine of the demo runs these same ones."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from tailrace.demos.catalog import Catalog, Floats, Ints

POPULAR = 1
AUTHOR = 2
NEIGHBOUR = 4

# What each step needs; "line" is the text of the request. The order is one in which they may run.
GRAPH: dict[str, tuple[str, ...]] = {
    "parse": ("line",),
    "profile": ("parse",),
    "popular": ("profile",),
    "same_authors": ("profile",),
    "neighbours": ("profile",),
    "merge": ("profile", "popular", "same_authors", "neighbours"),
    "features": ("profile", "merge"),
    "score": ("features",),
    "diversify": ("profile", "merge", "score"),
    "respond": ("profile", "diversify"),
}


class Request(NamedTuple):
    """One question: what should `user`, who looks at the book `viewing`, read next?"""

    user: int
    viewing: int
    wanted: int


class Profile(NamedTuple):
    """What is known of the reader when the candidates are looked for."""

    request: Request
    read: set[int]
    liked: dict[int, float]  # first author -> how much
    language: str
    era: int
    taste: Floats  # (32,), unit length
    generosity: float  # mean of the reader's stars, minus the usual 4


class Found(NamedTuple):
    """The candidates of all generators, each once."""

    books: Ints
    sources: Ints  # POPULAR | AUTHOR | NEIGHBOUR


class Recommender:
    """The steps over one shop. No step changes anything that another can see."""

    def __init__(self, shop: Catalog) -> None:
        self.shop = shop

    def parse(self, line: str) -> Request:
        """Read one line of JSON: `{"user": 7, "viewing": 42, "count": 10}`."""
        asked = json.loads(line)
        user, viewing, count = asked["user"], asked["viewing"], asked.get("count", 10)
        if not 0 <= user < len(self.shop.shelves):
            raise ValueError(f"user is {user}, but readers are numbered 0 to {len(self.shop.shelves) - 1}")
        if not 0 <= viewing < len(self.shop.titles):
            raise ValueError(f"viewing is {viewing}, but books are numbered 0 to {len(self.shop.titles) - 1}")
        if not 1 <= count <= 20:
            raise ValueError(f"count is {count}, but 1 to 20 books can be asked for")
        return Request(user, viewing, count)

    def profile(self, request: Request) -> Profile:
        """Find the reader's language, time, authors and taste from the rated shelf and the book in view."""
        shop = self.shop
        books = shop.shelves[request.user].tolist()
        stars = shop.stars[request.user].tolist()
        generosity = sum(stars) / len(stars) - 4.0
        # A book of three stars says little; the one in view says what is wanted now.
        weights = [given - 2.5 for given in stars]
        books.append(request.viewing)
        weights.append(6.0)
        taste = np.array(weights, np.float32) @ shop.vectors[books]
        taste /= max(float(taste @ taste) ** 0.5, 1e-6)
        liked: dict[int, float] = {}
        languages: dict[str, float] = {}
        for book, weight in zip(books, weights, strict=True):
            author = shop.authors[book]
            liked[author] = liked.get(author, 0.0) + weight
            language = shop.languages[book]
            languages[language] = languages.get(language, 0.0) + max(weight, 0.1)
        return Profile(
            request=request,
            read=set(books),
            liked=liked,
            language=max(languages, key=languages.__getitem__),
            era=shop.eras[request.viewing],
            taste=taste,
            generosity=generosity,
        )

    def popular(self, reader: Profile) -> list[int]:
        """Propose up to 60 books of the reader's language and time that most people read."""
        shelf = self.shop.by_shelf.get((reader.language, reader.era), [])[:72]
        if len(shelf) < 60:
            shelf = [*shelf, *self.shop.by_language[reader.language][: 72 - len(shelf)]]
        return [book for book in shelf if book not in reader.read][:60]

    def same_authors(self, reader: Profile) -> list[int]:
        """Propose up to 40 books by authors that the reader likes, the best liked first."""
        proposed: list[int] = []
        for author in sorted(reader.liked, key=reader.liked.__getitem__, reverse=True):
            if reader.liked[author] <= 0 or len(proposed) >= 40:
                break
            proposed += [book for book in self.shop.by_author[author][:12] if book not in reader.read]
        return proposed[:40]

    def neighbours(self, reader: Profile) -> list[int]:
        """Propose the 64 books whose vectors lie nearest to the reader's taste."""
        closeness = self.shop.vectors @ reader.taste
        # Partitioning values and comparing is half the work of partitioning places.
        cut = np.partition(closeness, -64)[-64]
        nearest: list[int] = np.flatnonzero(closeness >= cut).tolist()
        return [book for book in nearest if book not in reader.read]

    def merge(
        self, reader: Profile, popular: list[int], same_authors: list[int], neighbours: list[int]
    ) -> Found:
        """Put the proposals together, each book once, with a note of who proposed it."""
        sources = dict.fromkeys(popular, POPULAR)
        for book in same_authors:
            sources[book] = sources.get(book, 0) | AUTHOR
        for book in neighbours:
            sources[book] = sources.get(book, 0) | NEIGHBOUR
        size = len(sources)
        return Found(np.fromiter(sources, np.intp, size), np.fromiter(sources.values(), np.intp, size))

    def features(self, reader: Profile, found: Found) -> Floats:
        """Describe each candidate, for this reader, by 64 numbers."""
        shop = self.shop
        books, sources = found
        rows = np.empty((len(books), 64), np.float32)
        vectors = shop.vectors[books]
        np.multiply(vectors, reader.taste, out=rows[:, :32])
        rows[:, 32:52] = shop.traits[books]
        rows[:, 52] = vectors @ reader.taste
        rows[:, 53] = vectors @ shop.vectors[reader.request.viewing]
        rows[:, 54:57] = _FLAGS[sources]
        liked = reader.liked
        rows[:, 57] = [liked.get(author, 0.0) for author in shop.author_of[books].tolist()]
        rows[:, 58] = shop.author_of[books] == shop.authors[reader.request.viewing]
        rows[:, 59] = np.abs(shop.era_of[books] - reader.era)
        rows[:, 60] = shop.language_of[books] == shop.language_numbers[reader.language]
        rows[:, 61] = reader.generosity
        rows[:, 62] = reader.era / 8.0
        rows[:, 63] = len(books) / 160.0
        return rows

    def score(self, rows: Floats) -> Floats:
        """Say how likely each candidate is to be read and liked, as a log-odds (64-32-1, float32)."""
        net = self.shop.weights
        hidden = rows @ net["w1"]
        hidden += net["b1"]
        np.maximum(hidden, 0.0, out=hidden)
        return np.asarray(hidden @ net["w2"] + net["b2"])

    def diversify(self, reader: Profile, found: Found, scores: Floats) -> list[tuple[int, int]]:
        """Choose books that are good and unlike each other, at most two of one author, best first."""
        top = np.argsort(-scores, kind="stable")[:48]
        books = found.books[top]
        vectors = self.shop.vectors[books]
        alike = (vectors @ vectors.T) * np.float32(2.0)
        worth = scores[top]
        listed, sources = books.tolist(), found.sources[top].tolist()
        penalty = np.zeros(len(listed), np.float32)
        per_author: dict[int, int] = {}
        chosen: list[tuple[int, int]] = []
        for _ in range(len(listed)):
            best = int((worth - penalty).argmax())
            worth[best] = -np.inf
            author = self.shop.authors[listed[best]]
            if per_author.get(author, 0) == 2:
                continue
            per_author[author] = per_author.get(author, 0) + 1
            chosen.append((listed[best], sources[best]))
            if len(chosen) == reader.request.wanted:
                break
            np.maximum(penalty, alike[best], out=penalty)
        return chosen

    def respond(self, reader: Profile, chosen: list[tuple[int, int]]) -> str:
        """Write the answer as one line of JSON."""
        shop = self.shop
        books = [
            {
                "title": shop.titles[book],
                "author": shop.bylines[book],
                "year": shop.years[book],
                "because": _REASONS[sources],
            }
            for book, sources in chosen
        ]
        return json.dumps({"user": reader.request.user, "books": books}, ensure_ascii=False)

    def steps(self) -> dict[str, Callable[..., Any]]:
        """Return the functions by name, in an order in which they may run."""
        return {name: getattr(self, name) for name in GRAPH}

    def answer(self, line: str) -> str:
        """Do the whole request here, one step after the other."""
        reader = self.profile(self.parse(line))
        found = self.merge(reader, self.popular(reader), self.same_authors(reader), self.neighbours(reader))
        scores = self.score(self.features(reader, found))
        return self.respond(reader, self.diversify(reader, found, scores))


_FLAGS = np.array([[bits >> place & 1 for place in range(3)] for bits in range(8)], np.float32)
_REASONS = [
    "nobody proposed it",
    "popular in its language and time",
    "by an author you like",
    "popular, and by an author you like",
    "close to your taste",
    "popular, and close to your taste",
    "by an author you like, and close to your taste",
    "popular, by an author you like, and close to your taste",
]
