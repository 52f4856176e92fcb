"""K6: an image of 480 x 640 to 224 x 224, grey, normalised."""

from __future__ import annotations

import numpy as np

from tailrace._bench.kernels.common import Call, Close, installed, kernel_work
from tailrace._bench.timing import Work
from tailrace.kernels import ImagePrep, image_prep
from tailrace.kernels.ops.image_prep import OP, reference

_SOURCE, _SIZE, _MEAN, _STD = (480, 640), (224, 224), 0.45, 0.225
# What OpenCV rounds to whole levels is this far off; the tests hold tailrace to a fiftieth of a level.
_ROUNDED = 3e-2


def works() -> list[Work]:
    """Return the grey row, and the same in colour."""
    image = np.random.default_rng(6).integers(0, 256, (*_SOURCE, 3), dtype=np.uint8)
    found = []
    for row, grey in (("K6", True), ("K6.colour", False)):
        bound = ImagePrep(_SOURCE, _SIZE, grey=grey, mean=_MEAN, std=_STD)
        out = np.empty((bound.channels, *_SIZE), np.float32)

        def bound_call(bound: ImagePrep = bound, out: np.ndarray = out) -> object:
            return bound(image, out=out)

        def function(grey: bool = grey, out: np.ndarray = out) -> object:
            return image_prep(image, _SIZE, grey=grey, mean=_MEAN, std=_STD, out=out)

        truth = reference.image_prep(image, _SIZE, grey=grey, mean=_MEAN, std=_STD)
        engines: dict[str, Call | None] = {
            "tailrace": bound_call,
            "tailrace, function": function,
            "NumPy": _numpy(image, grey),
            **_opencv(image, grey),
            "torch": _torch(image, grey),
        }
        found.append(
            kernel_work(
                row,
                f"image 480 x 640 to 224 x 224, {'grey' if grey else 'colour'}, normalised",
                Close(truth, _ROUNDED),
                engines,
                calls=4,
                flops=OP.flops(images=image[None], size=_SIZE),
                nbytes=OP.bytes(images=image[None], size=_SIZE, grey=grey),
            )
        )
    return found


def _numpy(image: np.ndarray, grey: bool) -> Call:
    places = [(np.arange(n) + 0.5) * source / n - 0.5 for n, source in zip(_SIZE, _SOURCE, strict=True)]
    (top, left), (down, right) = (
        [part.astype(dtype) for part in parts]
        for dtype, parts in (
            (np.int64, [np.floor(p) for p in places]),
            (np.float32, [p - np.floor(p) for p in places]),
        )
    )
    luma = reference.LUMA.astype(np.float32)

    def call() -> object:
        above = image[top].astype(np.float32)
        rows = above + (image[top + 1] - above) * down[:, None, None]
        if grey:
            rows = (rows @ luma)[..., None]
        columns = rows[:, left] + (rows[:, left + 1] - rows[:, left]) * right[:, None]
        return ((columns / np.float32(255) - np.float32(_MEAN)) / np.float32(_STD)).transpose(2, 0, 1)

    return call


def _opencv(image: np.ndarray, grey: bool) -> dict[str, Call | None]:
    cv2 = installed("cv2")
    if cv2 is None:
        return {}
    scale, dsize = 1 / (255 * _STD), (_SIZE[1], _SIZE[0])

    def grey_first() -> object:
        small = cv2.resize(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY) if grey else image, dsize)
        planes = small[None] if grey else small.transpose(2, 0, 1)
        return np.multiply(planes, np.float32(scale), dtype=np.float32) - np.float32(_MEAN / _STD)

    def blob() -> object:
        small = cv2.resize(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY) if grey else image, dsize)
        return cv2.dnn.blobFromImage(small, scale, mean=(255 * _MEAN,) * 3)[0]

    def resize_first() -> object:
        small = cv2.cvtColor(cv2.resize(image, dsize), cv2.COLOR_RGB2GRAY)
        return cv2.dnn.blobFromImage(small, scale, mean=(255 * _MEAN,))[0]

    return {
        "OpenCV": grey_first,
        "OpenCV, blob": blob,
        **({"OpenCV, resize first": resize_first} if grey else {}),
    }


def _torch(image: np.ndarray, grey: bool) -> Call | None:
    torch = installed("torch")
    if torch is None:
        return None
    luma = torch.tensor(reference.LUMA, dtype=torch.float32)

    def call() -> object:
        with torch.inference_mode():
            planes = torch.from_numpy(image).permute(2, 0, 1)[None].to(torch.float32)
            small = torch.nn.functional.interpolate(planes, _SIZE, mode="bilinear", align_corners=False)[0]
            if grey:
                small = torch.einsum("chw,c->hw", small, luma)[None]
            return ((small / 255 - _MEAN) / _STD).numpy()

    return call
