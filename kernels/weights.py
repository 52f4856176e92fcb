"""Weights in fewer bits: int8 for each output, int4 for each group of inputs, bfloat16.

All are [inputs, outputs], as `mlp_forward` takes its weights, or [agents, inputs, outputs] for
`mlp_forward_grouped`; `dequantize()` is what they stand for. A float16 weight needs no class: it is an array.
Symmetric, without zero points, since weights are centred and the kernels then need no correction for them
(Jacob et al. 2018, section 2.1, with Z = 0).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final, TypeAlias

import numpy as np
from numpy.typing import NDArray
from tailrace.kernels._checks import describe

__all__ = [
    "BFloat16Weight",
    "Int4Weight",
    "Int8Weight",
    "Weight",
    "dequantize",
    "quantize_int4",
    "quantize_int8",
    "to_bfloat16",
]

MAX_INPUTS: Final = 131_072
"""Beyond it, a sum of 127 * 128 a term may leave int32."""


def _array(
    owner: str, name: str, value: object, dtype: type[np.generic], shape: str, ndims: tuple[int, ...]
) -> None:
    good = isinstance(value, np.ndarray) and value.dtype == dtype
    if not good:
        raise TypeError(f"{owner}: {name} must be {np.dtype(dtype)} {shape}; got {describe(value)}")
    assert isinstance(value, np.ndarray)
    if value.ndim not in ndims or 0 in value.shape:
        raise ValueError(
            f"{owner}: {name} must be {np.dtype(dtype)} {shape}, no axis empty; got {describe(value)}"
        )
    if not value.flags.c_contiguous:
        raise ValueError(
            f"{owner}: {name} must be C-contiguous; got strides {value.strides}: "
            f"pass np.ascontiguousarray({name})"
        )


def _scales(owner: str, scale: NDArray[np.float32], expected: tuple[int, ...]) -> None:
    if scale.shape != expected:
        raise ValueError(
            f"{owner}: scale must be float32 {list(expected)} for these values; got {describe(scale)}"
        )
    if not bool(np.all(np.isfinite(scale) & (scale > 0))):
        raise ValueError(
            f"{owner}: scale must be finite and above zero everywhere (1.0 for an output without weights)"
        )


def _group(owner: str, group: object) -> None:
    if not isinstance(group, int) or isinstance(group, bool):
        raise TypeError(f"{owner}: group must be a whole number, as 32 or 128; got {group!r}")
    if group < 2 or group % 2:
        raise ValueError(f"{owner}: group must be a multiple of 2, as 32 or 128; got {group}")


def _inputs(owner: str, inputs: int) -> None:
    if inputs > MAX_INPUTS:
        raise ValueError(
            f"{owner}: at most {MAX_INPUTS} inputs, or sums would leave int32; got {inputs}: split the layer"
        )


@dataclass(frozen=True, slots=True, eq=False)
class Int8Weight:
    """A weight of int8 values with one scale for each output.

    Args:
        values: int8 [inputs, outputs] or [agents, inputs, outputs], C-contiguous.
        scale: float32 [outputs] or [agents, outputs], above zero: what a step of 1 in a value is worth.

    Raises:
        TypeError: another dtype.
        ValueError: shapes that do not fit, a scale that is not finite and positive, more than 131,072 inputs.

    >>> import numpy as np
    >>> from tailrace.kernels import Int8Weight
    >>> w = Int8Weight(np.array([[127], [-64]], np.int8), np.array([0.5], np.float32))
    >>> w.dequantize().ravel().tolist()
    [63.5, -32.0]
    """

    values: NDArray[np.int8]
    scale: NDArray[np.float32]

    def __post_init__(self) -> None:
        owner = "Int8Weight"
        _array(
            owner, "values", self.values, np.int8, "[inputs, outputs] or [agents, inputs, outputs]", (2, 3)
        )
        _array(owner, "scale", self.scale, np.float32, "[outputs] or [agents, outputs]", (1, 2))
        _scales(owner, self.scale, (*self.values.shape[:-2], self.values.shape[-1]))
        _inputs(owner, self.values.shape[-2])

    @property
    def shape(self) -> tuple[int, ...]:
        """[inputs, outputs] or [agents, inputs, outputs], as of the array that it stands for."""
        return self.values.shape

    @property
    def nbytes(self) -> int:
        """Bytes of values and scales."""
        return self.values.nbytes + self.scale.nbytes

    def dequantize(self) -> NDArray[np.float32]:
        """What it stands for, float32: values * scale."""
        return self.values.astype(np.float32) * self.scale[..., None, :]

    def __repr__(self) -> str:
        return f"Int8Weight({list(self.shape)})"


@dataclass(frozen=True, slots=True, eq=False)
class Int4Weight:
    """A weight of 4-bit values with one scale for each group of inputs and output.

    Args:
        packed: uint8 [ceil(inputs / 2), outputs] or [agents, …]: input 2i in the low four bits of row i,
            input 2i+1 in the high ones, each as value + 8, so 8 is zero.
        scale: float32 [ceil(inputs / group), outputs] or [agents, …], above zero.
        group: how many inputs share a scale: a multiple of 2, at least 2.
        inputs: how many inputs there are, when their number is odd; otherwise twice the rows of `packed`.

    Raises:
        TypeError: another dtype.
        ValueError: shapes that do not fit, a scale that is not finite and positive.

    >>> import numpy as np
    >>> from tailrace.kernels import Int4Weight
    >>> w = Int4Weight(np.array([[0x9F]], np.uint8), np.array([[0.5]], np.float32))
    >>> w.dequantize().ravel().tolist()  # 0xF - 8 and 0x9 - 8, times 0.5
    [3.5, 0.5]
    """

    packed: NDArray[np.uint8]
    scale: NDArray[np.float32]
    group: int = 32
    inputs: int = 0

    def __post_init__(self) -> None:
        owner = "Int4Weight"
        _array(
            owner,
            "packed",
            self.packed,
            np.uint8,
            "[inputs / 2, outputs] or [agents, inputs / 2, outputs]",
            (2, 3),
        )
        _array(owner, "scale", self.scale, np.float32, "[inputs / group, outputs] or [agents, …]", (2, 3))
        _group(owner, self.group)
        rows = self.packed.shape[-2]
        if self.inputs == 0:
            object.__setattr__(self, "inputs", 2 * rows)
        if self.inputs not in (2 * rows, 2 * rows - 1):
            raise ValueError(
                f"{owner}: packed with {rows} rows holds {2 * rows - 1} or {2 * rows} inputs; "
                f"got inputs={self.inputs}"
            )
        # A group that is longer than the inputs is all of them.
        object.__setattr__(self, "group", min(self.group, 2 * rows))
        groups = -(-self.inputs // self.group)
        _scales(owner, self.scale, (*self.packed.shape[:-2], groups, self.packed.shape[-1]))
        _inputs(owner, self.inputs)

    @property
    def shape(self) -> tuple[int, ...]:
        """[inputs, outputs] or [agents, inputs, outputs], as of the array that it stands for."""
        return (*self.packed.shape[:-2], self.inputs, self.packed.shape[-1])

    @property
    def nbytes(self) -> int:
        """Bytes of values and scales."""
        return self.packed.nbytes + self.scale.nbytes

    def values(self) -> NDArray[np.int8]:
        """The values -8 … 7 as int8, of the shape that it stands for."""
        pairs = np.stack((self.packed & 15, self.packed >> 4), axis=-2).astype(np.int8) - np.int8(8)
        rows = pairs.reshape((*self.packed.shape[:-2], 2 * self.packed.shape[-2], self.packed.shape[-1]))
        return np.ascontiguousarray(rows[..., : self.inputs, :])

    def dequantize(self) -> NDArray[np.float32]:
        """What it stands for, float32: values * scale of their group."""
        scale = np.repeat(self.scale, self.group, axis=-2)[..., : self.inputs, :]
        return self.values().astype(np.float32) * scale

    def __repr__(self) -> str:
        return f"Int4Weight({list(self.shape)}, group={self.group})"


@dataclass(frozen=True, slots=True, eq=False)
class BFloat16Weight:
    """A weight of bfloat16: the upper half of a float32.

    Args:
        bits: uint16 [inputs, outputs] or [agents, inputs, outputs], C-contiguous.

    Raises:
        TypeError: another dtype.
        ValueError: another rank, an empty axis, not contiguous.

    >>> import numpy as np
    >>> from tailrace.kernels import BFloat16Weight
    >>> BFloat16Weight(np.array([[0x3F80]], np.uint16)).dequantize().item()
    1.0
    """

    bits: NDArray[np.uint16]

    def __post_init__(self) -> None:
        _array(
            "BFloat16Weight",
            "bits",
            self.bits,
            np.uint16,
            "[inputs, outputs] or [agents, inputs, outputs]",
            (2, 3),
        )

    @property
    def shape(self) -> tuple[int, ...]:
        """[inputs, outputs] or [agents, inputs, outputs]."""
        return self.bits.shape

    @property
    def nbytes(self) -> int:
        """Bytes of the values."""
        return self.bits.nbytes

    def dequantize(self) -> NDArray[np.float32]:
        """The same values as float32, exactly."""
        return (self.bits.astype(np.uint32) << np.uint32(16)).view(np.float32)

    def __repr__(self) -> str:
        return f"BFloat16Weight({list(self.shape)})"


Weight: TypeAlias = "NDArray[np.float32] | NDArray[np.float16] | BFloat16Weight | Int8Weight | Int4Weight"
"""What `mlp_forward` takes for the weight of a layer."""


def _real(function: str, w: object) -> NDArray[np.float32]:
    if not isinstance(w, np.ndarray) or w.dtype not in (np.float64, np.float32, np.float16):
        raise TypeError(
            f"{function}: w must be float [inputs, outputs] or [agents, inputs, outputs]; got {describe(w)}"
        )
    if w.ndim not in (2, 3) or 0 in w.shape:
        raise ValueError(
            f"{function}: w must be [inputs, outputs] or [agents, inputs, outputs], no axis empty; "
            f"got {describe(w)}"
        )
    with np.errstate(over="ignore"):
        single = np.ascontiguousarray(w, np.float32)
    _finite(function, single)
    return single


def _finite(function: str, values: NDArray[np.float32]) -> None:
    wrong = int(np.count_nonzero(~np.isfinite(values)))
    if wrong:
        raise ValueError(
            f"{function}: w holds {wrong} values that are NaN or infinite, or too large to be stored"
        )


def _scale_of(absmax: NDArray[np.float32], top: int) -> NDArray[np.float32]:
    scale = (absmax / np.float32(top)).astype(np.float32)
    # Weights this small count as zero: a quotient by a subnormal scale would not be exact.
    return np.where(scale < np.finfo(np.float32).tiny, np.float32(1), scale).astype(np.float32)


def quantize_int8(w: NDArray[np.floating[Any]]) -> Int8Weight:
    """Round a weight to int8, one scale for each output: the largest of its weights becomes 127.

    Args:
        w: float64, float32 or float16, [inputs, outputs] or [agents, inputs, outputs].

    Returns:
        The weight; `dequantize()` is off by at most half a step, scale / 2, in every element.

    Raises:
        TypeError: not an array of floats.
        ValueError: another rank, an empty axis, NaN or infinity.

    Source: Jacob et al. 2018, "Quantization and Training of Neural Networks for Efficient
    Integer-Arithmetic-Only Inference".

    >>> import numpy as np
    >>> from tailrace.kernels import quantize_int8
    >>> quantize_int8(np.array([[1.0, -2.0], [0.5, 1.0]])).values.tolist()
    [[127, -127], [64, 64]]
    """
    real = _real("quantize_int8", w)
    scale = _scale_of(np.abs(real).max(axis=-2), 127)
    values = np.clip(np.rint(real / scale[..., None, :]), -127, 127).astype(np.int8)
    return Int8Weight(values, scale)


def quantize_int4(w: NDArray[np.floating[Any]], *, group: int = 32) -> Int4Weight:
    """Round a weight to 4 bits, one scale for each output and `group` inputs: the largest of them becomes 7.

    Args:
        w: float64, float32 or float16, [inputs, outputs] or [agents, inputs, outputs].
        group: how many inputs share a scale, a multiple of 2.

    Returns:
        The weight; `dequantize()` is off by at most half a step, scale / 2, in every element.

    Raises:
        TypeError: not an array of floats.
        ValueError: another rank, an empty axis, NaN or infinity, an odd group.

    >>> import numpy as np
    >>> from tailrace.kernels import quantize_int4
    >>> quantize_int4(np.array([[7.0], [-3.0]])).dequantize().ravel().tolist()
    [7.0, -3.0]
    """
    real = _real("quantize_int4", w)
    _group("quantize_int4", group)
    *lead, inputs, outputs = real.shape
    group = min(group, inputs + inputs % 2)
    groups = -(-inputs // group)
    padded = np.zeros((*lead, groups * group, outputs), np.float32)
    padded[..., :inputs, :] = real
    blocks = padded.reshape((*lead, groups, group, outputs))
    scale = _scale_of(np.abs(blocks).max(axis=-2), 7)
    values = np.clip(np.rint(blocks / scale[..., None, :]), -7, 7).astype(np.int8)
    codes = (values.reshape(padded.shape) + np.int8(8)).astype(np.uint8)
    rows = -(-inputs // 2)
    packed = (codes[..., 0::2, :] | (codes[..., 1::2, :] << np.uint8(4)))[..., :rows, :]
    return Int4Weight(np.ascontiguousarray(packed), scale, group, inputs)


def to_bfloat16(w: NDArray[np.floating[Any]]) -> BFloat16Weight:
    """Round a weight to bfloat16, to the nearest and ties to even: 8 bits of precision, the range of float32.

    Args:
        w: float64, float32 or float16, [inputs, outputs] or [agents, inputs, outputs].

    Raises:
        TypeError: not an array of floats.
        ValueError: another rank, an empty axis, NaN or infinity.

    >>> import numpy as np
    >>> from tailrace.kernels import to_bfloat16
    >>> to_bfloat16(np.array([[1.0, 3.14159]])).dequantize().tolist()
    [[1.0, 3.140625]]
    """
    bits = _real("to_bfloat16", w).view(np.uint32)
    even = (bits >> np.uint32(16)) & np.uint32(1)
    found = BFloat16Weight(((bits + np.uint32(0x7FFF) + even) >> np.uint32(16)).astype(np.uint16))
    _finite("to_bfloat16", found.dequantize())
    return found


def dequantize(weight: Weight) -> NDArray[np.float32]:
    """What any weight that `mlp_forward` takes stands for, as a float32 array.

    Args:
        weight: a float32 or float16 array, or one of the classes of this module.

    Raises:
        TypeError: something else.

    >>> import numpy as np
    >>> from tailrace.kernels import dequantize
    >>> dequantize(np.ones((1, 2), np.float16)).tolist()
    [[1.0, 1.0]]
    """
    if isinstance(weight, (Int8Weight, Int4Weight, BFloat16Weight)):
        return weight.dequantize()
    if isinstance(weight, np.ndarray) and weight.dtype in (np.float32, np.float16):
        return np.ascontiguousarray(weight, np.float32)
    raise TypeError(
        "dequantize: a weight is a float32 or float16 array, BFloat16Weight, Int8Weight or Int4Weight; "
        f"got {describe(weight)}"
    )
