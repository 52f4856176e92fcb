"""The kinds of weight that a layer may have, told apart in one place."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from tailrace.kernels._checks import describe
from tailrace.kernels.compress._arrays import check_finite, frozen
from tailrace.kernels.weights import Int4Weight, Int8Weight

__all__ = ["Weight", "assembled", "checked", "group", "kind", "layout", "parts"]

Weight = npt.NDArray[Any] | Int8Weight | Int4Weight
_WANTED = "weight must be float32 or float16 [in, out], an Int8Weight or an Int4Weight"


def checked(where: str, weight: object) -> Weight:
    """Return `weight` with arrays that cannot be written to; raise where it is not one."""
    if isinstance(weight, Int8Weight | Int4Weight):
        if len(weight.shape) != 2:
            raise ValueError(f"{where}: {_WANTED}; got {weight!r}, which is of several agents")
        if isinstance(weight, Int8Weight):
            return Int8Weight(frozen(weight.values), frozen(weight.scale))
        return Int4Weight(frozen(weight.packed), frozen(weight.scale), weight.group, weight.inputs)
    if not isinstance(weight, np.ndarray) or weight.dtype not in (np.float32, np.float16):
        advice = ": pass weight.astype(np.float32)" if isinstance(weight, np.ndarray) else ""
        raise TypeError(f"{where}: {_WANTED}; got {describe(weight)}{advice}")
    if weight.ndim != 2 or 0 in weight.shape:
        raise ValueError(f"{where}: {_WANTED}, both at least 1; got {describe(weight)}")
    check_finite(where, "weight", weight)
    return frozen(weight)


def kind(weight: Weight) -> str:
    """Return "float32", "float16", "int8" or "int4"."""
    if isinstance(weight, Int8Weight):
        return "int8"
    return "int4" if isinstance(weight, Int4Weight) else str(weight.dtype)


def group(weight: Weight) -> int | None:
    """Return how many inputs share a scale of an int4 weight, None of others."""
    return weight.group if isinstance(weight, Int4Weight) else None


def parts(weight: Weight) -> dict[str, npt.NDArray[Any]]:
    """Return the arrays of a weight by name, as files hold them."""
    if isinstance(weight, Int8Weight):
        return {"values": weight.values, "scale": weight.scale}
    if isinstance(weight, Int4Weight):
        return {"packed": weight.packed, "scale": weight.scale}
    return {"values": weight}


def layout(
    kind: object, inputs: int, outputs: int, group: object
) -> dict[str, tuple[np.dtype[Any], tuple[int, ...]]]:
    """Return dtype and shape of each part of a weight [inputs, outputs] of `kind`; raise for unknown ones."""
    if kind in ("float32", "float16") and group is None:
        return {"values": (np.dtype(kind), (inputs, outputs))}
    if kind == "int8" and group is None:
        return {
            "values": (np.dtype(np.int8), (inputs, outputs)),
            "scale": (np.dtype(np.float32), (outputs,)),
        }
    if kind == "int4" and type(group) is int and 2 <= group <= 1 << 20 and group % 2 == 0:
        return {
            "packed": (np.dtype(np.uint8), (-(-inputs // 2), outputs)),
            "scale": (np.dtype(np.float32), (-(-inputs // group), outputs)),
        }
    raise ValueError(
        "weight must be float32, float16 or int8 with group null, or int4 with an even group; "
        f"got {kind!r:.40} with group {group!r:.40}"
    )


def assembled(kind: str, arrays: dict[str, npt.NDArray[Any]], inputs: int, group: Any) -> Weight:
    """Return the weight of `kind` of its parts, which have the layout."""
    if kind == "int8":
        return Int8Weight(arrays["values"], arrays["scale"])
    if kind == "int4":
        return Int4Weight(arrays["packed"], arrays["scale"], group, inputs)
    return arrays["values"]
