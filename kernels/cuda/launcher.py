"""The seam between an op's `launch.py` and whatever runs its kernels: CuPy on a device, or a test's stand-in.

A `launch.py` makes one `Crossing` for a call, takes its inputs over, asks for the result's array, launches,
and gives the result back. Inputs on the device stay there, and so does the result; NumPy arrays are copied.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Protocol

import numpy as np
from tailrace.kernels import _checks

__all__ = [
    "Crossing",
    "Engine",
    "Grid",
    "address",
    "capability",
    "device",
    "empty",
    "engine",
    "launch",
    "launch_numba",
    "multiprocessors",
    "standing_in",
    "to_device",
    "to_host",
    "using",
]

Shape = Sequence[int | str]  # a number that must be met, or the name of a dimension that may have any extent

Grid = tuple[int, ...]

_SCALARS = (np.bool_, np.number)


class Engine(Protocol):
    """What runs kernels: memory of its own, copies to and from it, launches in the order they are made."""

    def launch(
        self,
        op: str,
        kernel: str,
        grid: Grid,
        block: Grid,
        args: Sequence[object],
        shared_bytes: int,
        stream: object,
    ) -> None:
        """Launch a kernel behind what is on the stream."""

    def view(self, array: object) -> Any:
        """The caller's device array as this engine's; None for an array of the host."""

    def to_device(self, array: np.ndarray[Any, Any]) -> Any:
        """A copy on the device."""

    def to_host(self, array: Any, out: np.ndarray[Any, Any] | None) -> np.ndarray[Any, Any]:
        """A copy on the host, in `out` if there is one."""

    def empty(self, shape: tuple[int, ...], dtype: Any) -> Any:
        """Memory of the device."""

    def launch_numba(
        self, kernel: Any, grid: Grid, block: Grid, args: Sequence[object], shared_bytes: int
    ) -> None:
        """Run one kernel that Numba compiles, on the caller's current stream."""

    def address(self, array: Any) -> int:
        """Where an array of the device begins."""

    def multiprocessors(self) -> int:
        """How many the current device has."""

    def device(self) -> int:
        """The number of the current device."""

    def capability(self) -> int:
        """Ten times major plus minor: 90 for compute capability 9.0."""


_engine: Engine | None = None


def engine() -> Engine:
    """The engine in use: CuPy's, made at the first call, unless `using` put another in its place."""
    global _engine  # noqa: PLW0603
    if _engine is None:
        from tailrace.kernels.cuda.cupy_engine import CupyEngine

        _engine = CupyEngine()
    return _engine


@contextmanager
def using(other: Engine) -> Iterator[Engine]:
    """Within the block every launch of this process goes to `other`: for tests, one at a time."""
    global _engine  # noqa: PLW0603
    before, _engine = _engine, other
    try:
        yield other
    finally:
        _engine = before


def standing_in() -> bool:
    """Whether an engine is in use that needs no device: then the probes of the device are not asked."""
    return _engine is not None and bool(getattr(_engine, "stands_in", False))


def launch(
    op: str,
    kernel: str,
    grid: Grid,
    block: Grid,
    args: Sequence[object],
    shared_bytes: int = 0,
    stream: object = None,
) -> None:
    """Launch one kernel of `op`; it runs after what is already on the stream.

    Args:
        op: the folder of `kernels/` whose `cuda.cu` has the kernel.
        kernel: its `extern "C"` name.
        grid: blocks along x, y, z; a grid with a zero is nothing to do.
        block: threads of a block along x, y, z, at most 1,024 in all.
        args: device arrays, NumPy scalars (`np.int32(n)`: the C type is the NumPy type), structured NumPy
            arrays of one element (a struct by value), None (a null pointer).
        shared_bytes: dynamic shared memory of each block.
        stream: a stream of the engine's kind; the caller's current one by default.

    Raises:
        TypeError: an argument is a plain Python number, whose C type nobody said, or an array of the host.
    """
    for place, value in enumerate(args):
        if isinstance(value, (bool, int, float)) and not isinstance(value, _SCALARS):
            raise TypeError(
                f"{op}: argument {place} of {kernel} is {value!r}, a Python {type(value).__name__}: "
                f"say its C type, as in np.int32({value!r})"
            )
        if isinstance(value, np.ndarray) and value.size != 1:
            raise TypeError(
                f"{op}: argument {place} of {kernel} is an array of the host; to_device() copies it"
            )
    if 0 in grid:
        return
    engine().launch(op, kernel, grid, block, args, shared_bytes, stream)


def launch_numba(kernel: Any, grid: Grid, block: Grid, args: Sequence[object], shared_bytes: int = 0) -> None:
    """Launch a kernel that is written in Python with `numba.cuda.jit`; it runs after what is on the stream.

    Args:
        kernel: what `numba.cuda.jit` made of the function.
        grid: blocks along x, y, z; a grid with a zero is nothing to do.
        block: threads of a block along x, y, z.
        args: device arrays and numbers.
        shared_bytes: dynamic shared memory of each block.
    """
    if 0 not in grid:
        engine().launch_numba(kernel, grid, block, args, shared_bytes)


def to_device(array: np.ndarray[Any, Any]) -> Any:
    """A C-contiguous copy of a NumPy array in device memory, made in the order of the current stream."""
    return engine().to_device(np.ascontiguousarray(array))


def to_host(array: Any, out: np.ndarray[Any, Any] | None = None) -> np.ndarray[Any, Any]:
    """A device array as a NumPy array, in `out` if one is given; waits for the kernels before it."""
    return engine().to_host(array, out)


def empty(shape: tuple[int, ...], dtype: Any) -> Any:
    """Device memory of this shape and dtype, its content undefined."""
    return engine().empty(shape, np.dtype(dtype))


def address(array: Any) -> int:
    """Where a device array begins, for a pointer inside of a struct; 0 for None."""
    return 0 if array is None else engine().address(array)


def multiprocessors() -> int:
    """How many streaming multiprocessors the current device has."""
    return engine().multiprocessors()


def device() -> int:
    """The number of the current device."""
    return engine().device()


def capability() -> int:
    """The compute capability of the current device, as 90 for 9.0."""
    return engine().capability()


class Crossing:
    """One call's arrays on their way to the device, and its result on the way back.

    Args:
        op: who asks, for messages.
        first: the input that decides on which side the call is; the others and `out` have to be there too.
    """

    __slots__ = ("_op", "_outs", "on_device")

    def __init__(self, op: str, first: object) -> None:
        self._op = op
        self._outs: dict[int, object] = {}
        self.on_device = engine().view(first) is not None

    def take(self, array: Any, name: str, dtypes: Sequence[str], shape: Shape, least: int = 0) -> Any:
        """Return the array in device memory: itself, or a copy if the call is on the host; None stays None.

        Args:
            array: the caller's.
            name: the argument's name.
            dtypes: names of the dtypes that are taken, the usual one first.
            shape: an extent, or a name, for each dimension.
            least: the extent that the first dimension must have at least.

        Raises:
            TypeError: if it is no array, or of another dtype.
            ValueError: if its shape differs, it is not C-contiguous, or it is on the other side.
        """
        if array is None:
            return None
        there = engine().view(array)
        if there is None:
            if self.on_device:
                raise ValueError(self._mixed(name))
            return to_device(_checks.host_array(self._op, name, array, dtypes, shape, least))
        if not self.on_device:
            raise ValueError(self._mixed(name))
        self._check(there, name, dtypes, shape, least)
        return there

    def result(
        self,
        out: Any,
        shape: tuple[int, ...],
        dtype: str = "float32",
        name: str = "out",
        start: bool = False,
    ) -> Any:
        """Return where the kernel writes: the caller's `out` if it is on the device, else new memory.

        Args:
            out: the caller's, or None.
            shape: what it has to have.
            dtype: likewise.
            name: the argument's name.
            start: whether the kernel begins from what `out` holds.
        """
        there = None if out is None else engine().view(out)
        if out is not None and (there is not None) != self.on_device:
            raise ValueError(self._mixed(name))
        if there is not None:
            self._check(there, name, (dtype,), shape, 0)
        else:
            if out is not None:
                out = _checks.output(self._op, out, shape, dtype, name)
            there = to_device(out) if start and out is not None else empty(shape, dtype)
        self._outs[id(there)] = out
        return there

    def give(self, result: Any) -> Any:
        """Return the result as the caller wants it: in his `out`, or new, on the side of his inputs."""
        out = self._outs.pop(id(result), None)
        if self.on_device:
            return result if out is None else out
        return to_host(result, out if isinstance(out, np.ndarray) else None)

    def _check(self, there: Any, name: str, dtypes: Sequence[str], shape: Shape, least: int) -> None:
        wanted = (
            f"{self._op}: {name} must be {' or '.join(dtypes)} [{', '.join(map(str, shape))}], C-contiguous"
        )
        given = f"got {_checks.describe(there)} on the device"
        if there.dtype.name not in dtypes:
            raise TypeError(f"{wanted}; {given}: pass {name}.astype({dtypes[0]!r})")
        fits = len(there.shape) == len(shape) and all(
            not isinstance(want, int) or want == have for want, have in zip(shape, there.shape, strict=True)
        )
        if not fits or (there.shape and there.shape[0] < least):
            raise ValueError(f"{wanted}{f', of at least {least} {shape[0]}' if least else ''}; {given}")
        if not there.flags.c_contiguous:
            raise ValueError(
                f"{wanted}; {given} with strides {there.strides}: pass cupy.ascontiguousarray({name})"
            )

    def _mixed(self, name: str) -> str:
        sides = ("the host", "the device")
        return (
            f"{self._op}: {name} is on {sides[not self.on_device]}, the first on {sides[self.on_device]}: "
            "pass all arrays of one call from one side (cupy.asarray(a) copies to the device, a.get() back)"
        )
