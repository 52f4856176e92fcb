"""conv2d_small on a device: one launch, a thread a pixel of the result."""

from __future__ import annotations

from typing import Any

import numpy as np
from tailrace.kernels.cuda import launcher
from tailrace.kernels.cuda.networks import most_shared_bytes

__all__ = ["run"]

_NAME = "conv2d_small"
_THREADS = 256
_AT_ONCE = 8  # output channels of a thread
_MOST_IMAGES = 65535  # of a grid along z

_FIELDS = (
    "channels",
    "height",
    "width",
    "out_channels",
    "kernel_height",
    "kernel_width",
    "stride",
    "padding",
    "pool",
    "relu",
    "out_height",
    "out_width",
    "staged",
)
CONVOLUTION = np.dtype([(field, "i4") for field in _FIELDS])


def run(
    x: Any, weights: Any, bias: Any, stride: int, padding: int, relu: bool, max_pool: int, out: Any
) -> Any:
    """Run conv2d_small on the device; arguments as the op has them, on the host or on the device.

    Raises:
        TypeError, ValueError: for arrays of another dtype, shape or side; where nothing would be left.
    """
    from tailrace.kernels.ops.conv2d_small import out_shape

    crossing = launcher.Crossing(_NAME, x)
    x = crossing.take(x, "x", ("float32",), ("batch", "channels", "height", "width"))
    images, channels, height, width = (int(extent) for extent in x.shape)
    wanted = ("out channels", channels, "kernel height", "kernel width")
    weights = crossing.take(weights, "weights", ("float32",), wanted)
    outputs, _, high, wide = (int(extent) for extent in weights.shape)
    bias = crossing.take(bias, "bias", ("float32",), (outputs,))
    shape = out_shape(tuple(x.shape), tuple(weights.shape), stride, padding, max_pool)
    if images > _MOST_IMAGES:
        raise ValueError(f"{_NAME}: at most {_MOST_IMAGES} images at once on a device; got {images}")
    result = crossing.result(out, shape)
    each = _AT_ONCE if outputs > 1 else 1
    shared_bytes = 4 * channels * high * wide * each
    staged = shared_bytes <= most_shared_bytes()
    convolution = np.zeros(1, CONVOLUTION)
    convolution[0] = (
        channels,
        height,
        width,
        outputs,
        high,
        wide,
        stride,
        padding,
        max_pool,
        relu,
        *shape[2:],
        staged,
    )
    launcher.launch(
        _NAME,
        f"conv2d_small_{each}",
        (-(-shape[2] * shape[3] // _THREADS), -(-outputs // each), images),
        (_THREADS,),
        (convolution, x, weights, bias, result),
        shared_bytes=shared_bytes if staged else 0,
    )
    return crossing.give(result)
