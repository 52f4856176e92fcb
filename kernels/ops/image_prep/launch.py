"""The way of image_prep to the device."""

from __future__ import annotations

from typing import Any

import numpy as np
from tailrace.kernels.cuda import launcher

_NAME = "image_prep"
_BLOCK = (32, 8)
_MOST_IMAGES = 65535  # of one launch: blocks along z
_MOST_PRODUCT = 2**29  # of a source side and a target side: the kernel's distances are int32

Triple = tuple[float, float, float]


def run(
    images: Any,
    source: tuple[int | str, int | str],
    size: tuple[int, int],
    how: tuple[bool, bool, Triple, Triple],
    out: Any,
) -> Any:
    """Run image_prep on the device.

    Args:
        images: uint8 [n, height, width, 3] or [height, width, 3], on the host or on the device.
        source: the height and width that they must have; a name where they may have any.
        size: height and width of the result.
        how: grey, antialias, mean, std.
        out: as the op has it.

    Raises:
        TypeError, ValueError: for arrays of another dtype, shape or side, and for a source and a target
            side whose product is 2**29 or more.
    """
    grey, antialias, mean, std = how
    call = launcher.Crossing(_NAME, images)
    one = getattr(images, "ndim", 4) == 3
    wanted = (*source, 3) if one else ("n", *source, 3)
    images = call.take(images, "images", ("uint8",), wanted, least=1)
    height, width = (int(side) for side in images.shape[-3:-1])
    if 0 in images.shape:
        raise ValueError(f"{_NAME}: images must have pixels; got {list(images.shape)}")
    if max(height * size[0], width * size[1]) >= _MOST_PRODUCT:
        raise ValueError(
            f"{_NAME}: on the device a side of the image times that of the result must be below "
            f"{_MOST_PRODUCT}; got {(height, width)} and {size}"
        )
    channels = 1 if grey else 3
    result = call.result(out, (*images.shape[:-3], channels, *size))
    levels = [np.float32(1 / (255 * std[c])) for c in range(channels)]
    levels += [np.float32(-mean[c] / std[c]) for c in range(channels)]
    sides = [np.int32(side) for side in (height, width, *size)]
    count = 1 if one else int(images.shape[0])
    for first in range(0, count, _MOST_IMAGES):
        part = slice(first, min(first + _MOST_IMAGES, count))
        launcher.launch(
            _NAME,
            "image_prep_grey" if grey else "image_prep_colour",
            (-(-size[1] // _BLOCK[0]), -(-size[0] // _BLOCK[1]), part.stop - first),
            _BLOCK,
            (
                images if one else images[part],
                result if one else result[part],
                *sides,
                np.int32(antialias),
                *levels,
            ),
        )
    return call.give(result)
