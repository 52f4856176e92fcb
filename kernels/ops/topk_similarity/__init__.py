"""topk_similarity: the k keys with the highest scores for each query, exact, the scores never stored."""

from __future__ import annotations

from typing import Any

import numpy as np
from tailrace.kernels import _checks, _cpu, device, dispatch
from tailrace.kernels.native import NativeOp, native_op
from tailrace.kernels.ops.topk_similarity import reference
from tailrace.kernels.registry import Op

__all__ = ["MOST_K", "OP", "Retriever", "topk_similarity"]

_NAME = "topk_similarity"
_METRICS = ("dot", "cosine")
_STORES = ("float32", "float16", "int8")
MOST_K = 1024


def topk_similarity(
    queries: Any,
    keys: Any,
    k: int,
    *,
    metric: str = "dot",
    scales: Any = None,
    backend: str = "auto",
    out: Any = None,
) -> tuple[Any, Any]:
    """Return the k highest scores of each query, and the keys that have them, best first.

    Every key is scored; of equal scores the lower index goes first. A score is a sum in float32 that is the
    same whatever else is in the batch. For keys that are searched again and again a `Retriever` is quicker.

    Args:
        queries: float32 [batch, dim].
        keys: float32, float16 or int8 [count, dim].
        k: how many, 1 to 1024 and at most count.
        metric: "dot", or "cosine": the same of rows of length one, and 0 for a row of zeros
            or of a length below 3e-39.
        scales: float32 [count]: what one step of a key's values stands for; needed for int8.
        backend: "auto", "cpu", "cuda" or "numpy".
        out: (float32 [batch, k], int64 [batch, k]), written to and returned.

    Returns:
        Scores, float32 [batch, k], and indices of keys, int64 [batch, k].

    Raises:
        TypeError, ValueError: for arrays of another dtype, shape or layout, or a score that is not a number:
            the comparison that every score undergoes also finds those, at no cost.
        BackendUnavailable: for a named backend that cannot be had here.

    Source: Goto and van de Geijn, "Anatomy of High-Performance Matrix Multiplication", 2008; Hoare, 1961.

    >>> import numpy as np
    >>> from tailrace.kernels import topk_similarity
    >>> keys = np.array([[1, 0], [0, 2], [3, 0], [0, 2]], np.float32)
    >>> topk_similarity(np.array([[0, 1]], np.float32), keys, 3)
    (array([[2., 2., 0.]], dtype=float32), array([[1, 3, 0]]))
    """
    _metric(metric)
    given = out if isinstance(out, tuple) else (out,)
    chosen = dispatch.choose(_NAME, backend, queries, keys, scales, *given, offers=OP.backends)
    if chosen == "cuda":
        from tailrace.kernels.ops.topk_similarity import launch

        return launch.run(queries, keys, lambda count: _k(_NAME, k, count), metric == "cosine", scales, out)
    keys, scales = _keys(_NAME, keys, scales)
    queries = _checks.host_array(_NAME, "queries", queries, ("float32",), ("batch", keys.shape[1]), least=1)
    k = _k(_NAME, k, len(keys))
    scores, indices = _outputs(_NAME, out, (len(queries), k))
    if chosen == "numpy":
        truth = reference.topk_similarity(queries, keys, k, metric=metric, scales=scales)
        dispatch.reference_into(truth, scores, indices)
    else:
        _cpu.topk_similarity(queries, keys, k, metric == "cosine", scales, scores, indices)
    return scores, indices


class Retriever:
    """Keys that are kept ready for searches: `retriever(queries)` is `topk_similarity(queries, keys, k)`.

    The keys are copied, 16 side by side, as the kernel reads them: no search has to turn them round.
    "float16" and "int8" take a half and a quarter of the memory: for few queries, of the time as well.

    Args:
        keys: float32, float16 or int8 [count, dim]; changing them later changes nothing here. Keys on a
            device stay there, are not copied or looked through for NaN, and take queries that lie there.
        k: how many each search returns, 1 to 1024 and at most count.
        metric: "dot" or "cosine".
        scales: float32 [count]: what one step of a key's values stands for; needed for int8 keys.
        store: "float32", "float16" or "int8" to convert float32 keys; "int8" rounds each key to steps of
            1/127 of its own largest value. None keeps them as they are.

    Raises:
        TypeError, ValueError: for arrays of another dtype, shape or layout, or keys with NaN.

    >>> import numpy as np
    >>> from tailrace.kernels import Retriever
    >>> nearest = Retriever(np.eye(4, dtype=np.float32), k=2, metric="cosine")
    >>> nearest(np.array([[0, 3, 0, 1]], np.float32))[1]
    array([[1, 3]])
    """

    def __init__(
        self,
        keys: Any,
        *,
        k: int = 10,
        metric: str = "dot",
        scales: Any = None,
        store: str | None = None,
    ) -> None:
        name = "Retriever"
        _metric(metric)
        self.metric = metric
        self._there: Any = None
        if type(keys) is not np.ndarray and _checks.is_device_array(keys):
            self._keep_there(keys, k, scales, store)
            return
        keys, scales = _keys(name, keys, scales)
        wrong = np.flatnonzero(np.isnan(keys).any(axis=1)) if keys.dtype.kind == "f" else np.empty(0, int)
        if len(wrong):
            raise ValueError(f"{name}: keys[{wrong[0]}] holds NaN: it can be compared with nothing")
        if store is not None:
            keys, scales = _stored(keys, scales, store)
        self.k = _k(name, k, len(keys))
        self.shape = (len(keys), int(np.shape(keys)[1]))
        self.store = str(keys.dtype.name)
        self._cpu = _cpu.Retriever(keys, scales, metric == "cosine", self.k)

    def _keep_there(self, keys: Any, k: Any, scales: Any, store: str | None) -> None:
        device.require()
        from tailrace.kernels.cuda import launcher
        from tailrace.kernels.ops.topk_similarity import launch

        if store is not None:
            raise ValueError("Retriever: store converts keys of the host; convert those of a device there")
        self._there = launch.Keys(launcher.Crossing("Retriever", keys), keys, scales, self.metric == "cosine")
        self.shape = self._there.shape
        self.k = _k("Retriever", k, self.shape[0])
        self.store = str(self._there.keys.dtype.name)

    def __call__(self, queries: Any, *, out: Any = None) -> tuple[Any, Any]:
        """Return the k highest scores of each query and their keys, as `topk_similarity` does.

        Args:
            queries: float32 [batch, dim].
            out: (float32 [batch, k], int64 [batch, k]), written to and returned.
        """
        if self._there is not None:
            found: tuple[Any, Any] = self._there.search_there(queries, self.k, out)
            return found
        queries = _checks.host_array(
            "Retriever", "queries", queries, ("float32",), ("batch", self.shape[1]), least=1
        )
        scores, indices = _outputs("Retriever", out, (len(queries), self.k))
        self._cpu.search(queries, scores, indices)
        return scores, indices

    def native(self, batch: int) -> NativeOp:
        """Return what `tr.native_step` takes: a record of queries, scores, indices for `batch` rows."""
        if self._there is not None:
            raise ValueError("Retriever: a native step runs on the CPU, and the keys lie on a device")
        fields = [
            ("queries", "float32", (batch, self.shape[1])),
            ("scores", "float32", (batch, self.k)),
            ("indices", "int64", (batch, self.k)),
        ]
        return native_op("Retriever", self._cpu._bound(), batch, fields)

    def __repr__(self) -> str:
        keys = f"{self.shape[0]} {self.store} keys of dim {self.shape[1]}"
        return f"<Retriever of {keys}, k={self.k}, {self.metric}>"


def _metric(metric: str) -> None:
    if metric not in _METRICS:
        raise ValueError(f"{_NAME}: metric must be one of {', '.join(_METRICS)}; got {metric!r}")


def _k(name: str, k: Any, count: int) -> int:
    most = min(MOST_K, count)
    if not isinstance(k, int | np.integer) or isinstance(k, bool) or not 1 <= k <= most:
        raise ValueError(
            f"{name}: k must be a whole number from 1 to {most} ({count} keys, at most {MOST_K}); got {k!r}"
        )
    return int(k)


def _keys(name: str, keys: Any, scales: Any) -> tuple[np.ndarray, np.ndarray | None]:
    keys = _checks.host_array(name, "keys", keys, _STORES, ("count", "dim"), least=1)
    if len(keys) >= 2**32:
        raise ValueError(f"{name}: at most {2**32 - 1} keys; got {len(keys)}: search them in parts")
    if scales is not None:
        scales = _checks.host_array(name, "scales", scales, ("float32",), keys.shape[:1])
    elif keys.dtype.name == "int8":
        raise ValueError(f"{name}: int8 keys need scales, float32 [{len(keys)}]: what one step stands for")
    return keys, scales


def _stored(keys: np.ndarray, scales: Any, store: str) -> tuple[np.ndarray, Any]:
    if store not in _STORES:
        raise ValueError(f"Retriever: store must be one of {', '.join(_STORES)} or None; got {store!r}")
    if keys.dtype.name != "float32" or scales is not None:
        raise ValueError(
            f"Retriever: store converts float32 keys without scales; got {_checks.describe(keys)}: "
            "leave store out"
        )
    if store == "int8":
        scales = (np.abs(keys).max(axis=1, initial=0) / 127).astype(np.float32)
        steps = keys / np.where(scales == 0, np.float32(1), scales)[:, None]
        return np.rint(steps).astype(np.int8), scales
    return keys.astype(store), scales


def _outputs(name: str, out: Any, shape: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    if out is None:
        return np.empty(shape, np.float32), np.empty(shape, np.int64)
    if not isinstance(out, tuple) or len(out) != 2:
        raise TypeError(
            f"{name}: out must be (float32 {list(shape)}, int64 {list(shape)}); got {_checks.describe(out)}"
        )
    return _checks.output(name, out[0], shape, name="out[0]"), _checks.output(
        name, out[1], shape, "int64", "out[1]"
    )


def _cases(rng: np.random.Generator, n: int, dtype: str) -> dict[str, Any]:
    count, dim, batch = 3 * n + 20, n + 1, 1 + n % 19
    keys = rng.normal(size=(count, dim)).astype(np.float32)
    case: dict[str, Any] = {"queries": rng.normal(size=(batch, dim)).astype(np.float32), "k": 1 + n % 20}
    case["metric"] = _METRICS[n % 2]
    if dtype == "int8":
        keys, case["scales"] = _stored(keys, None, "int8")
    return case | {"keys": keys.astype(dtype)}


def _error(result: Any, truth: Any) -> float:
    """How far scores are from the truth's; infinite where another key was found than one of equal score."""
    (scores, keys), (true_scores, true_keys) = result, truth
    difference = np.abs(np.asarray(scores, np.float64) - true_scores) / (1 + np.abs(true_scores))
    gaps = np.abs(np.diff(true_scores, axis=1))
    alone = np.ones(true_scores.shape, bool)
    alone[:, 1:] &= gaps > 1e-4
    alone[:, :-1] &= gaps > 1e-4
    alone[:, -1] = False  # the next one, which is not there, may be as good
    return float("inf") if (alone & (keys != true_keys)).any() else float(difference.max(initial=0))


def _bytes(*, queries: Any, keys: Any, k: int, **_: Any) -> int:
    return int(queries.nbytes + keys.nbytes + len(queries) * k * 12)


def _flops(*, queries: Any, keys: Any, **_: Any) -> int:
    return int(2 * len(queries) * keys.shape[0] * keys.shape[1])


OP = Op(
    name=_NAME,
    call=topk_similarity,
    reference=reference.topk_similarity,
    cases=_cases,
    dtypes=_STORES,
    tolerance={"float32": 2e-6, "float16": 2e-6, "int8": 2e-6},
    bytes=_bytes,
    flops=_flops,
    error=_error,
    backends=("cpu", "cuda"),
)
