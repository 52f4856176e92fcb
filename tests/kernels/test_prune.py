"""Pruning: how much goes, that what is left does the work, what fine-tuning brings back, what is refused."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tailrace.kernels.compress import Layer, Model, new_mlp, prune, quantize, train

MODEL = new_mlp([24, 48, 16, 5], seed=0)


def zeros(model):
    return [float((layer.dense() == 0).mean()) for layer in model.layers]


@pytest.fixture(scope="module")
def digits():
    """A network 64-128-128-10 for handwritten digits, the digits that it learnt from, and others."""
    datasets = pytest.importorskip("sklearn.datasets", reason="the digits come from scikit-learn")
    x, y = datasets.load_digits(return_X_y=True)
    x = (x / 16).astype(np.float32)
    order = np.random.default_rng(0).permutation(len(x))
    test, rest = order[:540], order[540:]
    net = new_mlp([64, 128, 128, 10], seed=0)
    with pytest.importorskip("threadpoolctl").threadpool_limits(1):
        model = train(net, x[rest], y[rest], loss="cross_entropy", epochs=20, seed=0).model
        yield model, x[rest], y[rest], (x[test], y[test])


def test_half_of_the_units_of_digits_go_at_little_cost_with_calibration_or_fine_tuning(digits):
    model, x, y, data = digits
    bare = prune(model, "structured", data=data)
    fitted = prune(model, "structured", calibration=x[:256], data=data)
    tuned = prune(model, "structured", fine_tune=(x, y), data=data)
    assert bare.accuracy_drop > 0.02, "then this test shows nothing"
    assert fitted.accuracy_drop < 0.015
    assert tuned.accuracy_drop < 0.015
    assert [layer.outputs for layer in fitted.model.layers] == [64, 64, 10]


def test_zeros_in_digits_cost_less_with_fine_tuning_which_keeps_them(digits):
    model, x, y, data = digits
    bare = prune(model, "magnitude", 0.8, data=data)
    tuned = prune(model, "magnitude", 0.8, fine_tune=(x, y), data=data)
    assert bare.accuracy_drop > 0.05, "then this test shows nothing"
    assert tuned.accuracy_drop < bare.accuracy_drop / 4
    assert zeros(tuned.model) == zeros(bare.model) == pytest.approx([0.8] * 3, abs=0.001)


def test_scores_by_activations_beat_sizes_alone_where_inputs_differ_in_strength(rng):
    strength = np.where(np.arange(64) % 2, 4.0, 0.25).astype(np.float32)
    x = rng.standard_normal((500, 64), dtype=np.float32) * strength
    model = Model([Layer(rng.standard_normal((64, 8), dtype=np.float32))])

    def miss(**how):
        return np.linalg.norm(prune(model, **how).model(x) - model(x))

    assert miss(strategy="unstructured", calibration=x[:100]) < 0.5 * miss(strategy="magnitude")


@settings(max_examples=40, deadline=None)
@given(
    sizes=st.lists(st.integers(1, 40), min_size=2, max_size=5),
    sparsity=st.floats(0.01, 0.99),
    strategy=st.sampled_from(["magnitude", "unstructured"]),
    seed=st.integers(0, 100),
)
def test_the_share_that_is_asked_for_becomes_zero_and_the_rest_stays_as_it_was(
    sizes, sparsity, strategy, seed
):
    model = new_mlp(sizes, seed=seed)
    x = np.random.default_rng(seed).standard_normal((20, sizes[0]), dtype=np.float32)
    found = prune(model, strategy, sparsity, calibration=x)
    for before, after, told in zip(model.layers, found.model.layers, found.pruning, strict=True):
        kept = after.dense() != 0
        units = before.outputs if strategy == "unstructured" else 1
        gone = round(before.dense().size // units * sparsity) * units
        assert before.dense().size - kept.sum() == gone
        assert (told.kept, told.total) == (kept.sum(), kept.size)
        assert np.array_equal(after.dense()[kept], before.dense()[kept])
        assert 0 <= told.score_kept <= 1 + 1e-6


@settings(max_examples=40, deadline=None)
@given(
    sizes=st.lists(st.integers(1, 40), min_size=3, max_size=5),
    sparsity=st.floats(0.01, 0.99),
    calibrated=st.booleans(),
    seed=st.integers(0, 100),
)
def test_structured_pruning_makes_smaller_layers_between_the_same_ends(sizes, sparsity, calibrated, seed):
    model = new_mlp(sizes, activation="tanh", seed=seed)
    x = np.random.default_rng(seed).standard_normal((20, sizes[0]), dtype=np.float32)
    found = prune(model, "structured", sparsity, calibration=x if calibrated else None)
    wanted = [max(1, units - round(units * sparsity)) for units in sizes[1:-1]]
    assert [layer.outputs for layer in found.model.layers] == [*wanted, sizes[-1]]
    assert [told.kept for told in found.pruning] == wanted
    assert found.model(x).shape == (20, sizes[-1])
    assert np.isfinite(found.model(x)).all()


def test_units_that_do_nothing_go_first_and_their_loss_changes_nothing(rng):
    first, second = MODEL.layers[0], MODEL.layers[1]
    dead = rng.permutation(48)[:24]
    weight = second.dense().copy()
    weight[dead] = 0
    model = Model([first, Layer(weight, second.bias, second.activation)])
    x = rng.standard_normal((30, 24), dtype=np.float32)
    pruned = prune(model, "structured", 0.5).model
    assert np.allclose(pruned(x), model(x), atol=1e-5)


def test_a_unit_that_is_constant_goes_into_the_bias(rng):
    x = rng.standard_normal((100, 24), dtype=np.float32)
    first = MODEL.layers[0]
    weight, bias = first.dense().copy(), first.bias.copy()
    weight[:, ::2], bias[::2] = 0, 1 + rng.random(24)
    model = Model([Layer(weight, bias, "relu"), MODEL.layers[1]])
    pruned = prune(model, "structured", 0.5, calibration=x).model
    assert np.allclose(pruned(x), model(x), atol=1e-3)


@pytest.mark.parametrize("strategy", ["magnitude", "unstructured"])
def test_two_of_four_keeps_two_of_every_four_inputs_the_best_ones(strategy, rng):
    x = rng.standard_normal((50, 24), dtype=np.float32)
    found = prune(MODEL, strategy, pattern="2:4", calibration=x)
    for before, after in zip(MODEL.layers, found.model.layers, strict=True):
        kept = (after.dense() != 0).reshape(-1, 4, after.outputs)
        assert (kept.sum(axis=1) == 2).all()
        if strategy == "magnitude":
            sizes = np.abs(before.dense()).reshape(kept.shape)
            assert (np.where(kept, sizes, np.inf).min(axis=1) >= np.where(kept, 0, sizes).max(axis=1)).all()


def test_a_rest_of_inputs_below_four_keeps_half_of_it_rounded_up():
    found = prune(Model([Layer(np.ones((7, 3), np.float32))]), pattern="2:4")
    assert (found.model.layers[0].dense() != 0).sum(axis=0).tolist() == [4, 4, 4]


def test_a_pruned_model_can_be_quantised_and_keeps_its_zeros(rng):
    x = rng.standard_normal((50, 24), dtype=np.float32)
    pruned = prune(MODEL, pattern="2:4").model
    small = quantize(pruned, "int8", x).model
    for before, after in zip(pruned.layers, small.layers, strict=True):
        assert not after.dense()[before.dense() == 0].any()


def test_a_function_may_do_the_fine_tuning(rng):
    x = rng.standard_normal((50, 24), dtype=np.float32)
    y = rng.integers(0, 5, 50)

    def tune(model):
        return train(model, x, y, loss="cross_entropy", epochs=2, keep_zeros=True, seed=0).model

    found = prune(MODEL, fine_tune=tune, data=(x, y))
    assert zeros(found.model) == pytest.approx([0.5] * 3, abs=0.01)
    with pytest.raises(ValueError, match="keep the zeros of layer 0"):
        prune(MODEL, fine_tune=lambda model: MODEL)
    with pytest.raises(ValueError, match="must return a Model like"):
        prune(MODEL, "structured", fine_tune=lambda model: MODEL)
    with pytest.raises(ValueError, match="must return a Model like"):
        prune(MODEL, fine_tune=lambda model: None)


X = np.ones((4, 24), np.float32)


@pytest.mark.parametrize(
    ("change", "error", "says"),
    [
        ({"model": 1}, TypeError, "Model"),
        ({"model": quantize(MODEL, "fp16").model}, ValueError, "prune first"),
        ({"strategy": "random"}, ValueError, "magnitude, structured, unstructured"),
        ({"sparsity": 0}, ValueError, "above 0 and below 1"),
        ({"sparsity": 1.0}, ValueError, "above 0 and below 1"),
        ({"sparsity": float("nan")}, ValueError, "above 0 and below 1"),
        ({"sparsity": True}, ValueError, "above 0 and below 1"),
        ({"strategy": "unstructured"}, ValueError, r"needs calibration=float32 \[rows, 24\]"),
        ({"strategy": "unstructured", "calibration": X[:0]}, ValueError, "needs calibration"),
        ({"calibration": X[0]}, ValueError, r"float32 \[batch, 24\]"),
        ({"calibration": X * np.nan}, ValueError, "finite"),
        ({"strategy": "structured", "pattern": "2:4"}, ValueError, "2:4"),
        ({"sparsity": 0.7, "pattern": "2:4"}, ValueError, "sparsity=0.5"),
        ({"pattern": "1:4"}, ValueError, "None or '2:4'"),
        ({"strategy": "structured", "model": new_mlp([24, 5], seed=0)}, ValueError, "hidden"),
        ({"fine_tune": X}, TypeError, "fine_tune must be"),
        ({"fine_tune": (X, np.zeros(3, int))}, ValueError, r"int classes \[4\]"),
        ({"metric": lambda a, b: 1.0}, ValueError, "metric and batch need data"),
    ],
)
def test_what_cannot_be_pruned_is_refused(change, error, says):
    with pytest.raises(error, match=says):
        prune(**({"model": MODEL} | change))
