"""The account of collections: histograms, what counts as inside a request, when a full pass is due."""

import random

import pytest
from tailrace._pauses import PauseHistogram, Pauses

MS = 1_000_000


@pytest.fixture
def draw() -> random.Random:
    seed = random.randrange(1 << 32)
    print(f"seed {seed}")
    return random.Random(seed)


def test_a_quantile_is_told_at_most_a_sixteenth_too_long(draw: random.Random) -> None:
    for _ in range(50):
        pauses = [int(draw.lognormvariate(12, 3)) for _ in range(draw.randrange(1, 400))]
        histogram = PauseHistogram()
        for pause in pauses:
            histogram.record(pause)
        pauses.sort()
        for quantile in (0.01, 0.5, 0.9, 0.99, 1.0):
            exact = pauses[max(-int(-quantile * len(pauses) // 1), 1) - 1]
            assert exact <= histogram.quantile_ns(quantile) <= exact * 17 / 16 + 1
        assert (histogram.count, histogram.total_ns, histogram.worst_ns) == (
            len(pauses),
            sum(pauses),
            pauses[-1],
        )


def test_buckets_cover_every_pause_once_and_in_order(draw: random.Random) -> None:
    histogram = PauseHistogram()
    pauses = [0, 1, 15, 16, 31, 32, 33] + [draw.randrange(1 << draw.randrange(1, 40)) for _ in range(500)]
    for pause in pauses:
        histogram.record(pause)
    buckets = histogram.buckets()
    uppers = [upper for upper, _ in buckets]
    assert uppers == sorted(set(uppers))
    assert sum(count for _, count in buckets) == len(pauses)
    for upper, _ in buckets:
        assert sum(pause <= upper for pause in pauses) == sum(n for u, n in buckets if u <= upper)


def test_a_pause_beyond_the_last_bucket_is_counted_in_it() -> None:
    histogram = PauseHistogram()
    histogram.record(1 << 50)
    assert histogram.count == sum(count for _, count in histogram.buckets()) == 1
    assert histogram.worst_ns == 1 << 50


def test_an_empty_histogram_has_no_quantile() -> None:
    assert PauseHistogram().quantile_ns(0.99) == 0
    assert PauseHistogram().buckets() == []


def test_inside_requests_and_while_idle_have_worst_pauses_of_their_own() -> None:
    pauses = Pauses(10_000)
    pauses.record(0, 3 * MS, 10, 0, True)
    pauses.record(2, 90 * MS, 20, 1, False)
    pauses.record(0, 1 * MS, 30, 0, True)
    assert (pauses.worst_inside_ns, pauses.worst_idle_ns) == (3 * MS, 90 * MS)
    young, middle, full = pauses.generations()
    assert (young.collections, young.inside_requests, young.collected) == (2, 2, 40)
    assert (middle.collections, middle.worst_s, middle.histogram) == (0, 0.0, ())
    assert (full.collections, full.inside_requests, full.uncollectable) == (1, 0, 1)
    assert full.worst_s == pytest.approx(0.09)


def test_survivors_count_as_the_share_of_the_pause_that_walked_them() -> None:
    pauses = Pauses(10_000)
    pauses.record(0, 1000, 7_500, 0, True)
    assert pauses.kept_ns == 250
    pauses.record(0, 1000, 12_000, 0, True)  # more than were allocated since: an older object took them along
    assert pauses.kept_ns == 250
    pauses.record(1, 5000, 0, 0, True)
    assert pauses.kept_ns == 0


def test_a_full_pass_is_due_once_generation_two_has_grown_by_a_quarter_and_while_it_is_short() -> None:
    pauses = Pauses(10_000)
    budget = 5 * MS
    assert not pauses.full_is_due(budget)  # nothing has come to generation 2
    pauses.record(1, 1 * MS, 0, 0, False)
    assert pauses.full_is_due(budget)
    pauses.record(2, 2 * MS, 0, 0, False)
    assert not pauses.full_is_due(budget)
    pauses.record(1, MS // 4, 0, 0, False)
    assert not pauses.full_is_due(budget)  # an eighth
    pauses.record(1, MS // 2, 0, 0, False)
    assert pauses.full_is_due(budget)
    pauses.record(1, 1 * MS, 0, 0, False)  # 2 + 1.75, and half of that again, do not fit into 5
    assert not pauses.full_is_due(budget)
