"""sample_tokens: a token per row of logits, after temperature, top-k, top-p and min-p, without sorting."""

from __future__ import annotations

from typing import Any

import numpy as np
from tailrace.kernels import _checks, _cpu, device, dispatch
from tailrace.kernels.native import NativeOp, native_op
from tailrace.kernels.ops.sample_tokens import reference
from tailrace.kernels.registry import Op

__all__ = ["MOST_TOKENS", "OP", "Sampler", "kept_tokens", "sample_tokens"]

_NAME = "sample_tokens"
MOST_TOKENS = 2**22


def sample_tokens(
    logits: Any,
    *,
    temperature: Any = 1.0,
    top_k: Any = 0,
    top_p: Any = 1.0,
    min_p: Any = 0.0,
    seed: Any,
    step: Any = 0,
    backend: str = "auto",
    out: Any = None,
) -> Any:
    """Return one token per row, drawn with the probabilities that its logits have.

    First the `top_k` highest logits are kept; of these, after the temperature, the fewest whose probabilities
    sum to `top_p`, the likeliest first; of these, tokens at least `min_p` times as likely as the likeliest.
    Of equal logits top-k and top-p keep those of lower index; min-p keeps all or none of them. Weights are
    whole multiples of 2^-40 of the likeliest token's, so sums are exact, and the token depends on the
    arguments alone: not on the machine, its instruction set, or what else is drawn. Its random number is
    Philox4x32-10 of (seed, step, row).

    `temperature`, `top_k`, `top_p`, `min_p`, `seed` and `step` are numbers for all rows, or arrays [rows].

    Args:
        logits: float32 [rows, tokens]; -inf rules a token out. At most 2^22 tokens.
        temperature: 0 (the likeliest token) or above.
        top_k: how many are kept; 0 keeps all.
        top_p: above 0, at most 1; 1 keeps all.
        min_p: 0 to 1; 0 keeps all.
        seed: 0 to 2^64 - 1.
        step: 0 to 2^64 - 1: which draw of this seed, as the place in the text.
        backend: "auto", "cpu", "cuda" or "numpy".
        out: int32 [rows] that is written to and returned.

    Returns:
        int32 [rows].

    Raises:
        TypeError, ValueError: for arrays of another dtype, shape or layout, parameters out of range, and
            logits with NaN or +inf or all -inf: the message names the row.
        BackendUnavailable: for a named backend that cannot be had here.

    Source: Holtzman et al., 2020 (top-p); Nguyen et al., 2024 (min-p); Salmon et al., 2011 (Philox).

    >>> import numpy as np
    >>> from tailrace.kernels import sample_tokens
    >>> logits = np.log(np.array([[0.1, 0.2, 0.7], [0.5, 0.5, 1e-9]], np.float32))
    >>> sample_tokens(logits, temperature=0, seed=1)
    array([2, 0], dtype=int32)
    >>> sample_tokens(logits, top_p=0.9, seed=1, step=4).shape
    (2,)
    """
    chosen = dispatch.choose(_NAME, backend, logits, out, offers=OP.backends)
    if chosen == "cuda":
        from tailrace.kernels.ops.sample_tokens import launch

        given = (temperature, top_k, top_p, min_p, seed, step)
        temperature, top_k, top_p, min_p, seed, step = map(launch.on_host, given)
    else:
        logits = _logits(_NAME, logits, "tokens")
    limits = _limits(_NAME, temperature, top_k, top_p, min_p, len(logits))
    draws = _whole(_NAME, "seed", seed, len(logits)), _whole(_NAME, "step", step, len(logits))
    if chosen == "cuda":
        return launch.run(logits, *limits, *draws, out)
    out = _checks.output(_NAME, out, (len(logits),), "int32")
    if chosen == "numpy":
        _valid(logits)
        spread = dict(
            zip(_PARAMETERS, (_spread(value, len(logits)) for value in (*limits, *draws)), strict=True)
        )
        dispatch.reference_into(reference.sample_tokens(logits, **spread), out)
    else:
        _cpu.sample_tokens(logits, *limits, *draws, out)
    return out


def kept_tokens(
    logits: Any, *, temperature: Any = 1.0, top_k: Any = 0, top_p: Any = 1.0, min_p: Any = 0.0
) -> np.ndarray:
    """Return which tokens `sample_tokens` can draw, bool [rows, tokens]; arguments as there.

    >>> import numpy as np
    >>> from tailrace.kernels.ops.sample_tokens import kept_tokens
    >>> kept_tokens(np.array([[1, 3, 2, 3]], np.float32), top_k=1)
    array([[False,  True, False, False]])
    """
    name = "kept_tokens"
    logits = _logits(name, logits, "tokens")
    limits = _limits(name, temperature, top_k, top_p, min_p, len(logits))
    out = np.empty(logits.shape, bool)
    _cpu.kept_tokens(logits, *limits, np.zeros(1, np.uint64), out)
    return out


class Sampler:
    """Parameters that are checked once: `sampler(logits, step=i)` is `sample_tokens(logits, ..., step=i)`.

    Args:
        tokens: how many logits a row has.
        temperature, top_k, top_p, min_p, seed: as `sample_tokens` takes them; an array fixes the rows.

    Raises:
        TypeError, ValueError: for parameters out of range.

    >>> import numpy as np
    >>> from tailrace.kernels import Sampler
    >>> greedy = Sampler(3, temperature=0, seed=1)
    >>> greedy(np.array([[1, 5, 2]], np.float32))
    array([1], dtype=int32)
    """

    def __init__(
        self,
        tokens: int,
        *,
        temperature: Any = 1.0,
        top_k: Any = 0,
        top_p: Any = 1.0,
        min_p: Any = 0.0,
        seed: Any,
    ) -> None:
        name = "Sampler"
        if type(tokens) is bool or not isinstance(tokens, int) or not 1 <= tokens <= MOST_TOKENS:
            raise ValueError(f"{name}: tokens must be a whole number from 1 to {MOST_TOKENS}; got {tokens!r}")
        given = (temperature, top_k, top_p, min_p, seed)
        rows = max((np.size(value) for value in given if np.ndim(value)), default=None)
        limits = _limits(name, temperature, top_k, top_p, min_p, rows or 1)
        self.tokens = int(tokens)
        self.rows = rows
        self._limits = (*limits, _whole(name, "seed", seed, rows or 1))
        self._cpu = _cpu.Sampler(self.tokens, *self._limits)

    def __call__(self, logits: Any, *, step: Any = 0, out: Any = None) -> Any:
        """Return one token per row, as `sample_tokens` does; logits on a device are drawn from there.

        Args:
            logits: float32 [rows, tokens].
            step: which draw of this seed; one for all rows, or an array [rows].
            out: int32 [rows] that is written to and returned.
        """
        if type(logits) is not np.ndarray and _checks.is_device_array(logits):
            device.require()
            from tailrace.kernels.ops.sample_tokens import launch

            at = _whole("Sampler", "step", launch.on_host(step), len(logits))
            return launch.run(logits, *self._limits, at, out, (self.rows or "rows", self.tokens))
        logits = _logits("Sampler", logits, self.tokens, self.rows)
        found: np.ndarray = _checks.output("Sampler", out, (len(logits),), "int32")
        self._cpu.sample(logits, _whole("Sampler", "step", step, len(logits)), found)
        return found

    def native(self, batch: int) -> NativeOp:
        """Return what `tr.native_step` takes: a record of logits, step and token for `batch` rows."""
        if self.rows not in (None, batch):
            raise ValueError(f"Sampler: its parameters are for {self.rows} rows; got batch {batch!r}")
        fields = [
            ("logits", "float32", (batch, self.tokens)),
            ("step", "uint64", ()),
            ("token", "int32", (batch,)),
        ]
        return native_op("Sampler", self._cpu._bound(), batch, fields)


_Limits = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]
_PARAMETERS = ("temperature", "top_k", "top_p", "min_p", "seed", "step")


def _logits(name: str, logits: Any, tokens: int | str, rows: int | None = None) -> np.ndarray:
    checked = _checks.host_array(name, "logits", logits, ("float32",), (rows or "rows", tokens), least=1)
    if not 1 <= checked.shape[1] <= MOST_TOKENS:
        raise ValueError(
            f"{name}: logits must have 1 to {MOST_TOKENS} tokens; got {_checks.describe(logits)}"
        )
    return checked


def _limits(name: str, temperature: Any, top_k: Any, top_p: Any, min_p: Any, rows: int) -> _Limits:
    return (
        _real(name, "temperature", temperature, rows, 0, np.inf, "0 or above, finite"),
        _whole(name, "top_k", top_k, rows, np.int64),
        _real(name, "top_p", top_p, rows, 5e-324, 1, "above 0, at most 1"),
        _real(name, "min_p", min_p, rows, 0, 1, "0 to 1"),
    )


def _real(name: str, what: str, value: Any, rows: int, least: float, most: float, wanted: str) -> np.ndarray:
    if type(value) in (float, int) and least <= value <= most and value != np.inf:
        return np.array([value], np.float64)
    wrong = f"{name}: {what} must be {wanted}, one number or float64 [{rows}]; got {{}}"
    try:
        numbers = np.ascontiguousarray(value, np.float64).reshape(-1)
    except (TypeError, ValueError):
        raise TypeError(wrong.format(type(value).__name__)) from None
    if np.ndim(value) > 1 or len(numbers) not in (1, rows):
        raise ValueError(wrong.format(_checks.describe(value)))
    good = (numbers >= least) & (numbers <= most) & np.isfinite(numbers)
    if not good.all():
        raise ValueError(wrong.format(float(numbers[~good][0])))
    return numbers


def _whole(name: str, what: str, value: Any, rows: int, dtype: Any = np.uint64) -> np.ndarray:
    most = np.iinfo(dtype).max
    wrong = f"{name}: {what} must be a whole number from 0 to {most}, or {dtype.__name__} [{rows}]; got {{}}"
    if isinstance(value, int) and not isinstance(value, bool):
        if not 0 <= value <= most:
            raise ValueError(wrong.format(value))
        return np.array([value], dtype)
    numbers = np.asarray(value)
    if numbers.dtype.kind not in "iu":
        raise TypeError(wrong.format(_checks.describe(value)))
    if numbers.ndim > 1 or numbers.size not in (1, rows):
        raise ValueError(wrong.format(_checks.describe(value)))
    if (numbers < 0).any() or (numbers > most).any():
        raise ValueError(wrong.format(int(numbers[(numbers < 0) | (numbers > most)].flat[0])))
    return np.ascontiguousarray(numbers.reshape(-1), dtype)


def _spread(values: np.ndarray, rows: int) -> np.ndarray:
    return np.broadcast_to(values, (rows,))


def _valid(logits: np.ndarray) -> None:
    """Refuse what the kernel refuses: its first pass says so, and draws from nothing."""
    none, zero = np.zeros(1), np.zeros(1, np.uint64)
    drawn = np.empty(len(logits), np.int32)
    _cpu.sample_tokens(logits, none, np.zeros(1, np.int64), np.ones(1), none, zero, zero, drawn)


def _cases(rng: np.random.Generator, n: int, dtype: str) -> dict[str, Any]:
    rows, tokens = 1 + n % 40, 7 * n + 2
    case: dict[str, Any] = {"logits": rng.normal(scale=3, size=(rows, tokens)).astype(dtype)}
    case |= {"temperature": 0.8, "top_p": 0.9, "seed": int(rng.integers(2**63)), "step": n}
    if n % 2:
        case |= {
            "top_k": rng.integers(0, tokens, rows),
            "min_p": 0.02,
            "temperature": rng.uniform(0.5, 2, rows),
        }
    return case


def _error(result: Any, truth: Any) -> float:
    return float(np.mean(np.asarray(result) != np.asarray(truth)))


def _bytes(*, logits: Any, **_: Any) -> int:
    return int(logits.nbytes + 4 * len(logits))


def _flops(**_: Any) -> int:
    return 0


OP = Op(
    name=_NAME,
    call=sample_tokens,
    reference=reference.sample_tokens,
    cases=_cases,
    dtypes=("float32",),
    tolerance={"float32": 0.0},
    bytes=_bytes,
    flops=_flops,
    error=_error,
    backends=("cpu", "cuda"),
)
