"""The trainer: its gradients, what it learns, that it repeats, and what it refuses."""

from __future__ import annotations

import numpy as np
import pytest
from tailrace.kernels.compress import Layer, Model, fine_tune, new_mlp, train
from tailrace.kernels.compress._activations import ACTIVATIONS
from tailrace.kernels.compress._gradients import Adam, gradients
from tailrace.kernels.weights import quantize_int8


def xor(rng, rows=400):
    x = rng.choice(np.float32([-1, 1]), (rows, 2))
    return x, (x[:, 0] != x[:, 1]).astype(np.int64)


@pytest.mark.parametrize("loss", ["mse", "cross_entropy"])
@pytest.mark.parametrize("activation", [name for name in ACTIVATIONS if name != "softmax"])
def test_gradients_are_those_of_finite_differences(loss, activation, rng):
    last = "none" if loss == "cross_entropy" else activation
    model = new_mlp([3, 5, 4], activation=activation, last_activation=last, seed=1)
    weights = [layer.dense().astype(np.float64) for layer in model.layers]
    biases = [rng.standard_normal(layer.outputs) * 0.1 for layer in model.layers]
    names = [layer.activation for layer in model.layers]
    x = rng.standard_normal((6, 3))
    wanted = rng.integers(0, 4, 6) if loss == "cross_entropy" else rng.standard_normal((6, 4))

    def value():
        return gradients(weights, biases, names, x, wanted, loss)[0]

    _, slopes = gradients(weights, biases, names, x, wanted, loss)
    for array, gradient in zip([*weights, *biases], slopes, strict=True):
        for at in np.ndindex(array.shape):
            before = array[at]
            array[at] = before + 1e-5
            up = value()
            array[at] = before - 1e-5
            down = value()
            array[at] = before
            assert gradient[at] == pytest.approx((up - down) / 2e-5, rel=1e-3, abs=2e-6)


def test_adam_moves_by_the_rate_against_gradients_that_stay_whatever_their_size():
    weights = np.zeros(4, np.float32)
    adam = Adam([weights], 0.01)
    gradient = np.float32([1e-3, -1e-3, 5.0, -5.0])
    for step in range(1, 4):
        adam.step([gradient])
        np.testing.assert_allclose(weights, -0.01 * step * np.sign(gradient), rtol=1e-3)


def test_it_learns_what_no_single_layer_can(rng):
    x, y = xor(rng)
    found = train(new_mlp([2, 16, 2], seed=0), x, y, loss="cross_entropy", epochs=30, rate=0.01, seed=0)
    assert (found.model(x).argmax(axis=1) == y).all()
    assert found.losses[-1] < 0.1 < found.losses[0]


def test_the_same_seed_gives_the_same_model_and_another_gives_another(rng):
    x, y = xor(rng, 64)
    made = [train(new_mlp([2, 8, 2], seed=0), x, y, loss="cross_entropy", seed=s).model for s in (1, 1, 2)]
    outputs = [model(x) for model in made]
    assert np.array_equal(outputs[0], outputs[1])
    assert not np.array_equal(outputs[0], outputs[2])


def test_the_given_model_stays_as_it_was_and_progress_is_told(rng):
    x, y = xor(rng, 64)
    model, told = new_mlp([2, 8, 2], seed=0), []
    before = model(x)
    found = train(model, x, y, loss="cross_entropy", epochs=4, on_epoch=lambda *now: told.append(now), seed=0)
    assert np.array_equal(model(x), before)
    assert told == list(enumerate(found.losses, 1))


def test_a_recommender_of_64_32_1_learns_by_adam_and_squared_error_in_10_epochs(rng):
    taste, books = rng.standard_normal((2, 4000, 32), dtype=np.float32)
    x = np.ascontiguousarray(np.hstack([taste, books]))
    stars = np.tanh((taste[:, :4] * books[:, :4]).sum(axis=1) / 2).astype(np.float32)
    found = train(new_mlp([64, 32, 1], seed=0), x, stars, loss="mse", epochs=10, rate=0.01, seed=0)
    assert len(found.losses) == 10
    assert found.losses[-1] < 0.6 * stars.var()


def test_zeros_stay_where_they_are_to_be_kept(rng):
    x, y = xor(rng, 128)
    weight = rng.standard_normal((2, 16), dtype=np.float32)
    weight[0, ::2] = 0
    last = rng.standard_normal((16, 2), dtype=np.float32)
    model = Model([Layer(weight, activation="relu"), Layer(last)])
    tuned = fine_tune(model, x, y, epochs=3)
    assert (tuned.layers[0].dense()[0, ::2] == 0).all()
    assert (tuned.layers[0].dense()[1] != weight[1]).any()
    free = train(model, x, y, loss="cross_entropy", epochs=3, seed=0).model
    assert (free.layers[0].dense()[0, ::2] != 0).any()


X, Y = np.ones((4, 2), np.float32), np.array([0, 1, 0, 1])
NET = new_mlp([2, 3, 2], seed=0)


@pytest.mark.parametrize(
    ("change", "error", "says"),
    [
        ({"model": Model([Layer(quantize_int8(np.ones((2, 2), np.float32)))])}, ValueError, "float32 layers"),
        ({"model": [2, 2]}, TypeError, "new_mlp"),
        ({"inputs": X.astype(float)}, TypeError, r"float32 \[batch, 2\]"),
        ({"inputs": X[:, :1].copy()}, ValueError, r"float32 \[batch, 2\]"),
        ({"inputs": X[:0], "targets": Y[:0]}, ValueError, "rows"),
        ({"inputs": X * np.nan}, ValueError, "finite"),
        ({"targets": Y[:3]}, ValueError, r"int classes \[4\]"),
        ({"targets": Y + 1}, ValueError, "from 0 to 1; got 1 to 2"),
        ({"targets": Y - 1}, ValueError, "from 0 to 1; got -1 to 0"),
        ({"targets": Y.astype(float)}, ValueError, "int classes"),
        ({"loss": "mse"}, ValueError, r"float32 \[4, 2\]"),
        ({"loss": "mse", "targets": np.full((4, 2), np.nan)}, ValueError, "finite"),
        ({"loss": "hinge"}, ValueError, "mse"),
        ({"epochs": 0}, ValueError, "epochs"),
        ({"batch": 2.5}, ValueError, "batch"),
        ({"rate": 0.0}, ValueError, "rate"),
        ({"rate": float("nan")}, ValueError, "rate"),
        ({"decay": -1.0}, ValueError, "decay"),
        ({"model": new_mlp([2, 2], last_activation="relu", seed=0)}, ValueError, "last activation"),
    ],
)
def test_what_cannot_be_trained_on_is_refused(change, error, says):
    good = {"model": NET, "inputs": X, "targets": Y, "loss": "cross_entropy", "seed": 0}
    with pytest.raises(error, match=says):
        train(**(good | change))


def test_a_softmax_and_squared_error_do_not_go_together():
    net = new_mlp([2, 2], last_activation="softmax", seed=0)
    with pytest.raises(ValueError, match="cross_entropy"):
        train(net, X, np.ones((4, 2), np.float32), loss="mse", seed=0)
    assert train(net, X, Y, loss="cross_entropy", epochs=1, seed=0).model.layers[0].activation == "softmax"


def test_a_rate_that_is_too_large_is_told_and_gives_no_model(rng):
    x = rng.standard_normal((64, 2), dtype=np.float32)
    with pytest.raises(FloatingPointError, match="rate smaller than 1e\\+30"):
        train(new_mlp([2, 8, 1], seed=0), x, x[:, 0], rate=1e30, epochs=3, seed=0)
