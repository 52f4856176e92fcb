"""F47: an array is made, passed to another process, read there, and the answer comes back."""

from __future__ import annotations

import json
import multiprocessing
import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from multiprocessing.connection import Connection
from multiprocessing.shared_memory import SharedMemory
from typing import TYPE_CHECKING

import tailrace as tr
from tailrace._bench.timing import Op, Work

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_PAGE = 1024  # float32 in 4 KiB: the reader looks at one in each page

_Opened = Callable[[int], AbstractContextManager[Callable[[], int]]]


def works() -> list[Work]:
    """Return F47.1MiB and F47.16MiB."""
    ways: dict[str, _Opened] = {
        "tailrace": _pool,
        "SharedMemory": partial(_shared_memory, False),
        "SharedMemory kept": partial(_shared_memory, True),
        "pickle": _pickle,
    }
    return [
        Work(
            f"F47.{mib}MiB",
            f"{mib} MiB written here, passed, a number of each page summed by another process",
            "us",
            mib * 256,
            {name: partial(_engine, way, mib << 18) for name, way in ways.items()},
        )
        for mib in (1, 16)
    ]


@contextmanager
def _engine(way: _Opened, size: int) -> Iterator[Op]:
    with way(size) as call:
        yield Op(call)


@contextmanager
def _process(target: Callable[..., None], *arguments: object) -> Iterator[Connection]:
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe()
    process = context.Process(target=target, args=(there, *arguments), daemon=True)
    process.start()
    there.close()
    try:
        yield here
    finally:
        here.close()
        process.join(10)


def _ones(size: int) -> NDArray[np.float32]:
    import numpy as np

    return np.ones(size, np.float32)


def _looked_at(array: NDArray[np.float32]) -> int:
    return int(array[::_PAGE].sum())


def _messages(connection: Connection) -> Iterator[bytes]:
    try:
        while True:
            yield connection.recv_bytes()
    except EOFError:
        return


@contextmanager
def _pool(size: int) -> Iterator[Callable[[], int]]:
    source = _ones(size)
    pool = tr.SharedPool(limit=4 * source.nbytes)
    with _process(_read_pool) as connection:
        pool.send_fd(connection)

        def call() -> int:
            block = pool.alloc(size, "float32")
            block.array[:] = source
            connection.send_bytes(json.dumps(pool.share(block)).encode())
            return int(connection.recv_bytes())

        yield call


def _read_pool(connection: Connection) -> None:
    fd = tr.SharedPool.receive_fd(connection)
    pool = tr.SharedPool.attach(fd, writable=False)
    os.close(fd)
    for message in _messages(connection):
        connection.send_bytes(b"%d" % _looked_at(pool.open(json.loads(message))))


@contextmanager
def _shared_memory(kept: bool, size: int) -> Iterator[Callable[[], int]]:
    import numpy as np

    source = _ones(size)
    segment = SharedMemory(create=True, size=source.nbytes) if kept else None
    with _process(_read_shared_memory, size) as connection:

        def call() -> int:
            memory = segment or SharedMemory(create=True, size=source.nbytes)
            np.ndarray(size, np.float32, memory.buf)[:] = source
            connection.send_bytes(memory.name.encode())
            answer = int(connection.recv_bytes())
            if segment is None:
                memory.close()
                memory.unlink()
            return answer

        try:
            yield call
        finally:
            if segment is not None:
                segment.close()
                segment.unlink()


def _read_shared_memory(connection: Connection, size: int) -> None:
    import numpy as np

    for message in _messages(connection):
        memory = SharedMemory(message.decode())
        answer = _looked_at(np.ndarray(size, np.float32, memory.buf))
        memory.close()
        connection.send_bytes(b"%d" % answer)


@contextmanager
def _pickle(size: int) -> Iterator[Callable[[], int]]:
    source = _ones(size)
    with _process(_read_pickle) as connection:

        def call() -> int:
            connection.send(source)
            return int(connection.recv_bytes())

        yield call


def _read_pickle(connection: Connection) -> None:
    try:
        while True:
            connection.send_bytes(b"%d" % _looked_at(connection.recv()))
    except EOFError:
        return
