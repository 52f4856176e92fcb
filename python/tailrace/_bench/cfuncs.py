"""P12: a C function as a step, in a chain of them."""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from itertools import repeat
from typing import Any

import tailrace as tr
from tailrace._bench.rows import PLAIN
from tailrace._bench.timing import Op, Work

_STEPS = 256
_SEED = (1, 2, 3)


def works() -> list[Work]:
    """Return P12, on libc's nrand48: it reads and writes three 16-bit words, and is as short as a cfunc."""
    engines = {
        "tailrace": _native,
        "tailrace, Python steps": _python,
        "TPE": _pool,
        PLAIN: _plain,
    }
    return [
        Work(
            "P12",
            f"a C function, one of {_STEPS} steps in a chain; rivals by ctypes",
            "us",
            _answer(),
            engines,
        )
    ]


def _answer() -> list[int]:
    x = _SEED[0] | _SEED[1] << 16 | _SEED[2] << 32
    for _ in repeat(None, _STEPS):
        x = (0x5DEECE66D * x + 0xB) % 2**48
    return [x & 0xFFFF, x >> 16 & 0xFFFF, x >> 32]


def _words() -> Any:
    return (ctypes.c_uint16 * 3)(*_SEED)


def _function() -> Any:
    draw = ctypes.CDLL(None).nrand48
    draw.restype, draw.argtypes = ctypes.c_int64, [ctypes.c_void_p]
    return draw


@contextmanager
def _native() -> Iterator[Op]:
    import numpy as np

    draw = tr.native_step(_function(), np.dtype([("state", np.uint16, 3)], align=True), gil="releases")

    @tr.workflow
    def chain(seed: Any) -> Any:
        record = draw(state=seed)
        for _ in repeat(None, _STEPS - 1):
            record = draw(record)
        return record

    with tr.Runtime() as rt:
        here = chain.options(runtime=rt)

        def call() -> list[int]:
            words: list[int] = here(_SEED)["state"].tolist()
            return words

        yield Op(call, _STEPS)


@contextmanager
def _python() -> Iterator[Op]:
    function = _function()

    @tr.step
    def draw(state: Any) -> Any:
        function(state)
        return state

    @tr.workflow
    def chain(state: Any) -> Any:
        for _ in repeat(None, _STEPS):
            state = draw(state)
        return state

    with tr.Runtime() as rt:
        here = chain.options(runtime=rt)
        yield Op(lambda: list(here(_words())), _STEPS)


@contextmanager
def _pool() -> Iterator[Op]:
    draw = _function()
    with ThreadPoolExecutor(1) as pool:

        def call() -> list[int]:
            state = _words()
            for _ in repeat(None, _STEPS):
                pool.submit(draw, state).result()
            return list(state)

        yield Op(call, _STEPS)


@contextmanager
def _plain() -> Iterator[Op]:
    draw = _function()

    def call() -> list[int]:
        state = _words()
        for _ in repeat(None, _STEPS):
            draw(state)
        return list(state)

    yield Op(call, _STEPS)
