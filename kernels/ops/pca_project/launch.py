"""pca_project on a device: one product, the mean taken off on the way in."""

from __future__ import annotations

from typing import Any

import numpy as np
from tailrace.kernels.cuda import launcher

__all__ = ["run"]

_NAME = "pca_project"
_COLUMNS = 64  # of a block


def run(x: Any, components: Any, mean: Any, whiten: Any, out: Any) -> Any:
    """Run pca_project on the device; arguments as the op has them, on the host or on the device.

    A component whose variance is not above 0 gives NaN or infinity: nobody waits for the device to find it.

    Raises:
        TypeError, ValueError: for arrays of another dtype, shape or side.
    """
    crossing = launcher.Crossing(_NAME, x)
    components = crossing.take(components, "components", ("float32",), ("components", "features"), least=1)
    count, features = (int(extent) for extent in components.shape)
    x = crossing.take(x, "x", ("float32",), ("batch", features))
    mean = crossing.take(mean, "mean", ("float32",), (features,))
    variance = crossing.take(whiten, "whiten", ("float32",), (count,))
    rows = int(x.shape[0])
    result = crossing.result(out, (rows, count))
    tile = 64 if rows >= 32 * launcher.multiprocessors() else 16
    launcher.launch(
        _NAME,
        f"pca_project_{tile}",
        (-(-rows // tile), -(-count // _COLUMNS)),
        (256,),
        (x, components, mean, variance, result, np.int32(rows), np.int32(features), np.int32(count)),
    )
    return crossing.give(result)
