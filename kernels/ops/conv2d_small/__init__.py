"""conv2d_small: a convolution with bias, relu and max-pooling in one pass over the image."""

from __future__ import annotations

from typing import Any

import numpy as np
from tailrace.kernels import _checks, _cpu, dispatch
from tailrace.kernels.ops.conv2d_small import reference
from tailrace.kernels.registry import Op

__all__ = ["OP", "conv2d_small"]

_NAME = "conv2d_small"
_ACTIVATIONS = ("none", "relu")


def conv2d_small(
    x: Any,
    weights: Any,
    bias: Any = None,
    *,
    stride: int = 1,
    padding: int = 0,
    activation: str = "none",
    max_pool: int = 1,
    backend: str = "auto",
    out: Any = None,
) -> Any:
    """Return the cross-correlation of images with the weights, activated, pooled.

    Made for small kernels and few channels, where a copy of all windows would cost more than the products.

    Args:
        x: float32 [batch, channels, height, width], pixels.
        weights: float32 [out channels, channels, kernel height, kernel width].
        bias: float32 [out channels], or None.
        stride: pixels from window to window, both ways.
        padding: zeros around the image, in pixels.
        activation: "none" or "relu".
        max_pool: the result is the largest of each max_pool x max_pool window, without overlap; what is left
            over at the right and at the bottom is dropped. A NaN in a window may be lost.
        backend: "auto", "cpu", "cuda" or "numpy".
        out: float32 [batch, out channels, out height, out width] that is written to and returned.

    Returns:
        float32, as `out`.

    Raises:
        TypeError, ValueError: for arrays of another dtype, shape or layout; where the image is smaller than
            the kernel, or the result than the pooling window.
        BackendUnavailable: for a named backend that cannot be had here.

    Source: Georganas et al., "Anatomy of high-performance deep learning convolutions on SIMD
    architectures", 2018.

    >>> import numpy as np
    >>> from tailrace.kernels import conv2d_small
    >>> image = np.arange(16, dtype=np.float32).reshape(1, 1, 4, 4)
    >>> edge = np.array([[[[-1, 1]]]], np.float32)
    >>> conv2d_small(image, edge, padding=0)[0, 0]
    array([[1., 1., 1.],
           [1., 1., 1.],
           [1., 1., 1.],
           [1., 1., 1.]], dtype=float32)
    """
    if activation not in _ACTIVATIONS:
        raise ValueError(f"{_NAME}: activation must be one of {', '.join(_ACTIVATIONS)}; got {activation!r}")
    for name, value, least in (("stride", stride, 1), ("padding", padding, 0), ("max_pool", max_pool, 1)):
        if not isinstance(value, int) or not least <= value < 2**20:
            raise ValueError(f"{_NAME}: {name} must be a whole number of at least {least}; got {value!r}")
    chosen = dispatch.choose(_NAME, backend, x, weights, bias, out, offers=OP.backends)
    if chosen == "cuda":
        from tailrace.kernels.ops.conv2d_small import launch

        return launch.run(x, weights, bias, stride, padding, activation == "relu", max_pool, out)
    x = _checks.host_array(_NAME, "x", x, ("float32",), ("batch", "channels", "height", "width"))
    wanted = ("out channels", x.shape[1], "kernel height", "kernel width")
    weights = _checks.host_array(_NAME, "weights", weights, ("float32",), wanted)
    if bias is not None:
        bias = _checks.host_array(_NAME, "bias", bias, ("float32",), weights.shape[:1])
    shape = out_shape(x.shape, weights.shape, stride, padding, max_pool)
    out = _checks.output(_NAME, out, shape, apart_from=(x, weights, bias))
    if chosen == "numpy":
        truth = reference.conv2d_small(
            x, weights, bias, stride=stride, padding=padding, activation=activation, max_pool=max_pool
        )
        dispatch.reference_into(truth, out)
    else:
        _cpu.conv2d_small(x, weights, bias, stride, padding, activation == "relu", max_pool, out)
    return out


def out_shape(
    x: tuple[int, ...], weights: tuple[int, ...], stride: int, padding: int, max_pool: int
) -> tuple[int, ...]:
    """Return the shape of a result.

    Raises:
        ValueError: where nothing would be left.

    >>> out_shape((1, 1, 480, 640), (32, 1, 3, 3), 1, 0, 2)
    (1, 32, 239, 319)
    """
    if min(weights[1:]) < 1 or any(e + 2 * padding < k for e, k in zip(x[2:], weights[2:], strict=True)):
        raise ValueError(
            f"{_NAME}: an image of {x[2]} x {x[3]} pixels and {padding} of padding holds no window of "
            f"{weights[2]} x {weights[3]}, {weights[1]} channels"
        )
    high, wide = ((e + 2 * padding - k) // stride + 1 for e, k in zip(x[2:], weights[2:], strict=True))
    if min(high, wide) < max_pool:
        raise ValueError(
            f"{_NAME}: the convolution is {high} x {wide}, smaller than the window of max_pool={max_pool}"
        )
    return x[0], weights[0], high // max_pool, wide // max_pool


def _cases(rng: np.random.Generator, n: int, dtype: str) -> dict[str, Any]:
    channels, kernel = 1 + n % 3, 1 + n % 4
    side = n + 2 * kernel
    case: dict[str, Any] = {
        "x": rng.normal(size=(1 + n % 2, channels, side, side + n % 5)).astype(dtype),
        "weights": rng.normal(size=(3 + n // 4, channels, kernel, kernel)).astype(np.float32),
        "bias": rng.normal(size=3 + n // 4).astype(np.float32),
        "padding": n % 3,
        "stride": 1 + n % 2,
    }
    if n % 2 == 0 or n > 30:
        case |= {"activation": "relu", "max_pool": 2 + n % 2}
    return case


def _bytes(*, x: Any, weights: Any, stride: int = 1, padding: int = 0, max_pool: int = 1, **_: Any) -> int:
    result = out_shape(x.shape, weights.shape, stride, padding, max_pool)
    return int(x.nbytes + weights.nbytes + 4 * np.prod(result))


def _flops(*, x: Any, weights: Any, stride: int = 1, padding: int = 0, **_: Any) -> int:
    return int(2 * np.prod(out_shape(x.shape, weights.shape, stride, padding, 1)) * weights[0].size)


OP = Op(
    name=_NAME,
    call=conv2d_small,
    reference=reference.conv2d_small,
    cases=_cases,
    dtypes=("float32",),
    tolerance={"float32": 2e-6},
    bytes=_bytes,
    flops=_flops,
    backends=("cpu", "cuda"),
)
