"""`tr.SharedPool`: arrays that several processes use at once. A small handle travels; the bytes stay."""

from __future__ import annotations

import array as arrays
import math
import os
import socket
from collections.abc import Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any, NoReturn, Protocol, Self

import numpy as np
from numpy.typing import DTypeLike, NDArray

from tailrace._core import SharedFault, SharedPoolCore
from tailrace._reports import pick
from tailrace._shared_handles import (
    MOST_BYTES,
    SharedHandle,
    dtype_of,
    explain,
    memory_of,
    read_handle,
    shape_of,
)
from tailrace._sizes import format_bytes, parse_bytes
from tailrace.errors import PoolExhausted

__all__ = ["SharedBlock", "SharedHandle", "SharedPool", "SharedPoolStatistics"]


class _HasDescriptor(Protocol):
    def fileno(self) -> int: ...


@dataclass(frozen=True, slots=True)
class SharedPoolStatistics:
    """What a shared pool holds and has done, as one snapshot.

    Attributes:
        limit_bytes: Size of the memory, for all processes together.
        granule_bytes: Blocks are whole granules of so many bytes.
        used_bytes: In blocks of all processes, by granules.
        largest_free_bytes: In one piece.
        blocks: How many there are, of all processes.
        in_transit: Of these, shared with `until_opened=True` and not opened yet.
        participants: Pools of all processes on this memory; a dead one counts until it is reaped.
        held_blocks: Blocks that this process holds through this pool.
        n_alloc: Blocks that this pool has allocated; `n_open` those that it has opened by a handle.
        n_stale: Handles whose block was gone when this pool was to open them.
        n_exhausted: Allocations that this pool refused for want of memory.
        n_reaped: Dead participants that this pool has cleaned up after.
        reclaimed_blocks: Blocks that were free after that.
    """

    limit_bytes: int
    granule_bytes: int
    used_bytes: int
    largest_free_bytes: int
    blocks: int
    in_transit: int
    participants: int
    held_blocks: int
    n_alloc: int
    n_open: int
    n_stale: int
    n_exhausted: int
    n_reaped: int
    reclaimed_blocks: int


class SharedBlock:
    """A block that this process has allocated, as an array.

    Attributes:
        array: The array. It keeps the block, as do its views, also without this object.
    """

    __slots__ = ("array",)

    array: NDArray[Any]

    def __init__(self, array: NDArray[Any]) -> None:
        self.array = array

    def __repr__(self) -> str:
        return f"<SharedBlock {self.array.dtype} {self.array.shape}>"


class SharedPool(SharedPoolCore):
    """Memory that several processes map once, and pass arrays through by handles of a few numbers.

    It has no name in the file system: it lasts as long as somebody uses it, and no crash leaves it behind.
    What a process held when it died, however it died, the others take back. Arrays outlive the pool object.

    Args:
        limit: Size in bytes, or a text such as "64MiB"; rounded up to whole granules. Pages are taken from
            the system as they are first written.

    Raises:
        ValueError: if the limit is below 4 KiB or above 1 TiB.
        OSError: if the system refuses.

    >>> import tailrace as tr
    >>> pool = tr.SharedPool(limit="1MiB")
    >>> block = pool.alloc((2, 3), "float32")
    >>> block.array[:] = 7
    >>> other = tr.SharedPool.attach(pool.fileno())  # as another process does, which was given it
    >>> print(other.open(pool.share(block)))
    [[7. 7. 7.]
     [7. 7. 7.]]
    """

    def __init__(self, limit: int | str) -> None:
        super().__init__(parse_bytes("SharedPool", "limit", limit, least=4096), -1, True)

    @classmethod
    def attach(cls, descriptor: int, *, writable: bool = True) -> Self:
        """Take part in the memory that `descriptor` stands for, on which another process has made a pool.

        Args:
            descriptor: `pool.fileno()` of the other process, as it came here: inherited
                (`subprocess.Popen(..., pass_fds=[pool.fileno()])`) or received. It stays yours to close.
            writable: False maps the data for reading only: this process can neither allocate nor write.

        Raises:
            ValueError: if it is no descriptor of a shared pool, or of one that another version has made.
            Overloaded: if all its slots are taken (63, and a second one for each that shares `until_opened`).
            OSError: if the descriptor is not open, or may not be opened by this process.
        """
        if isinstance(descriptor, bool) or not isinstance(descriptor, int):
            raise TypeError(
                f"SharedPool.attach: descriptor must be an int such as pool.fileno(), got {descriptor!r}"
            )
        pool = cls.__new__(cls)
        try:
            SharedPoolCore.__init__(pool, 0, descriptor, writable)
        except SharedFault as fault:
            explain(fault, f"SharedPool.attach({descriptor})")
        return pool

    def alloc(self, shape: int | Sequence[int], dtype: DTypeLike = "float64") -> SharedBlock:
        """Return a new block, whose `array` has this shape and dtype and any content.

        When memory is short, what dead processes held is taken back first.

        Args:
            shape: Number of elements, or one for each axis; at least one element in all.
            dtype: Anything that NumPy takes for a dtype, but objects and fields.

        Raises:
            PoolExhausted: if there is no room for it.
            ValueError: if the shape has no element or a negative number, or this pool may only read.
            TypeError: if the shape has something else than ints, or the dtype cannot be shared.
            RuntimeClosed: after `close`, and after a fork that found no slot for the child.
        """
        kind = dtype_of(dtype)
        sizes = shape_of(shape)
        nbytes = math.prod(sizes) * kind.itemsize
        try:
            memory = self.allocate_raw(nbytes) if nbytes <= MOST_BYTES else None
        except SharedFault as fault:
            explain(fault, "SharedPool.alloc")
        if memory is None:
            raise self._exhausted(nbytes)
        return SharedBlock(np.ndarray(sizes, kind, memory))  # type: ignore[arg-type]

    def share(self, block: SharedBlock | NDArray[Any], *, until_opened: bool = False) -> SharedHandle:
        """Return the handle by which another process opens the block: a tuple of ints and one text.

        It is plain data: JSON, a queue, a socket or a pipe carries it. It holds nothing: keep the block until
        the other side has opened it, or say `until_opened`.

        Args:
            block: What `alloc` returned; or an array of this pool, or a contiguous part of one.
            until_opened: The block is also held for the handle, until somebody has opened it or this process
                ends. For one receiver; `pool.open(handle)` here takes it back.

        Raises:
            TypeError: if it is neither a block nor an array.
            ValueError: if the array is not of this pool, or its elements do not lie one after another.
            Overloaded: if `until_opened` finds no slot in the pool; it takes one, once for each process.
        """
        array = block.array if isinstance(block, SharedBlock) else block
        if not isinstance(array, np.ndarray):
            raise TypeError(f"SharedPool.share takes a block or an array of this pool, got {block!r}")
        memory = memory_of(array)
        if memory is None:
            raise ValueError(
                "SharedPool.share: this array lies in no shared pool; copy it into pool.alloc(...)"
            )
        if not array.flags.c_contiguous:
            raise ValueError(
                "SharedPool.share: the elements must lie one after another (C order); copy them to "
                "pool.alloc(...)"
            )
        kind = dtype_of(array.dtype)
        base: object = array.base
        first = 0 if base is memory else array.ctypes.data - memory.address
        try:
            numbers = self.share_raw(memory, until_opened)
        except SharedFault as fault:
            explain(fault, "SharedPool.share")
        return (*numbers, first, kind.str, *array.shape)

    def open(self, handle: Sequence[int | str], *, writable: bool = False) -> NDArray[Any]:
        """Return the array of a handle, over the same memory as everybody else's; it keeps the block.

        Args:
            handle: What `share` returned in any process, as a tuple or a list.
            writable: True for an array that can be written. Others are read-only by NumPy and by the pages.

        Raises:
            StaleHandle: if nobody holds the block any more.
            ValueError: if the handle is of another pool or no handle, or this pool may only read.
            TypeError: if the handle is no sequence of ints and one text.
            RuntimeClosed: after `close`, and after a fork that found no slot for the child.
        """
        numbers, kind, shape = read_handle(handle)
        segment, offset, serial, nbytes, courier, first = numbers
        try:
            memory = self.open_raw(segment, offset, serial, nbytes, courier, writable)
        except SharedFault as fault:
            explain(fault, "SharedPool.open")
        return np.ndarray(shape, kind, memory, first)  # type: ignore[arg-type]

    def send_fd(self, connection: _HasDescriptor) -> None:
        """Give the pool's descriptor to the process at the other end of a Unix socket.

        Args:
            connection: A connected `socket.socket` of family AF_UNIX, or a duplex `multiprocessing.Pipe`.

        Raises:
            OSError: if it is no Unix socket, or the other end is gone.
        """
        with socket.socket(fileno=os.dup(connection.fileno())) as copy:
            socket.send_fds(copy, [b"\0"], [self.fileno()])

    @staticmethod
    def receive_fd(connection: _HasDescriptor) -> int:
        """Return a descriptor that `send_fd` sent, for `attach`; it is yours to close.

        Args:
            connection: A connected Unix socket, or a duplex `multiprocessing.Pipe`.

        Raises:
            EOFError: if the other end is gone.
            OSError: if what came is no descriptor.
        """
        with socket.socket(fileno=os.dup(connection.fileno())) as copy:
            fds = arrays.array("i")
            size = socket.CMSG_LEN(fds.itemsize)
            data, ancillary, _, _ = copy.recvmsg(1, size, getattr(socket, "MSG_CMSG_CLOEXEC", 0))
        for level, kind, content in ancillary:
            if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
                fds.frombytes(content[: fds.itemsize])
                return fds[0]
        if not data:
            raise EOFError("SharedPool.receive_fd: the other end is closed")
        raise OSError(
            "SharedPool.receive_fd: the message brought no descriptor; send it with pool.send_fd(...)"
        )

    def statistics(self) -> SharedPoolStatistics:
        """Return all counts, as one immutable snapshot."""
        return pick(SharedPoolStatistics, self.statistics_raw())

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def __reduce__(self) -> NoReturn:
        raise TypeError(
            "a SharedPool is not pickled: give the other process its descriptor (pool.send_fd(socket), or "
            "pass_fds=[pool.fileno()]) and call SharedPool.attach(fd) there"
        )

    def __repr__(self) -> str:
        s = self.statistics()
        used, limit = format_bytes(s.used_bytes), format_bytes(s.limit_bytes)
        return f"<SharedPool {used} of {limit} in {s.blocks} blocks, {s.participants} participants>"

    def _exhausted(self, nbytes: int) -> PoolExhausted:
        s = self.statistics()
        if nbytes > s.limit_bytes:
            why = "it is made larger by SharedPool(limit=...) only"
        else:
            why = "drop arrays that no process needs; statistics() says who holds what"
        return PoolExhausted(
            f"SharedPool.alloc: no room for {format_bytes(nbytes)}: limit {format_bytes(s.limit_bytes)}, "
            f"used {format_bytes(s.used_bytes)} in {s.blocks} blocks of {s.participants} participants, "
            f"largest free piece {format_bytes(s.largest_free_bytes)}; {why}"
        )
