"""Accuracy, precision, recall and F1, beside scikit-learn's and by hand."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tailrace.kernels.reports import classification_report

CLASSES = st.lists(st.tuples(st.integers(-2, 3), st.integers(-2, 3)), min_size=1, max_size=40)


def test_a_report_of_four_rows_is_what_one_finds_by_hand():
    report = classification_report([0, 0, 1, 2], [0, 1, 1, 1])
    assert report.accuracy == 0.5
    zero, one, two = report.classes
    assert (zero.precision, zero.recall, zero.support) == (1.0, 0.5, 2)
    assert zero.f1 == pytest.approx(2 / 3)
    assert (one.precision, one.recall, one.f1) == (pytest.approx(1 / 3), 1.0, pytest.approx(0.5))
    assert (two.precision, two.recall, two.f1) == (0.0, 0.0, 0.0)
    assert report.weighted.recall == report.accuracy


@settings(max_examples=60, deadline=None)
@given(CLASSES)
def test_it_agrees_with_scikit_learn_for_any_classes(pairs):
    metrics = pytest.importorskip("sklearn.metrics")
    truth, predicted = map(list, zip(*pairs, strict=True))
    ours = classification_report(truth, predicted)
    theirs = metrics.classification_report(truth, predicted, output_dict=True, zero_division=0)
    assert ours.accuracy == pytest.approx(metrics.accuracy_score(truth, predicted))
    rows = {str(c.label): c for c in ours.classes} | {
        "macro avg": ours.macro,
        "weighted avg": ours.weighted,
    }
    for name, row in rows.items():
        wanted = theirs[name]
        assert (row.precision, row.recall, row.f1) == pytest.approx(
            (wanted["precision"], wanted["recall"], wanted["f1-score"])
        )
        assert row.support == wanted["support"]
    assert len(ours.classes) == len(set(truth) | set(predicted))


@given(CLASSES)
def test_the_order_of_rows_does_not_matter_and_exchanging_both_sides_exchanges_precision_and_recall(pairs):
    truth, predicted = map(list, zip(*pairs, strict=True))
    one = classification_report(truth, predicted)
    assert classification_report(truth[::-1], predicted[::-1]) == one
    other = classification_report(predicted, truth)
    assert [(c.recall, c.precision) for c in other.classes] == [(c.precision, c.recall) for c in one.classes]


def test_texts_and_bools_are_classes_and_names_stand_in_the_table():
    report = classification_report(np.array(["no", "yes"]), ["yes", "yes"])
    assert [c.label for c in report.classes] == ["no", "yes"]
    table = str(classification_report([True, False], [True, True], names=["a long name", "b"]))
    assert "a long name" in table
    assert len({len(line) for line in table.splitlines()}) == 1, table


@pytest.mark.parametrize(
    ("truth", "predicted", "names", "error", "says"),
    [
        ([], [], None, ValueError, "at least one"),
        ([1, 2], [1], None, ValueError, r"predicted must be \[2\]"),
        ([[1]], [[1]], None, ValueError, r"\[rows\]"),
        ([0.5], [1], None, TypeError, "argmax"),
        ([1], ["a"], None, TypeError, "type"),
        ([None], [None], None, TypeError, "ints, bools or texts"),
        ([1, 2], [1, 2], ["one"], ValueError, "2 texts"),
    ],
)
def test_what_is_no_list_of_classes_is_refused_with_what_is_wanted(truth, predicted, names, error, says):
    with pytest.raises(error, match=says):
        classification_report(truth, predicted, names=names)
