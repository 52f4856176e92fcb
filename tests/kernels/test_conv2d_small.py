"""conv2d_small: convolution, relu and pooling against float64, and the network of F-99 built from ops."""

from __future__ import annotations

import numpy as np
import pytest
from tailrace.kernels import conv2d_small, mlp_forward
from tailrace.kernels.ops.conv2d_small import reference
from tailrace.kernels.registry import relative_l2


def ones(*shape):
    return np.ones(shape, np.float32)


@pytest.mark.parametrize("stride", [1, 2, 3])
@pytest.mark.parametrize("pool", [1, 2, 3])
@pytest.mark.parametrize("padding", [0, 1, 4])
def test_an_image_is_convolved_activated_and_pooled(isa, rng, stride, pool, padding):
    for size, channels, out, kernel in (
        ((11, 9), 1, 1, (3, 3)),
        ((12, 70), 3, 9, (2, 5)),
        ((9, 110), 2, 17, (1, 1)),
    ):
        x = rng.normal(size=(2, channels, *size)).astype(np.float32)
        weights = rng.normal(size=(out, channels, *kernel)).astype(np.float32)
        bias = rng.normal(size=out).astype(np.float32)
        for activation, given in (("relu", bias), ("none", None)):
            options = {"stride": stride, "padding": padding, "activation": activation, "max_pool": pool}
            truth = reference.conv2d_small(x, weights, given, **options)
            buffer = np.full(truth.shape, np.nan, np.float32)
            assert conv2d_small(x, weights, given, **options, out=buffer) is buffer
            assert relative_l2(buffer, truth) < 2e-6


def test_other_libraries_compute_the_same(rng):
    torch = pytest.importorskip("torch")
    x = rng.normal(size=(3, 4, 20, 33)).astype(np.float32)
    weights = rng.normal(size=(6, 4, 3, 5)).astype(np.float32)
    theirs = torch.nn.functional.conv2d(torch.from_numpy(x), torch.from_numpy(weights), stride=2, padding=2)
    theirs = torch.nn.functional.max_pool2d(theirs.relu(), 2).numpy()
    mine = conv2d_small(x, weights, stride=2, padding=2, activation="relu", max_pool=2)
    np.testing.assert_allclose(mine, theirs, atol=1e-4)


def test_an_image_classifier_of_ten_lines(rng):
    frame = rng.uniform(size=(1, 1, 480, 640)).astype(np.float32)
    filters = rng.normal(size=(32, 1, 3, 3)).astype(np.float32)
    dense = rng.normal(size=(32 * 239 * 319, 10)).astype(np.float32) / 1000

    def classify(frame: np.ndarray) -> np.ndarray:
        features = conv2d_small(frame, filters, activation="relu", max_pool=2)  # [1, 32, 239, 319]
        logits = mlp_forward(features.reshape(len(frame), -1), [dense], [None])
        odds = np.exp(logits - logits.max(axis=1, keepdims=True))
        return odds / odds.sum(axis=1, keepdims=True)

    truth = reference.conv2d_small(frame, filters, activation="relu", max_pool=2).reshape(
        1, -1
    ) @ dense.astype("d")
    odds = np.exp(truth - truth.max())
    np.testing.assert_allclose(classify(frame), odds / odds.sum(), atol=1e-4)


@pytest.mark.parametrize(
    ("error", "message", "change"),
    [
        (ValueError, r"\[batch, channels, height, width\]", {"x": ones(5, 5)}),
        (ValueError, r"\[out channels, 1, kernel height, kernel width\]", {"weights": ones(2, 3, 3, 3)}),
        (ValueError, r"bias must be float32 \[2\]", {"bias": ones(3)}),
        (ValueError, "holds no window of 3 x 3", {"x": ones(1, 1, 2, 5)}),
        (ValueError, "3 x 3, smaller than the window of max_pool=4", {"max_pool": 4}),
        (ValueError, "stride must be a whole number of at least 1; got 0", {"stride": 0}),
        (ValueError, "padding must be a whole number of at least 0", {"padding": -1}),
        (ValueError, "activation must be one of none, relu", {"activation": "gelu"}),
        (ValueError, r"out must be float32 \[1, 2, 3, 3\]", {"out": ones(1, 2, 3, 4)}),
    ],
)  # fmt: skip
def test_a_wrong_call_says_what_is_wanted(error, message, change):
    right = {"x": ones(1, 1, 5, 5), "weights": ones(2, 1, 3, 3)}
    with pytest.raises(error, match=message):
        conv2d_small(**right | change)
