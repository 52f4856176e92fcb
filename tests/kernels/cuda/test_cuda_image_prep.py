"""image_prep's device kernels in the shim: sizes of every kind, both filters, edges."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from tailrace.kernels import ImagePrep, image_prep
from tailrace.kernels.cuda import launcher
from tailrace.kernels.ops.image_prep import OP, reference

SIZES = [
    ((1, 1), (1, 1)),
    ((1, 1), (3, 5)),
    ((31, 33), (33, 31)),
    ((48, 64), (22, 17)),
    ((7, 5), (1, 1)),
    ((5, 200), (20, 33)),
    ((2, 2), (40, 3)),
]
MEAN, STD = (0.485, 0.456, 0.406), (0.5, 0.75, 1.0)


@pytest.mark.parametrize("antialias", [False, True])
@pytest.mark.parametrize("grey", [False, True])
@pytest.mark.parametrize(("source", "size"), SIZES)
def test_images_of_every_size_agree_in_every_order_of_threads(
    rng: np.random.Generator,
    host_device: Any,
    source: tuple[int, int],
    size: tuple[int, int],
    grey: bool,
    antialias: bool,
) -> None:
    images = rng.integers(0, 256, (2, *source, 3), dtype=np.uint8)
    how: dict[str, Any] = {"grey": grey, "antialias": antialias, "mean": MEAN[:1] if grey else MEAN}
    truth = reference.image_prep(images, size, std=STD[:1] if grey else STD, **how)
    for seed in range(3):
        host_device.seed = seed
        out = np.full(truth.shape, np.nan, np.float32)
        assert image_prep(images, size, std=STD[:1] if grey else STD, **how, backend="cuda", out=out) is out
        assert OP.error(out, truth) < 0.001  # grey levels


def test_a_bound_op_prepares_images_of_the_device_there(rng: np.random.Generator, host_device: Any) -> None:
    images = rng.integers(0, 256, (3, 20, 30, 3), dtype=np.uint8)
    prep = ImagePrep((20, 30), (7, 9), grey=True, mean=0.5, std=0.25)
    there = prep(host_device.to_device(images))
    assert host_device.view(there) is there
    assert OP.error(there.get(), prep(images)) < 0.02
    with pytest.raises(ValueError, match=r"images must be uint8 \[n, 20, 30, 3\]"):
        prep(host_device.to_device(images[:, :19]))


def test_one_image_needs_no_first_axis(rng: np.random.Generator, host_device: Any) -> None:
    image = rng.integers(0, 256, (9, 8, 3), dtype=np.uint8)
    result = image_prep(image, (4, 4), backend="cuda")
    assert result.shape == (3, 4, 4)
    assert OP.error(result, reference.image_prep(image, (4, 4))) < 0.001


def test_sides_whose_products_do_not_fit_are_refused(host_device: Any) -> None:
    image = np.zeros((1, 32768, 3), np.uint8)
    with pytest.raises(ValueError, match="must be below 536870912; got"):
        image_prep(image, (1, 32768), backend="cuda")


@pytest.mark.parametrize(
    ("text", "instead"),
    [
        ("end = end < source ? end : source;", ""),
        ("first = from < 0 ? 0 :", "first ="),
        ("if (x >= f.width || y >= f.height) return;", ""),
        ("widened && source > target", "true"),
    ],
)
def test_a_mutant_is_found(rng: np.random.Generator, mutant_of: Any, text: str, instead: str) -> None:
    images = rng.integers(0, 256, (1, 12, 13, 3), dtype=np.uint8)
    with launcher.using(mutant_of("image_prep", text, instead, 0)):
        try:
            result = image_prep(images, (5, 33), backend="cuda")
        except RuntimeError:  # an access outside of every array
            return
    assert not OP.error(result, reference.image_prep(images, (5, 33))) < 0.001
