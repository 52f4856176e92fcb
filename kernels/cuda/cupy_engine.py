"""The engine of a real device: CuPy's memory, CuPy's current stream, kernels compiled by NVRTC.

Arrays of other libraries come in by DLPack, which carries their stream and costs half as much to read, then
by `__cuda_array_interface__`. CuPy's current stream is one for each thread: a launch takes the caller's.
"""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from contextlib import nullcontext
from typing import Any

import numpy as np
from tailrace.kernels.cuda import modules
from tailrace.kernels.cuda.launcher import Grid

_DLPACK_CUDA = (2, 13)  # device memory, managed memory


class CupyEngine:
    """Launches through CuPy; whether there is a device at all is `kernels.cuda.probe`'s question."""

    stands_in = False

    def __init__(self) -> None:
        self._cupy: Any = importlib.import_module("cupy")
        self._attributes: dict[int, dict[str, int]] = {}

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
        """Launch on `stream` (CuPy's, or an address), by default CuPy's current one."""
        device = self._cupy.cuda.runtime.getDevice()
        function = modules.kernel(op, kernel, device, shared_bytes)
        with self._on(stream):
            function(grid, block, tuple(args), shared_mem=shared_bytes)

    def launch_numba(
        self, kernel: Any, grid: Grid, block: Grid, args: Sequence[object], shared_bytes: int
    ) -> None:
        """Launch a Numba kernel on CuPy's current stream, over CuPy's arrays.

        Numba would wait for the stream that an array comes with; here it is the one that it launches on.
        """
        cuda = importlib.import_module("numba.cuda")
        stream = cuda.external_stream(self._cupy.cuda.get_current_stream().ptr)
        there = [
            cuda.from_cuda_array_interface(a.__cuda_array_interface__, owner=a, sync=False)
            if isinstance(a, self._cupy.ndarray)
            else a
            for a in args
        ]
        kernel[grid, block, stream, shared_bytes](*there)

    def _on(self, stream: object) -> Any:
        if stream is None:
            return nullcontext()
        if isinstance(stream, int):
            return self._cupy.cuda.ExternalStream(stream)
        return stream

    def view(self, array: object) -> Any:
        """A CuPy array over the caller's device memory, without a copy; None for an array of the host."""
        if isinstance(array, np.ndarray) or array is None:
            return None
        if isinstance(array, self._cupy.ndarray):
            return array
        device = getattr(array, "__dlpack_device__", None)
        if device is not None and hasattr(array, "__dlpack__"):
            if int(device()[0]) not in _DLPACK_CUDA:
                return None
            return self._cupy.from_dlpack(array)
        if hasattr(array, "__cuda_array_interface__"):
            return self._cupy.asarray(array)
        return None

    def to_device(self, array: np.ndarray[Any, Any]) -> Any:
        """A copy on the current device, made on the current stream."""
        return self._cupy.asarray(array)

    def to_host(self, array: Any, out: np.ndarray[Any, Any] | None) -> np.ndarray[Any, Any]:
        """A copy on the host; it waits for the current stream."""
        if out is None:
            return np.asarray(array.get())
        if out.flags.c_contiguous:
            array.get(out=out)
        else:
            out[...] = array.get()
        return out

    def empty(self, shape: tuple[int, ...], dtype: Any) -> Any:
        """Memory of CuPy's pool."""
        return self._cupy.empty(shape, dtype)

    def address(self, array: Any) -> int:
        """Where the array begins."""
        return int(array.data.ptr)

    def multiprocessors(self) -> int:
        """Of the current device."""
        return self._attribute("MultiProcessorCount")

    def device(self) -> int:
        """The number of CuPy's current device."""
        return int(self._cupy.cuda.runtime.getDevice())

    def capability(self) -> int:
        """Of the current device, 90 for 9.0."""
        return 10 * self._attribute("ComputeCapabilityMajor") + self._attribute("ComputeCapabilityMinor")

    def _attribute(self, name: str) -> int:
        device = int(self._cupy.cuda.runtime.getDevice())
        known = self._attributes.get(device)
        if known is None:
            known = self._attributes[device] = dict(self._cupy.cuda.Device(device).attributes)
        return int(known[name])
