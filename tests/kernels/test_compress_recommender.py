"""The recommender's network, 64-32-1, on what real books look like to readers: compressed, and trained."""

from __future__ import annotations

import numpy as np
import pytest
from tailrace.demos import catalog, steps
from tailrace.kernels.compress import Layer, Model, load_model, new_mlp, prune, quantize, save_model, train


@pytest.fixture(scope="module")
def shop():
    """The demo's network as a model; the books considered for each of 64 readers, as 64 numbers each."""
    shop = catalog.load()
    ask = steps.Recommender(shop)
    net = shop.weights
    model = Model([Layer(net["w1"], net["b1"], "relu"), Layer(net["w2"][:, None], net["b2"].reshape(1))])
    considered = []
    for user in range(64):
        reader = ask.profile(steps.Request(user, int(shop.shelves[user, 0]), 10))
        found = ask.merge(reader, ask.popular(reader), ask.same_authors(reader), ask.neighbours(reader))
        considered.append(ask.features(reader, found))
    return ask, model, considered


def same_ten(considered, first, second):
    """The share of the ten best books that two models have in common, over all readers."""
    best = [[set(np.argsort(-m(rows)[:, 0])[:10]) for rows in considered] for m in (first, second)]
    return np.mean([len(a & b) / 10 for a, b in zip(*best, strict=True)])


def test_the_model_scores_books_as_the_demo_does(shop):
    ask, model, considered = shop
    for rows in considered[:8]:
        np.testing.assert_allclose(model(rows)[:, 0], ask.score(rows), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("method", "most", "least"),  # features have ranges from 0.1 to 9: hard for one scale a row, or a layer
    [("int8", 0.05, 0.8), ("dynamic", 0.01, 0.9), ("int4", 0.1, 0.7), ("fp16", 0.001, 0.99)],
)
def test_readers_are_shown_much_the_same_books_by_the_quantised_network(method, most, least, shop):
    _, model, considered = shop
    calibration, data = np.concatenate(considered[:16]), np.concatenate(considered[16:])
    small = quantize(model, method, calibration, data=data)
    assert small.score_before == 1.0
    assert small.accuracy_drop < most
    assert same_ten(considered[16:], model, small.model) >= least


def test_a_network_64_32_1_learns_the_scores_of_books_by_adam_and_squared_error_in_10_epochs(shop, tmp_path):
    _, model, considered = shop
    seen, unseen = np.concatenate(considered[:48]), np.concatenate(considered[48:])
    learnt = train(new_mlp([64, 32, 1], seed=0), seen, model(seen), loss="mse", epochs=10, seed=0).model
    checked = quantize(learnt, "dynamic", data=(unseen, model(unseen)))
    assert checked.score_before > 0.85
    assert checked.accuracy_drop < 0.01
    half = prune(learnt, "structured", 0.5, calibration=seen[:512], data=(unseen, model(unseen)))
    assert half.model.layers[0].outputs == 16
    assert half.score_after > 0.75
    pytest.importorskip("safetensors")
    save_model(checked.model, tmp_path / "ranker.safetensors")
    assert np.array_equal(load_model(tmp_path / "ranker.safetensors")(unseen), checked.model(unseen))
