"""A device that is not there: NumPy memory between pages that may not be touched, kernels run by the shim.

`HostDevice` is put in the place of CuPy's engine, so that an op's `launch.py` is run as it is: its grids, the
order and types of its arguments, its copies.
"""

from __future__ import annotations

import ctypes
import mmap
from collections.abc import Callable, Sequence
from types import ModuleType
from typing import Any

import numpy as np

PAGE = mmap.PAGESIZE
_LIBC = ctypes.CDLL(None, use_errno=True)
_FENCE = 0xA5


class Memory:
    """Bytes between forbidden pages; up to 15 bytes of fence round them up to a multiple of 16."""

    def __init__(self, nbytes: int) -> None:
        self.nbytes = nbytes
        rounded = -(-nbytes // 16) * 16
        pages = max(PAGE, -(-rounded // PAGE) * PAGE)
        self._map = mmap.mmap(-1, pages + 2 * PAGE)
        whole = np.frombuffer(self._map, np.uint8)
        self.begin = int(whole.ctypes.data) + PAGE + pages - rounded
        start = self.begin - int(whole.ctypes.data)
        self.bytes = whole[start : start + nbytes]
        self.fence = whole[start + nbytes : start + rounded]
        self.bytes[:] = 0xFF  # not a number, as floats
        self.fence[:] = _FENCE
        for edge in (int(whole.ctypes.data), int(whole.ctypes.data) + PAGE + pages):
            if _LIBC.mprotect(ctypes.c_void_p(edge), ctypes.c_size_t(PAGE), 0) != 0:
                raise OSError(ctypes.get_errno(), "mprotect")

    def intact(self) -> bool:
        return bool((self.fence == _FENCE).all())


class DeviceArray:
    """What stands for an array on the device: NumPy cannot compute with it by mistake."""

    __array_ufunc__ = None

    def __init__(self, array: np.ndarray[Any, Any], memory: Memory) -> None:
        self._array = array
        self.memory = memory

    shape = property(lambda self: self._array.shape)
    dtype = property(lambda self: self._array.dtype)
    ndim = property(lambda self: self._array.ndim)
    size = property(lambda self: self._array.size)
    nbytes = property(lambda self: self._array.nbytes)
    itemsize = property(lambda self: self._array.itemsize)
    strides = property(lambda self: self._array.strides)
    flags = property(lambda self: self._array.flags)

    def __len__(self) -> int:
        return len(self._array)

    def __getitem__(self, key: Any) -> DeviceArray:
        return DeviceArray(self._array[key], self.memory)

    def reshape(self, *shape: Any) -> DeviceArray:
        return DeviceArray(self._array.reshape(*shape), self.memory)

    def view(self, dtype: Any) -> DeviceArray:
        return DeviceArray(self._array.view(dtype), self.memory)

    def get(self) -> np.ndarray[Any, Any]:
        """A copy on the host, as CuPy's arrays give one."""
        return self._array.copy()

    def __array__(self, *_: Any, **__: Any) -> np.ndarray[Any, Any]:
        raise TypeError("an array of the device is not converted to NumPy by itself: .get() copies it")

    def __dlpack_device__(self) -> tuple[int, int]:
        return (2, 0)  # kDLCUDA

    @property
    def address(self) -> int:
        return int(self._array.ctypes.data)


class HostDevice:
    """An engine for `tailrace.kernels.cuda.launcher`; the order of threads and blocks follows from `seed`.

    Args:
        library: the compiled shim of an op's kernels, by the op's name.
        seed: of the order in which fibers and blocks run.
    """

    stands_in = True

    def __init__(self, library: Callable[[str], Any], fault: type[Exception], seed: int = 0) -> None:
        self._library = library
        self._fault = fault
        self.seed = seed
        self.launches: list[str] = []
        self.arch = 90

    def launch(
        self,
        op: str,
        kernel: str,
        grid: Sequence[int],
        block: Sequence[int],
        args: Sequence[object],
        shared_bytes: int,
        stream: object,
    ) -> None:
        del stream
        library = self._library(op)
        wanted = library.signature(kernel)
        given = [self._code(value) for value in args]
        if len(wanted) != len(given):
            raise self._fault(
                f"{op}.{kernel} takes {len(wanted)} arguments ({', '.join(wanted)}), got {len(given)}"
            )
        for place, (want, have) in enumerate(zip(wanted, given, strict=True)):
            if not _fits(want, have):
                raise self._fault(
                    f"{op}.{kernel}: argument {place} is {want} and was given {have} ({', '.join(wanted)})"
                )
        dims = [(*tuple(int(n) for n in d), 1, 1)[:3] for d in (grid, block)]
        limits = ((2**31 - 1, 65535, 65535), (1024, 1024, 64))
        if any(
            n < 1 or n > most
            for d, limit in zip(dims, limits, strict=True)
            for n, most in zip(d, limit, strict=True)
        ):
            raise self._fault(
                f"{op}.{kernel}: a grid of {grid} blocks of {block} threads is beyond the device's limits"
            )
        if dims[1][0] * dims[1][1] * dims[1][2] > 1024:
            raise self._fault(f"{op}.{kernel}: a block of {block} threads, and 1,024 are the most")
        values = [_value(value) for value in args]
        self.launches.append(kernel)
        self.seed += 1
        wrong = library.run(kernel, *dims, [v.ctypes.data for v in values], shared_bytes, self.seed)
        arrays = {place: value for place, value in enumerate(args) if isinstance(value, DeviceArray)}
        if wrong is not None:
            where = library.place(wrong.code) if wrong.code else self._near(wrong.address, arrays)
            raise self._fault(
                f"{op}.{kernel}: {wrong.message.decode()}{f' ({where})' if where else ''}, seed {self.seed}"
            )
        for place, array in arrays.items():
            if not array.memory.intact():
                raise self._fault(f"{op}.{kernel} wrote behind the end of argument {place}, seed {self.seed}")

    def launch_numba(
        self,
        kernel: Any,
        grid: Sequence[int],
        block: Sequence[int],
        args: Sequence[object],
        shared_bytes: int,
    ) -> None:
        """Runs in Numba's simulator: in a process that has NUMBA_ENABLE_CUDASIM=1."""
        arrays = [value for value in args if isinstance(value, DeviceArray)]
        values = [value._array if isinstance(value, DeviceArray) else value for value in args]
        self.launches.append(kernel.fn.__name__)
        kernel[tuple(grid), tuple(block), 0, shared_bytes](*values)
        if not all(array.memory.intact() for array in arrays):
            raise self._fault(f"{kernel.fn.__name__} wrote behind the end of an argument")

    @staticmethod
    def _near(address: int, arrays: dict[int, DeviceArray]) -> str:
        for place, array in arrays.items():
            what = f"argument {place}, {array.dtype} {list(array.shape)}"
            behind = address - (array.memory.begin + array.memory.nbytes)
            if 0 <= behind < PAGE + 16:
                return f"{behind} bytes behind {what}"
            if 0 < array.memory.begin - address <= 2 * PAGE:
                return f"{array.memory.begin - address} bytes before {what}"
        return ""

    @staticmethod
    def _code(value: object) -> str:
        if value is None:
            return "null"
        if isinstance(value, DeviceArray):
            return "P" + _dtype_code(value.dtype)
        if isinstance(value, (np.generic, np.ndarray)):
            return _dtype_code(value.dtype)
        return type(value).__name__

    def view(self, array: object) -> Any:
        return array if isinstance(array, DeviceArray) else None

    def to_device(self, array: np.ndarray[Any, Any]) -> DeviceArray:
        there = self.empty(array.shape, array.dtype)
        there._array[...] = array
        return there

    def to_host(self, array: DeviceArray, out: np.ndarray[Any, Any] | None) -> np.ndarray[Any, Any]:
        if out is None:
            return array.get()
        out[...] = array._array
        return out

    def empty(self, shape: tuple[int, ...], dtype: Any) -> DeviceArray:
        dtype = np.dtype(dtype)
        memory = Memory(int(np.prod(shape, dtype=np.int64)) * dtype.itemsize)
        return DeviceArray(memory.bytes.view(dtype).reshape(shape), memory)

    def address(self, array: DeviceArray) -> int:
        return array.address

    def multiprocessors(self) -> int:
        return 4

    def device(self) -> int:
        return 0

    def capability(self) -> int:
        return self.arch


def _dtype_code(dtype: np.dtype[Any]) -> str:
    return f"{dtype.kind}{dtype.itemsize}" if dtype.kind in "biuf" else f"V{dtype.itemsize}"


def _fits(want: str, have: str) -> bool:
    pointer = want[0] in "PC"
    if have == "null":
        return pointer
    if pointer != (have[0] == "P"):
        return False
    want, have = (want[1:], have[1:]) if pointer else (want, have)
    if want == "B2":  # bfloat16 is uint16 to NumPy
        return have == "u2"
    if pointer and want[0] == "V":
        return True  # a pointer to a vector or struct
    return want == have


def _value(value: object) -> np.ndarray[Any, Any]:
    if value is None:
        return np.zeros(1, np.uint64)
    if isinstance(value, DeviceArray):
        return np.array([value.address], np.uint64)
    return np.array([value]) if isinstance(value, np.generic) else np.ascontiguousarray(value)


def make(
    shim: ModuleType,
    source: Callable[[str], str],
    folder: Any,
    seed: int = 0,
    known: dict[str, Any] | None = None,
) -> HostDevice:
    """A host device over the sources that `source(op)` gives; `known` keeps what is compiled."""
    libraries: dict[str, Any] = {} if known is None else known

    def library(op: str) -> Any:
        if op not in libraries:
            libraries[op] = shim.ShimLibrary(source(op), folder)
        return libraries[op]

    return HostDevice(library, shim.KernelFault, seed)
