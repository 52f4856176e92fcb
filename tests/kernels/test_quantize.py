"""Quantisation: what each method does to a model, what it measures, and what it refuses."""

from __future__ import annotations

import importlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tailrace.kernels.compress import Layer, Model, new_mlp, prune, quantize, train

METHODS = ("int8", "dynamic", "int4", "fp16")
MODEL = new_mlp([24, 48, 16, 5], seed=0)


@pytest.fixture(scope="module")
def digits():
    """Three networks 64-256-256-10 for handwritten digits, each with 540 digits that it has not seen."""
    datasets = pytest.importorskip("sklearn.datasets", reason="the digits come from scikit-learn")
    x, y = datasets.load_digits(return_X_y=True)
    x = (x / 16).astype(np.float32)
    limits = pytest.importorskip("threadpoolctl").threadpool_limits  # 25 times as long beside other work
    trained = []
    for seed in range(3):
        order = np.random.default_rng(seed).permutation(len(x))
        test, rest = order[:540], order[540:]
        net = new_mlp([64, 256, 256, 10], seed=seed)
        with limits(1):
            model = train(net, x[rest], y[rest], loss="cross_entropy", epochs=20, seed=seed).model
        trained.append((model, x[rest], y[rest], (x[test], y[test])))
    return trained


@pytest.mark.parametrize(
    ("method", "most"), [("int8", 0.002), ("dynamic", 0.002), ("int4", 0.005), ("fp16", 0.001)]
)
def test_handwritten_digits_are_still_read(method, most, digits):
    results = [quantize(model, method, x[:256], data=data) for model, x, _, data in digits]
    assert min(result.score_before for result in results) > 0.96
    assert np.mean([result.accuracy_drop for result in results]) <= most, [str(r) for r in results]


@settings(max_examples=30, deadline=None)
@given(
    sizes=st.lists(st.integers(1, 70), min_size=2, max_size=4),
    method=st.sampled_from(METHODS),
    group=st.sampled_from([2, 8, 32]),
    seed=st.integers(0, 100),
)
def test_outputs_stay_close_whatever_the_sizes(sizes, method, group, seed):
    model = new_mlp(sizes, activation="tanh", seed=seed)
    x = np.random.default_rng(seed).standard_normal((40, sizes[0]), dtype=np.float32)
    small = quantize(model, method, x, group=group).model
    miss = np.linalg.norm(small(x) - model(x)) / max(np.linalg.norm(model(x)), 1e-6)
    assert miss < {"int4": 0.5, "fp16": 2e-3}.get(method, 0.08)
    assert [layer.activation for layer in small.layers] == [layer.activation for layer in model.layers]


def test_a_model_shrinks_as_its_bits_do(rng):
    x = rng.standard_normal((50, 256), dtype=np.float32)
    model = new_mlp([256, 512, 256], seed=0)
    sizes = {method: model.nbytes / quantize(model, method, x).model.nbytes for method in METHODS}
    assert sizes["int8"] == sizes["dynamic"] == pytest.approx(4, rel=0.05)
    assert sizes["int4"] == pytest.approx(32 / 5, rel=0.05)  # a scale of 32 bits for 32 weights
    assert sizes["fp16"] == pytest.approx(2, rel=0.05)


def test_int8_keeps_the_ranges_that_it_saw_and_dynamic_none(rng):
    x = rng.standard_normal((50, 24), dtype=np.float32)
    fixed, dynamic = quantize(MODEL, "int8", x).model, quantize(MODEL, "dynamic", x).model
    assert fixed.layers[0].input_scale == pytest.approx(np.abs(x).max() / 127)
    hidden = Model(MODEL.layers[:1])(x)
    assert fixed.layers[1].input_scale == pytest.approx(hidden.max() / 127)
    assert [layer.input_scale for layer in dynamic.layers] == [None] * 3
    far = 100 * x
    assert np.abs(dynamic(far) - MODEL(far)).max() < 0.1 * np.abs(MODEL(far)).max()
    assert np.abs(fixed(far)).max() < 0.2 * np.abs(MODEL(far)).max()  # what is beyond is clipped


def test_inputs_of_zeros_are_a_calibration_too():
    zeros = np.zeros((3, 24), np.float32)
    assert np.array_equal(quantize(MODEL, "int8", zeros).model(zeros), MODEL(zeros))


def test_scores_are_accuracy_for_classes_explained_variance_for_values_and_agreement_without_labels(rng):
    x = rng.standard_normal((200, 24), dtype=np.float32)
    labels = rng.integers(0, 5, 200)
    found = quantize(MODEL, "int4", data=(x, labels))
    assert found.score_before == np.mean(MODEL(x).argmax(axis=1) == labels)
    assert found.accuracy_drop == found.score_before - np.mean(found.model(x).argmax(axis=1) == labels)
    assert found.speedup > 0
    values = MODEL(x) + rng.standard_normal((200, 5), dtype=np.float32) * 0.1
    r2 = quantize(MODEL, "int4", data=(x, values))
    assert 0.8 < r2.score_after < r2.score_before < 1
    alone = quantize(MODEL, "int4", data=x)
    assert alone.score_before == 1.0
    assert 0.5 < alone.score_after < 1
    one = new_mlp([24, 8, 1], seed=1)
    assert quantize(one, "fp16", data=x).score_before == 1.0
    assert quantize(one, "fp16", data=(x, (one(x)[:, 0] > 0.5).astype(int))).score_before == 1.0


def test_a_metric_of_the_caller_decides_what_is_good(rng):
    x, asked = rng.standard_normal((30, 24), dtype=np.float32), []

    def metric(outputs, labels):
        asked.append((outputs.shape, labels))
        return -float(np.abs(outputs).max())

    found = quantize(MODEL, "int8", x, data=(x, "anything"), metric=metric)
    assert asked == [((30, 5), "anything")] * 2
    assert found.accuracy_drop == pytest.approx(np.abs(found.model(x)).max() - np.abs(MODEL(x)).max())


def test_as_many_rows_are_timed_as_the_caller_says(rng, monkeypatch):
    made, timed = importlib.import_module("tailrace.kernels.compress.result"), []
    monkeypatch.setattr(made, "speedup", lambda before, after, inputs: timed.append(inputs) or 1.0)
    x = rng.standard_normal((30, 24), dtype=np.float32)
    for batch, rows in ((None, 30), (1, 1), (30, 30)):
        quantize(MODEL, "fp16", data=x, batch=batch)
        prune(MODEL, data=x, batch=batch)
        assert [len(inputs) for inputs in timed[-2:]] == [rows, rows]


def test_the_speedup_is_the_least_time_of_the_original_by_that_of_the_result_in_turns(monkeypatch):
    measure = importlib.import_module("tailrace.kernels.compress.measure")
    now, order = [0.0], []
    monkeypatch.setattr(measure.time, "perf_counter", lambda: now[0])

    def model(name, *durations):
        times = iter(durations)

        def call(inputs):
            order.append(name)
            now[0] += next(times)

        return call

    # Two calls to warm up and to see how many make a pass, then one in each of seven passes.
    slow = model("slow", 9.0, 4.0, 8.0, 6.0, 5.0, 7.0, 6.0, 9.0, 8.0)
    fast = model("fast", 9.0, 2.0, 2.5, 2.0, 3.0, 2.0, 9.0, 2.0, 2.0)
    assert measure.speedup(slow, fast, None) == 2.5
    assert order == ["slow"] * 2 + ["fast"] * 2 + ["slow", "fast"] * 7


def test_without_data_nothing_is_measured_and_the_text_says_so():
    found = quantize(MODEL, "fp16")
    assert (found.score_before, found.accuracy_drop, found.speedup) == (None, None, None)
    assert "nothing measured" in str(found)
    assert found.nbytes_before == MODEL.nbytes > found.model.nbytes


@pytest.mark.parametrize(
    ("speeds", "scores", "chosen"),
    [
        ({"dynamic": 2.0, "int8": 3.0, "int4": 1.0, "fp16": 1.0}, {}, "int8"),
        ({"dynamic": 2.0, "int8": 3.0, "int4": 1.0, "fp16": 1.0}, {"int8": 0.9}, "dynamic"),
        ({"dynamic": 0.6, "int8": 0.7, "int4": 1.0, "fp16": 1.02}, {}, "none"),
        ({"dynamic": 2.0, "int8": 3.0, "int4": 4.0, "fp16": 5.0}, dict.fromkeys(METHODS, 0.5), "none"),
    ],
)
def test_auto_takes_the_fastest_that_loses_little_and_the_model_itself_where_none_is_faster(
    speeds, scores, chosen, rng, monkeypatch
):
    made = importlib.import_module("tailrace.kernels.compress.result")
    kinds = {"int8": "dynamic", "int4": "int4", "float16": "fp16"}

    def speed(before, after, inputs):
        return speeds["int8" if after.layers[0].input_scale else kinds[after.kind]]

    def metric(outputs, labels):
        return 1.0 if len(tried) % 2 == 0 else scores.get(METHODS_IN_TURN[len(tried) // 2], 1.0)

    tried: list[int] = []

    def counted(outputs, labels):
        value = metric(outputs, labels)
        tried.append(1)
        return value

    METHODS_IN_TURN = ("dynamic", "int8", "int4", "fp16")
    monkeypatch.setattr(made, "speedup", speed)
    x = rng.standard_normal((30, 24), dtype=np.float32)
    found = quantize(MODEL, "auto", x, data=(x, None), metric=counted)
    assert found.method == chosen
    assert [trial.method for trial in found.trials] == list(METHODS_IN_TURN)
    assert [trial.speedup for trial in found.trials] == [speeds[m] for m in METHODS_IN_TURN]
    if chosen == "none":
        assert found.model is MODEL
        assert found.accuracy_drop == 0


def test_auto_without_calibration_leaves_int8_out(rng):
    x = rng.standard_normal((30, 24), dtype=np.float32)
    found = quantize(MODEL, "auto", data=x)
    assert [trial.method for trial in found.trials] == ["dynamic", "int4", "fp16"]


X = np.ones((4, 24), np.float32)


@pytest.mark.parametrize(
    ("change", "error", "says"),
    [
        ({"model": "model"}, TypeError, "Model"),
        ({"method": "int3"}, ValueError, "int8, int4, fp16, dynamic, auto; got 'int3'"),
        ({"method": "int8"}, ValueError, r"needs calibration=float32 \[rows, 24\].*'dynamic' needs none"),
        ({"method": "int8", "calibration": X[:0]}, ValueError, "needs calibration"),
        (
            {"method": "int8", "calibration": X.astype(float)},
            TypeError,
            r"calibration must be float32 \[batch, 24\]",
        ),
        ({"method": "int8", "calibration": X[:, :5].copy()}, ValueError, r"float32 \[batch, 24\]"),
        ({"method": "int8", "calibration": X * np.nan}, ValueError, "finite"),
        ({"method": "auto"}, ValueError, "needs data="),
        ({"model": quantize(MODEL, "dynamic").model}, ValueError, "quantise the original"),
        ({"metric": lambda a, b: 1.0}, ValueError, "metric and batch need data"),
        ({"data": (X, np.zeros(4)), "metric": "f1"}, TypeError, "metric must be a function"),
        ({"data": X[:0]}, ValueError, "rows"),
        ({"data": X.astype(float)}, TypeError, r"data must be float32 \[batch, 24\]"),
        ({"data": X * np.inf}, ValueError, "finite"),
        ({"data": (X, [0, 1])}, ValueError, r"labels must be \[4\]"),
        ({"data": (X, 3)}, ValueError, r"labels must be \[4\]"),
        ({"data": X, "batch": 0}, ValueError, "from 1 to the 4 rows"),
        ({"data": X, "batch": 5}, ValueError, "from 1 to the 4 rows"),
        ({"data": X, "batch": 1.0}, ValueError, "from 1 to the 4 rows"),
        ({"batch": 1}, ValueError, "batch need data"),
        ({"data": (X, [0, 1, 2, 5])}, ValueError, "from 0 to 4; got 0 to 5"),
        ({"data": (X, np.zeros((4, 3)))}, ValueError, r"float \[4, 5\]"),
        ({"data": (X, np.array(list("abcd")))}, ValueError, "metric="),
        ({"data": (X, np.full((4, 5), np.nan))}, ValueError, "finite"),
        ({"data": (X, X, X)}, TypeError, "3 values"),
        ({"method": "int4", "group": 3}, ValueError, "multiple of 2"),
        ({"model": Model([Layer(np.full((24, 2), 1e5, np.float32))]), "method": "fp16"}, ValueError, "65504"),
    ],
)
def test_what_cannot_be_quantised_or_measured_on_is_refused(change, error, says):
    with pytest.raises(error, match=says):
        quantize(**({"model": MODEL, "method": "fp16"} | change))
