"""pca_project: rows in the coordinates of their principal components."""

from __future__ import annotations

from typing import Any

import numpy as np
from tailrace.kernels import _checks, _cpu, dispatch
from tailrace.kernels.native import NativeOp, native_op
from tailrace.kernels.ops.pca_project import reference
from tailrace.kernels.registry import Op

__all__ = ["OP", "Pca", "fit_pca", "pca_project"]

_NAME = "pca_project"


def pca_project(
    x: Any, components: Any, mean: Any, *, whiten: Any = None, backend: str = "auto", out: Any = None
) -> Any:
    """Return the rows less the mean, projected onto the components.

    Components and mean are packed for this one call; a `Pca` packs them once.

    Args:
        x: float32 [batch, features].
        components: float32 [components, features].
        mean: float32 [features].
        whiten: float32 [components]: the variance along each component; the result is divided by its root.
        backend: "auto", "cpu", "cuda" or "numpy".
        out: float32 [batch, components] that is written to and returned.

    Returns:
        float32 [batch, components].

    Raises:
        TypeError, ValueError: for arrays of another dtype, shape or layout; for a variance that is not above
            0.
        BackendUnavailable: for a named backend that cannot be had here.

    Source: Pearson, "On lines and planes of closest fit to systems of points in space", 1901.

    >>> import numpy as np
    >>> from tailrace.kernels import pca_project
    >>> line = np.array([[0.6, 0.8]], np.float32)
    >>> pca_project(np.array([[4, 5], [7, 9]], np.float32), line, np.array([1, 1], np.float32))
    array([[ 5.],
           [10.]], dtype=float32)
    """
    chosen = dispatch.choose(_NAME, backend, x, components, mean, whiten, out, offers=OP.backends)
    if chosen == "cuda":
        from tailrace.kernels.ops.pca_project import launch

        return launch.run(x, components, mean, whiten, out)
    bound = Pca(components, mean, whiten=whiten)
    if chosen == "cpu":
        return bound(x, out=out)
    x = _checks.host_array(_NAME, "x", x, ("float32",), ("batch", bound.features))
    out = _checks.output(_NAME, out, (len(x), len(bound.components)))
    dispatch.reference_into(reference.pca_project(x, components, mean, whiten=whiten), out)
    return out


class Pca:
    """A projection onto principal components, packed once.

    Attributes:
        components: float32 [components, features], read-only.
        mean: float32 [features], read-only.
        explained_variance: float32 [components], or None where it was not given.
        features: Numbers of a row.

    >>> import numpy as np
    >>> from tailrace.kernels import fit_pca
    >>> points = np.array([[0, 0], [3, 4], [6, 8]], np.float32)
    >>> fit_pca(points, 1)(points).round(4)
    array([[-5.],
           [ 0.],
           [ 5.]], dtype=float32)
    """

    def __init__(
        self, components: Any, mean: Any, *, whiten: Any = None, explained_variance: Any = None
    ) -> None:
        """Take components, mean, and for whitening the variances; as `pca_project`."""
        components = _checks.host_array(
            _NAME, "components", components, ("float32",), ("components", "features"), 1
        )
        self.features = components.shape[1]
        mean = _checks.host_array(_NAME, "mean", mean, ("float32",), (self.features,))
        factors = None
        if whiten is not None:
            whiten = _checks.host_array(_NAME, "whiten", whiten, ("float32",), (len(components),))
            if not (whiten > 0).all():
                raise ValueError(
                    f"{_NAME}: whiten must be variances above 0; component {int(np.argmin(whiten > 0))} has "
                    f"{whiten[np.argmin(whiten > 0)]}: leave such components out"
                )
            factors = (1 / np.sqrt(whiten.astype(np.float64))).astype(np.float32)
        self.components, self.mean = components.copy(), mean.copy()
        self.components.flags.writeable = self.mean.flags.writeable = False
        self.explained_variance = whiten if explained_variance is None else explained_variance
        self._op = _cpu.Projection(self.components, self.mean, factors)

    def __call__(self, x: Any, *, out: Any = None) -> Any:
        """Project rows.

        Args:
            x: float32 [batch, features].
            out: float32 [batch, components] that is written to and returned; nothing of it in x.

        Returns:
            float32 [batch, components].

        Raises:
            TypeError, ValueError: for arrays of another dtype, shape or layout.
        """
        if out is None:
            rows = x.shape[0] if isinstance(x, np.ndarray) and x.ndim else 0
            out = np.empty((rows, len(self.components)), np.float32)
        if self._op(x, out):
            return out
        x = _checks.host_array(_NAME, "x", x, ("float32",), ("batch", self.features))
        _checks.output(_NAME, out, (len(x), len(self.components)), apart_from=(x,))
        raise AssertionError("a kernel refused arrays that its op finds right")

    def native(self, batch: int = 1) -> NativeOp:
        """Return what tr.native_step takes, for records of `batch` rows: x and y, float32.

        Args:
            batch: rows of one record.
        """
        count = len(self.components)
        fields = [("x", "float32", (batch, self.features)), ("y", "float32", (batch, count))]
        return native_op(_NAME, self._op._bound(), batch, fields)

    def __repr__(self) -> str:
        return f"<Pca {self.features} features -> {len(self.components)} components>"


def fit_pca(data: Any, components: float, *, whiten: bool = False) -> Pca:
    """Learn the principal components of a table.

    Args:
        data: float32 or float64 [rows, features], finite, at least two rows.
        components: how many; or, if below 1, the share of the variance that they explain together.
        whiten: whether each component is divided by its standard deviation.

    Returns:
        A `Pca`: the largest number of each component is above 0, `explained_variance` falls.

    Raises:
        TypeError, ValueError: for an array of another dtype, shape or layout, or with values that are not
            finite; for more components than there are features, or rows less one.

    Source: the eigenvectors of the covariance in float64, or, where there are fewer rows than features, the
    singular vectors of the table.

    >>> import numpy as np
    >>> from tailrace.kernels import fit_pca
    >>> fit_pca(np.array([[0, 0], [3, 4], [6, 8.0]]), 0.95).components
    array([[0.6, 0.8]], dtype=float32)
    """
    data = _checks.host_array("fit_pca", "data", data, ("float32", "float64"), ("rows", "features"), least=2)
    rows, features = data.shape
    most = min(rows - 1, features)
    share = isinstance(components, float) and 0 < components < 1
    whole = isinstance(components, int | float | np.integer) and components in range(1, most + 1)
    if not share and not whole:
        raise ValueError(
            f"fit_pca: components must be a whole number of 1 to {most} (features, or rows less one), or a "
            f"share between 0 and 1; got {components!r}"
        )
    if not np.isfinite(data).all():
        raise ValueError(
            "fit_pca: data has values that are not finite; FeaturesPrep imputes, valid_rows finds them"
        )
    mean = data.mean(axis=0, dtype=np.float64)
    centred = data - mean
    if rows > features:
        variance, vectors = np.linalg.eigh(centred.T @ centred / (rows - 1))
        variance, vectors = np.maximum(variance[::-1], 0), vectors.T[::-1]
    else:
        _, singular, vectors = np.linalg.svd(centred, full_matrices=False)
        variance = singular**2 / (rows - 1)
    count = most
    if not share:
        count = int(components)
    elif variance.sum() > 0:
        count = int(np.searchsorted(np.cumsum(variance) / variance.sum(), components)) + 1
    vectors, variance = vectors[:count], variance[:count]
    vectors = vectors * np.where(
        np.take_along_axis(vectors, np.abs(vectors).argmax(axis=1)[:, None], axis=1) < 0, -1.0, 1.0
    )
    explained = variance.astype(np.float32)
    return Pca(
        np.ascontiguousarray(vectors, np.float32),
        mean.astype(np.float32),
        whiten=explained if whiten else None,
        explained_variance=explained,
    )


def _cases(rng: np.random.Generator, n: int, dtype: str) -> dict[str, Any]:
    features, count = 1 + n, 1 + n // 2
    case: dict[str, Any] = {
        "x": (rng.normal(size=(n, features)) + 300).astype(dtype),
        "components": rng.normal(size=(count, features)).astype(np.float32),
        "mean": (rng.normal(size=features) + 300).astype(np.float32),
    }
    if n % 2:
        case["whiten"] = rng.uniform(0.1, 9, count).astype(np.float32)
    return case


def _bytes(*, x: Any, components: Any, **_: Any) -> int:
    return int(x.nbytes + components.nbytes + 4 * len(x) * len(components))


def _flops(*, x: Any, components: Any, **_: Any) -> int:
    return int(2 * x.size * len(components))


OP = Op(
    name=_NAME,
    call=pca_project,
    reference=reference.pca_project,
    cases=_cases,
    dtypes=("float32",),
    tolerance={"float32": 2e-6},
    bytes=_bytes,
    flops=_flops,
    backends=("cpu", "cuda"),
)
