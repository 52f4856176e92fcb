"""image_prep: pixels are where OpenCV, torch and Pillow see them, nothing is rounded to whole levels."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tailrace.kernels import ImagePrep, _cpu, force_isa, image_prep
from tailrace.kernels.ops.image_prep import reference

LEVELS = ["baseline", "avx2", "avx512", "vnni"]
HERE = LEVELS[: LEVELS.index(_cpu.best_isa()) + 1]
LIMIT = 0.02  # grey levels


def noise(rng: np.random.Generator, *shape: int) -> np.ndarray:
    return rng.integers(0, 256, shape, dtype=np.uint8)


def worst(found: np.ndarray, truth: np.ndarray) -> float:
    """The largest difference in grey levels; NaN if there is one."""
    assert found.shape == truth.shape
    return float(np.abs(found.astype(np.float64) - truth).max() * 255)


@settings(deadline=None, max_examples=150)
@given(
    source=st.tuples(st.integers(1, 90), st.integers(1, 90)),
    size=st.tuples(st.integers(1, 90), st.integers(1, 90)),
    grey=st.booleans(),
    antialias=st.booleans(),
    level=st.sampled_from(HERE),
    seed=st.integers(0, 2**31),
)
def test_any_size_to_any_size_is_within_a_fiftieth_of_a_level(source, size, grey, antialias, level, seed):
    image = noise(np.random.default_rng(seed), *source, 3)
    with force_isa(level):
        found = image_prep(image, size, grey=grey, antialias=antialias)
    assert worst(found, reference.image_prep(image, size, grey=grey, antialias=antialias)) <= LIMIT


@pytest.mark.parametrize("grey", [True, False])
@pytest.mark.parametrize("size", [(224, 224), (480, 640), (100, 1300), (31, 7)])
def test_a_camera_image_is_within_a_fiftieth_of_a_level(
    size: tuple[int, int], grey: bool, isa: str, rng: np.random.Generator
) -> None:
    image = noise(rng, 480, 640, 3)
    truth = reference.image_prep(image, size, grey=grey, mean=0.45, std=0.5)
    assert worst(image_prep(image, size, grey=grey, mean=0.45, std=0.5), truth) <= LIMIT / 0.5


def test_an_image_of_its_own_size_is_itself_divided_by_white(isa: str, rng: np.random.Generator) -> None:
    image = noise(rng, 37, 53, 3)
    found = image_prep(image, (37, 53))
    np.testing.assert_allclose(found * 255, image.transpose(2, 0, 1), rtol=0, atol=1e-4)


@pytest.mark.parametrize("antialias", [False, True])
def test_a_flat_image_stays_flat(antialias: bool, isa: str) -> None:
    flat = np.full((50, 70, 3), 137, np.uint8)
    found = image_prep(flat, (33, 31), grey=True, antialias=antialias)
    assert np.ptp(found) <= 1e-6
    np.testing.assert_allclose(found, 137 / 255, atol=1e-5)


def test_size_is_height_then_width_where_opencv_takes_width_then_height(rng: np.random.Generator) -> None:
    image = noise(rng, 48, 64, 3)
    assert image_prep(image, (24, 40)).shape == (3, 24, 40)
    cv2 = pytest.importorskip("cv2")
    resized = cv2.resize(image, (40, 24), interpolation=cv2.INTER_LINEAR)  # (width, height)
    assert worst(image_prep(image, (24, 40)), resized.transpose(2, 0, 1) / 255.0) <= 1.0  # it rounds


@pytest.mark.parametrize("antialias", [False, True])
@pytest.mark.parametrize("size", [(30, 50), (61, 83), (100, 120)])
def test_torch_sees_the_same_pixels(size: tuple[int, int], antialias: bool, rng: np.random.Generator) -> None:
    torch = pytest.importorskip("torch")
    image = noise(rng, 61, 83, 3)
    planes = torch.from_numpy(image).permute(2, 0, 1)[None].to(torch.float64) / 255
    truth = torch.nn.functional.interpolate(
        planes, size, mode="bilinear", align_corners=False, antialias=antialias
    )
    assert worst(image_prep(image, size, antialias=antialias), truth[0].numpy()) <= LIMIT


def test_mean_and_std_are_those_of_torchvision_where_white_is_one() -> None:
    mean, std = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
    image = np.array([[[255, 0, 51]]], np.uint8)
    found = image_prep(image, (1, 1), mean=mean, std=std)[:, 0, 0]
    np.testing.assert_allclose(found, [(1 - 0.485) / 0.229, -0.456 / 0.224, (0.2 - 0.406) / 0.225], rtol=1e-5)


def test_a_batch_is_its_images_one_by_one_and_a_buffer_is_written_to(
    isa: str, rng: np.random.Generator
) -> None:
    images = noise(rng, 3, 33, 31, 3)
    out = np.full((3, 1, 16, 20), np.nan, np.float32)
    assert image_prep(images, (16, 20), grey=True, out=out) is out
    for image, row in zip(images, out, strict=True):
        np.testing.assert_array_equal(image_prep(image, (16, 20), grey=True), row)


def test_a_bound_op_gives_what_the_function_gives_from_any_thread(rng: np.random.Generator) -> None:
    prep = ImagePrep((120, 160), (64, 64), mean=0.5, std=0.25)
    images = [noise(rng, 2, 120, 160, 3) for _ in range(4)]
    wrong: list[int] = []

    def work(i: int) -> None:
        expected = image_prep(images[i], (64, 64), mean=0.5, std=0.25)
        out = np.empty_like(expected)
        if not all(np.array_equal(prep(images[i], out=out), expected) for _ in range(20)):
            wrong.append(i)

    threads = [threading.Thread(target=work, args=(i,)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
    assert repr(prep) == "<ImagePrep (120, 160) to (64, 64), 3 channels>"


def test_a_bound_op_is_a_native_step(rng: np.random.Generator) -> None:
    import tailrace as tr

    prep = ImagePrep((48, 64), (24, 24), grey=True)
    ready = tr.native_step(prep.native(2))
    images = noise(rng, 2, 48, 64, 3)

    @tr.workflow
    def look(images: Any) -> Any:
        return ready(images=images)

    np.testing.assert_array_equal(look(images).out, prep(images))


IMAGE = np.zeros((4, 6, 3), np.uint8)


@pytest.mark.parametrize(
    ("arguments", "options", "kind", "message"),
    [
        ((IMAGE.astype(np.float32), (2, 2)), {}, TypeError, r"uint8 \[height, width, 3\].*; got float32"),
        ((IMAGE[..., 0], (2, 2)), {}, ValueError, r"\[n, height, width, 3\].*got uint8 \[4, 6\]"),
        ((IMAGE[..., :2].copy(), (2, 2)), {}, ValueError, r"\[height, width, 3\].*; got uint8 \[4, 6, 2\]"),
        ((IMAGE[:, ::-1], (2, 2)), {}, ValueError, "np.ascontiguousarray"),
        ((IMAGE[None, :, :0].copy(), (2, 2)), {}, ValueError, r"must have pixels; got uint8 \[1, 4, 0, 3\]"),
        (
            (np.zeros((1, (1 << 20) + 1, 3), np.uint8), (2, 2)),
            {},
            ValueError,
            "may have 1048576 pixels a side",
        ),
        ((IMAGE[None][:0], (2, 2)), {}, ValueError, "of at least 1 n.*nothing to compute"),
        ((IMAGE.tolist(), (2, 2)), {}, TypeError, "got list"),
        ((IMAGE, 224), {}, ValueError, r"size must be \(height, width\) in pixels; got 224"),
        ((IMAGE, (2.5, 2)), {}, ValueError, r"size must be \(height, width\)"),
        ((IMAGE, (0, 2)), {}, ValueError, r"each from 1 to 1048576; got \(0, 2\)"),
        ((IMAGE, (2, 2)), {"std": 0.0}, ValueError, "std must not be 0"),
        ((IMAGE, (2, 2)), {"std": 1e-320}, ValueError, "std must not be 0 or near it"),
        ((IMAGE, (2, 2)), {"mean": None}, ValueError, "mean must be one finite number or 3"),
        ((IMAGE, (2, 2)), {"mean": "abc"}, ValueError, "mean must be one finite number or 3.*got 'abc'"),
        ((IMAGE, (2, 2)), {"std": ([1], [2, 3])}, ValueError, "std must be one finite number or 3"),
        ((IMAGE, (2, 2)), {"mean": (0.1, 0.2)}, ValueError, "mean must be one finite number or 3"),
        ((IMAGE, (2, 2)), {"mean": np.nan}, ValueError, "mean must be one finite number"),
        ((IMAGE, (2, 2)), {"grey": True, "std": (1, 1, 1)}, ValueError, "std must be one finite number or 1"),
        ((IMAGE, (2, 2)), {"out": np.empty((3, 2, 3), np.float32)}, ValueError, r"out must be .*\[3, 2, 2\]"),
        ((IMAGE, (2, 2)), {"out": np.empty((3, 2, 2))}, TypeError, "out must be float32"),
    ],
)
def test_a_wrong_argument_is_named_with_what_is_wanted(arguments, options, kind, message) -> None:
    with pytest.raises(kind, match=message):
        image_prep(*arguments, **options)


def test_a_bound_op_refuses_images_of_another_size_than_it_was_made_for() -> None:
    prep = ImagePrep((48, 64), (24, 24))
    with pytest.raises(ValueError, match=r"uint8 \[n, 48, 64, 3\].*; got uint8 \[2, 64, 48, 3\]"):
        prep(np.zeros((2, 64, 48, 3), np.uint8))
    with pytest.raises(ValueError, match="source must be"):
        ImagePrep((0, 3), (2, 2))
    with pytest.raises(ValueError, match="batch must be a whole number"):
        prep.native(0)
    with pytest.raises(ValueError, match=r"a record of 2 rows would have \d+ bytes"):
        ImagePrep((32768, 32768), (2, 2)).native(2)
    with pytest.raises(ValueError, match="other sizes than the op was bound to"):
        prep._run(np.zeros((1, 48, 64, 3), np.uint8), np.empty((1, 3, 24, 25), np.float32))
