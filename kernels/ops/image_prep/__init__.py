"""image_prep: resize, grey, normalise and planes of channels, in one pass over the image."""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from tailrace.kernels import _checks, _cpu, device, dispatch
from tailrace.kernels.native import NativeOp, native_op
from tailrace.kernels.ops.image_prep import reference
from tailrace.kernels.registry import Op

__all__ = ["OP", "ImagePrep", "image_prep"]

_NAME = "image_prep"
_MOST = 1 << 20  # pixels of a side
Levels = float | Sequence[float]
Triple = tuple[float, float, float]


def image_prep(
    images: Any,
    size: tuple[int, int],
    *,
    grey: bool = False,
    mean: Levels = 0.0,
    std: Levels = 1.0,
    antialias: bool = False,
    backend: str = "auto",
    out: Any = None,
) -> Any:
    """Return images resized, as planes of float32: (level / 255 - mean) / std per channel.

    The channels of an image are red, green, blue. Pixel centres are at halves, as OpenCV's INTER_LINEAR and
    torch's align_corners=False have them; unlike OpenCV, nothing is rounded to whole levels on the way.

    Args:
        images: uint8 [n, height, width, 3], or [height, width, 3] for one image.
        size: (height, width) of the result, in pixels. OpenCV's dsize is (width, height).
        grey: one channel, 0.299 R + 0.587 G + 0.114 B (BT.601).
        mean: per channel of the result, or one for all, in units where white is 1: torchvision's constants.
        std: as mean; not 0.
        antialias: if the image shrinks, average over all pixels that fall into one (a triangle as wide as the
            scale, as Pillow and torch do it); without it two pixels each way count, as with OpenCV.
        backend: "auto", "cpu", "cuda" or "numpy".
        out: float32 [n, channels, height, width] ([channels, height, width] for one image) that is written to
            and returned.

    Returns:
        float32 [n, channels, height, width], or [channels, height, width] for one image.

    Raises:
        TypeError, ValueError: for arrays of another dtype, shape or layout, sizes or constants that make no
            sense; the message says what is wanted.
        BackendUnavailable: for a named backend that cannot be had here.

    Source: ITU-R BT.601-7, section 2.5.1, for grey.

    >>> import numpy as np
    >>> from tailrace.kernels import image_prep
    >>> white = np.full((480, 640, 3), 255, np.uint8)
    >>> image_prep(white, (2, 2), grey=True, mean=0.5, std=0.5).round(3)
    array([[[1., 1.],
            [1., 1.]]], dtype=float32)
    """
    chosen = dispatch.choose(_NAME, backend, images, out, offers=OP.backends)
    if chosen == "cuda":
        from tailrace.kernels.ops.image_prep import launch

        how = (bool(grey), bool(antialias), *_constants(mean, std, grey))
        return launch.run(images, ("height", "width"), _size(size), how, out)
    one = getattr(images, "ndim", 4) == 3
    images = _checked(images, ("height", "width", 3) if one else ("n", "height", "width", 3))
    bound = _bound(
        images.shape[-3:-1], _size(size), bool(grey), bool(antialias), *_constants(mean, std, grey)
    )
    shape = (*images.shape[:-3], 1 if grey else 3, *_size(size))
    out = _checks.output(_NAME, out, shape)
    if chosen == "numpy":
        truth = reference.image_prep(images, size, grey=grey, mean=mean, std=std, antialias=antialias)
        dispatch.reference_into(truth, out)
    elif one:
        bound(images[None], out[None])
    else:
        bound(images, out)
    return out


class ImagePrep:
    """`image_prep` for images of one size, its tables worked out: a callable for steps and native steps.

    Args:
        source: (height, width) of the images that will come, in pixels.
        size: (height, width) of the results, in pixels.
        grey: as for `image_prep`.
        mean: as for `image_prep`.
        std: as for `image_prep`.
        antialias: as for `image_prep`.

    Raises:
        ValueError: for sizes or constants that make no sense.

    Any number of threads may call one object.

    >>> import numpy as np
    >>> from tailrace.kernels import ImagePrep
    >>> prep = ImagePrep((480, 640), (224, 224), grey=True)
    >>> prep(np.zeros((2, 480, 640, 3), np.uint8)).shape
    (2, 1, 224, 224)
    """

    def __init__(
        self,
        source: tuple[int, int],
        size: tuple[int, int],
        *,
        grey: bool = False,
        mean: Levels = 0.0,
        std: Levels = 1.0,
        antialias: bool = False,
    ) -> None:
        self.source = _size(source, "source")
        self.size = _size(size)
        self.channels = 1 if grey else 3
        self._how = (bool(grey), bool(antialias), *_constants(mean, std, bool(grey)))
        self._run = _bound(self.source, self.size, *self._how)

    def __call__(self, images: Any, *, out: Any = None) -> Any:
        """Return float32 [n, channels, height, width] for uint8 [n, height, width, 3]; n may be absent.

        Images on a device are prepared there.
        """
        if type(images) is not np.ndarray and _checks.is_device_array(images):
            device.require()
            from tailrace.kernels.ops.image_prep import launch

            return launch.run(images, self.source, self.size, self._how, out)
        one = getattr(images, "ndim", 4) == 3
        images = _checked(images, (*self.source, 3) if one else ("n", *self.source, 3))
        result = _checks.output(_NAME, out, (*images.shape[:-3], self.channels, *self.size))
        if one:
            self._run(images[None], result[None])
        else:
            self._run(images, result)
        return result

    def native(self, batch: int = 1) -> NativeOp:
        """Return what tr.native_step takes: its record has fields `images` and `out` of `batch` images."""
        fields = [
            ("images", "uint8", (batch, *self.source, 3)),
            ("out", "float32", (batch, self.channels, *self.size)),
        ]
        return native_op(_NAME, self._run._bound(), batch, fields)

    def __repr__(self) -> str:
        return f"<ImagePrep {self.source} to {self.size}, {self.channels} channels>"


def _checked(images: Any, shape: tuple[int | str, ...]) -> np.ndarray:
    checked = _checks.host_array(_NAME, "images", images, ("uint8",), shape, least=1)
    if 0 in checked.shape:
        raise ValueError(f"{_NAME}: images must have pixels; got {_checks.describe(checked)}")
    if max(checked.shape[-3:]) > _MOST:
        raise ValueError(f"{_NAME}: images may have {_MOST} pixels a side; got {_checks.describe(checked)}")
    return checked


def _size(size: Any, name: str = "size") -> tuple[int, int]:
    try:
        height, width = size
        if isinstance(height, bool) or isinstance(width, bool):
            raise TypeError
        found = (height.__index__(), width.__index__())
    except (TypeError, ValueError, AttributeError):
        raise ValueError(f"{_NAME}: {name} must be (height, width) in pixels; got {size!r}") from None
    if not all(1 <= side <= _MOST for side in found):
        raise ValueError(f"{_NAME}: {name} must be (height, width), each from 1 to {_MOST}; got {size!r}")
    return found


def _constants(mean: Levels, std: Levels, grey: bool) -> tuple[Triple, Triple]:
    means, stds = (v if type(v) is float else _numbers(n, v, grey) for n, v in (("mean", mean), ("std", std)))
    return _checked_constants(means, stds, bool(grey))


def _numbers(name: str, value: Any, grey: bool) -> tuple[float, ...]:
    try:
        return tuple(np.asarray(value, np.float64).ravel().tolist())
    except (TypeError, ValueError):
        raise _wrong_constants(name, value, grey) from None


def _wrong_constants(name: str, value: Any, grey: bool) -> ValueError:
    count = 1 if grey else 3
    return ValueError(f"{_NAME}: {name} must be one finite number or {count}, one per channel; got {value!r}")


@functools.lru_cache(maxsize=64)
def _checked_constants(mean: Levels, std: Levels, grey: bool) -> tuple[Triple, Triple]:
    means, stds = _per_channel("mean", mean, grey), _per_channel("std", std, grey)
    if not all(abs(s) >= 1e-30 and abs(m) <= 1e30 * abs(s) for m, s in zip(means, stds, strict=True)):
        raise ValueError(f"{_NAME}: std must not be 0 or near it, also beside mean; got {std!r}")
    return means, stds


def _per_channel(name: str, value: Levels, grey: bool) -> Triple:
    channels = 1 if grey else 3
    found = np.asarray(value, np.float64).ravel()
    if found.size not in (1, channels) or not np.isfinite(found).all():
        raise _wrong_constants(name, value, grey)
    first, second, third = (float(v) for v in np.broadcast_to(found, (3,)))
    return first, second, third


@functools.lru_cache(maxsize=64)
def _bound(
    source: tuple[int, int],
    size: tuple[int, int],
    grey: bool,
    antialias: bool,
    mean: Triple,
    std: Triple,
) -> _cpu.ImagePrep:
    return _cpu.ImagePrep(source, size, grey, antialias, mean, std)


def _cases(rng: np.random.Generator, n: int, dtype: str) -> dict[str, Any]:
    count = 1 + n % 3
    images = rng.integers(0, 256, (count, 3 * n, 2 * n + 1, 3), dtype=np.uint8)
    case: dict[str, Any] = {"images": images, "size": (n + 1, n), "antialias": n % 4 == 3}
    if n % 2:
        return case | {"grey": True, "mean": 0.5, "std": 0.5}
    return case | {"mean": (0.485, 0.456, 0.406), "std": (0.5, 0.75, 1.0)}


def _error(result: np.ndarray, truth: np.ndarray) -> float:
    """Return the largest difference in grey levels, at a std of 1."""
    if result.shape != truth.shape:
        return math.inf
    return float(np.abs(np.asarray(result, np.float64) - truth).max() * 255)


def _bytes(*, images: Any, size: tuple[int, int], grey: bool = False, **_: Any) -> int:
    return int(images.nbytes + 4 * len(images) * (1 if grey else 3) * size[0] * size[1])


def _flops(*, images: Any, size: tuple[int, int], **_: Any) -> int:
    return int(len(images) * size[0] * size[1] * 3 * 8)


OP = Op(
    name=_NAME,
    call=image_prep,
    reference=reference.image_prep,
    cases=_cases,
    dtypes=("uint8",),
    tolerance={"uint8": 0.02},
    bytes=_bytes,
    flops=_flops,
    error=_error,
    backends=("cpu", "cuda"),
)
