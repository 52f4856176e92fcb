"""The steps of the recommender: the answers make sense, and are the same each time."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

import numpy as np
import pytest
from tailrace.demos import catalog, steps, traffic


def ask(recommender: steps.Recommender, user: int, title: str) -> tuple[steps.Profile, list[dict[str, Any]]]:
    viewing = recommender.shop.titles.index(title)
    line = json.dumps({"user": user, "viewing": viewing, "count": 10})
    reader = recommender.profile(recommender.parse(line))
    return reader, json.loads(recommender.answer(line))["books"]


def test_the_shop_has_ten_thousand_real_books(recommender: steps.Recommender) -> None:
    shop = recommender.shop
    place = shop.titles.index("To Kill a Mockingbird")
    assert len(shop.titles) == 10_000
    assert (shop.bylines[place], shop.years[place], shop.languages[place]) == ("Harper Lee", 1960, "eng")
    assert int(shop.ratings.sum()) == 596_873_216
    assert shop.vectors.shape == (10_000, 32)
    assert np.allclose(np.linalg.norm(shop.vectors, axis=1), 1.0, atol=1e-5)


def test_answers_are_the_same_each_time(recommender: steps.Recommender, lines: list[str]) -> None:
    first = [recommender.answer(line) for line in lines[:40]]
    assert first == [recommender.answer(line) for line in lines[:40]]
    again = steps.Recommender(catalog.load(seed=0))
    assert first == [again.answer(line) for line in lines[:40]]


def test_another_seed_makes_other_readers_and_other_requests(recommender: steps.Recommender) -> None:
    other = catalog.load(seed=1)
    assert not np.array_equal(other.shelves, recommender.shop.shelves)
    assert traffic.requests(other, 20, seed=1) != traffic.requests(other, 20, seed=0)


def test_an_answer_has_ten_new_books_and_at_most_two_of_an_author(
    recommender: steps.Recommender, lines: list[str]
) -> None:
    full = 0
    for line in lines:
        reader = recommender.profile(recommender.parse(line))
        books = json.loads(recommender.answer(line))["books"]
        read = {recommender.shop.titles[book] for book in reader.read}
        assert books
        assert len({(book["title"], book["author"]) for book in books}) == len(books)
        assert not {book["title"] for book in books} & read - _titles_twice(recommender)
        assert max(Counter(book["author"] for book in books).values()) <= 2
        full += len(books) == 10
    assert full >= 0.95 * len(lines)


def _titles_twice(recommender: steps.Recommender) -> set[str]:
    return {title for title, times in Counter(recommender.shop.titles).items() if times > 1}


def test_a_reader_of_a_series_is_shown_more_of_its_author(recommender: steps.Recommender) -> None:
    shop = recommender.shop
    author = shop.authors[shop.titles.index("Harry Potter and the Chamber of Secrets (Harry Potter, #2)")]
    shown = 0
    for user in range(40):
        reader, books = ask(recommender, user, "Harry Potter and the Chamber of Secrets (Harry Potter, #2)")
        assert author in reader.liked
        shown += any(book["author"] == shop.bylines[shop.by_author[author][0]] for book in books)
    assert shown >= 30


def test_the_nearest_vectors_of_a_book_are_of_its_kind(recommender: steps.Recommender) -> None:
    shop = recommender.shop
    place = shop.titles.index("Pride and Prejudice")
    nearest = np.argsort(-(shop.vectors @ shop.vectors[place]))[1:6].tolist()
    assert sum(shop.bylines[book] == "Jane Austen" for book in nearest) >= 4


def test_popular_books_are_of_the_readers_language_and_time(recommender: steps.Recommender) -> None:
    reader, _ = ask(recommender, 3, "1984")
    shop = recommender.shop
    proposed = recommender.popular(reader)
    assert len(proposed) == 60
    assert {shop.languages[book] for book in proposed} == {"eng"}
    assert {shop.eras[book] for book in proposed} == {reader.era}
    readers = shop.ratings.sum(1)[proposed]
    assert np.all(np.diff(readers) <= 0)


def test_merge_names_each_book_once_with_all_who_proposed_it(recommender: steps.Recommender) -> None:
    reader, _ = ask(recommender, 0, "1984")
    found = recommender.merge(reader, [5, 6], [6, 7], [5, 6, 8])
    assert dict(zip(found.books.tolist(), found.sources.tolist(), strict=True)) == {
        5: steps.POPULAR | steps.NEIGHBOUR,
        6: steps.POPULAR | steps.AUTHOR | steps.NEIGHBOUR,
        7: steps.AUTHOR,
        8: steps.NEIGHBOUR,
    }


def test_the_network_is_a_small_float32_one_and_ranks_better_than_chance(
    recommender: steps.Recommender,
) -> None:
    net = recommender.shop.weights
    assert {name: (value.shape, value.dtype.name) for name, value in net.items()} == {
        "w1": ((64, 32), "float32"),
        "b1": ((32,), "float32"),
        "w2": ((32,), "float32"),
        "b2": ((), "float32"),
    }
    shop, better = recommender.shop, []
    for user in range(200):
        reader = recommender.profile(steps.Request(user, int(shop.shelves[user, 0]), 10))
        proposals = (
            recommender.popular(reader),
            recommender.same_authors(reader),
            recommender.neighbours(reader),
        )
        found = recommender.merge(reader, *proposals)
        scores = recommender.score(recommender.features(reader, found))
        assert scores.dtype == np.float32
        assert scores.shape == found.books.shape
        # More readers have read what scores well: it has learnt something of the world.
        popularity = np.log10(shop.ratings.sum(1)[found.books])
        better.append(float(np.corrcoef(scores, popularity)[0, 1]))
    assert np.nanmean(better) > 0.1


@pytest.mark.parametrize(
    ("line", "teaches"),
    [
        ('{"user": 5000, "viewing": 1}', "readers are numbered 0 to 1023"),
        ('{"user": 1, "viewing": -1}', "books are numbered 0 to 9999"),
        ('{"user": 1, "viewing": 1, "count": 0}', "1 to 20 books"),
    ],
)
def test_a_request_out_of_range_is_told_the_range(
    recommender: steps.Recommender, line: str, teaches: str
) -> None:
    with pytest.raises(ValueError, match=teaches):
        recommender.parse(line)


def test_a_step_changes_nothing_that_another_step_sees(
    recommender: steps.Recommender, lines: list[str]
) -> None:
    bodies = recommender.steps()
    for line in lines[:20]:
        values: dict[str, Any] = {"line": line}
        for name, needs in steps.GRAPH.items():
            values[name] = bodies[name](*[values[need] for need in needs])
        before = {name: repr(value) for name, value in values.items()}
        for name, needs in steps.GRAPH.items():
            bodies[name](*[values[need] for need in needs])
        assert before == {name: repr(value) for name, value in values.items()}
        assert values["respond"] == recommender.answer(line)
