"""The compiled core. Not public: `tailrace` is the face, this is what it stands on."""

from __future__ import annotations

import asyncio
import concurrent.futures
import weakref
from collections.abc import Callable, Generator, Iterator, Sequence
from contextvars import Context
from typing import Any, Final, Literal, Self, SupportsIndex, TypeAlias, final

from numpy.typing import DTypeLike, NDArray
from typing_extensions import Buffer, disjoint_base

from tailrace.priority import Priority

_Shape: TypeAlias = SupportsIndex | Sequence[SupportsIndex]

__version__: str

SYNC: Final = 0
ASYNC: Final = 1
BLOCKING: Final = 2

def set_hooks(
    *,
    make_error: Callable[[str, dict[str, Any]], BaseException],
    launch_async: Callable[[NodeToken, Any, Any, tuple[Any, ...], dict[str, Any] | None], None],
    open_wait: Callable[
        [Run | Future, RuntimeCore | None],
        tuple[Completions, asyncio.Future[None], asyncio.Task[Any] | None] | None,
    ],
    make_record: Callable[[str, int, str, float, float, str], Any],
    log_failure: Callable[[str, BaseException], None],
    name_thread: Callable[[str], None],
    forget_thread: Callable[[], None],
) -> None:
    """Give the core the Python functions it calls back; done once, by `tailrace.runtime`."""

def current_runtime() -> RuntimeCore | None:
    """Return the runtime of the step that runs on this thread, or None."""

def in_flight() -> int:
    """Return how many runs and tasks all runtimes of the process have in flight."""

def work_begun() -> int:
    """Return how many runs and tasks ever began in this process."""

def bodies_running() -> int:
    """Return how many bodies run now, but for async and blocking ones, which wait."""

def run_memory() -> dict[str, Any]:
    """Return what the run blocks of all runtimes take, as `MemoryPool.statistics_raw` does."""

def wait_idle(seen: int, quiet_s: float, limit_s: float, /) -> bool:
    """Sleep until work has begun since `seen` and none has been in flight for `quiet_s`: then True.

    False after `limit_s` seconds of work, or a nudge. For one thread at a time. Any `seen` that is not the
    count of work begun so far stands for work that has come.
    """

def nudge_idle() -> None:
    """Make the `wait_idle` that sleeps, or the next one, return."""

def after_fork() -> None:
    """In the child of a fork: forget what belonged to other threads."""

def adopt_pool(runtime: RuntimeCore, pool: PoolCore | None, /) -> PoolCore | None:
    """Return the pool of the runtime, or None; it becomes `pool` if it had none."""

def scratch(
    shape: _Shape,
    dtype: DTypeLike = "float64",
    *,
    timeout_s: float | None = None,
    collect: bool = True,
) -> NDArray[Any]:
    """Return an array of undefined content out of the pool of the runtime whose step runs here.

    Its block goes back when the last reference has gone: of a local name, when the step ends. It is counted
    under the step's name. Outside of steps it is the pool of the runtime that a call here would use.

    Args:
        shape: An int or a tuple of ints.
        dtype: Whatever NumPy takes for one without Python objects.
        timeout_s: Seconds to wait for memory that others give back; None: not at all.
        collect: Whether the garbage collector runs before the pool refuses.

    Raises:
        TypeError, ValueError: for a shape or dtype that cannot be.
        PoolExhausted: if there is no room below the pool's limit, or the tag's.

    >>> import tailrace as tr
    >>> @tr.step
    ... def norm(count: int) -> float:
    ...     work = tr.scratch(count, "float32")
    ...     work.fill(2.0)
    ...     return float(work @ work) ** 0.5
    >>> norm(4)
    4.0
    """

def current_step() -> tuple[str, str] | None:
    """Return (workflow, step) of the step that runs on this thread, or None."""

@final
class Step:
    """A step body with what is learnt about it: calls, failures, duration."""

    def __new__(cls, fn: Callable[..., Any], name: str, kind: int, gil: int = 0, place: int = 0) -> Self: ...
    @property
    def fn(self) -> Callable[..., Any]: ...
    @property
    def name(self) -> str: ...
    @property
    def kind(self) -> int: ...
    virtual_cost_s: float
    def statistics(self) -> dict[str, Any]: ...

@final
class Payload(Buffer):
    """The bytes that a native step works on: zeroed, aligned to a cache line, a writable buffer."""

    def __new__(cls, nbytes: int) -> Self: ...
    @property
    def address(self) -> int: ...
    def copy(self) -> Payload: ...

class SharedFault(Exception):
    """Something is wrong with a descriptor, a handle or a call; its one argument says what."""

@final
class SharedMemory(Buffer):
    """A hold on a shared block, as a buffer."""

    def __len__(self) -> int: ...
    @property
    def address(self) -> int: ...

@disjoint_base
class SharedPoolCore:
    """Blocks that several processes hold: what `tailrace.SharedPool` stands on."""

    def __init__(self, limit_bytes: int, descriptor: int, writable: bool) -> None: ...
    @property
    def closed(self) -> bool: ...
    @property
    def writable(self) -> bool: ...
    def allocate_raw(self, nbytes: int, /) -> SharedMemory | None: ...
    def share_raw(self, memory: SharedMemory, until_opened: bool, /) -> tuple[int, int, int, int, int]: ...
    def open_raw(
        self, segment: int, offset: int, serial: int, nbytes: int, courier: int, writable: bool, /
    ) -> SharedMemory: ...
    def reap(self) -> int: ...
    def trim(self) -> int: ...
    def close(self) -> None: ...
    def fileno(self) -> int: ...
    def statistics_raw(self) -> dict[str, int]: ...

def set_native(step: Step, address: int, nbytes: int, gil: int, /) -> None:
    """Make a sync step native: its body in a plan is the function `int64 f(void*)` at `address`."""

def call_native(step: Step, payload: Payload, /) -> None:
    """Call a native step's function on a payload; raise RuntimeError if it returns 0."""

@final
class Plan:
    """An immutable compiled graph of steps."""

    def __new__(
        cls,
        name: str,
        arg_count: int,
        nodes: Sequence[
            tuple[Step, str, tuple[int, ...], tuple[Any, ...], tuple[str, ...], tuple[int, ...], bool]
        ],
        output: int,
    ) -> Self: ...
    @property
    def name(self) -> str: ...
    @property
    def node_count(self) -> int: ...
    @property
    def has_async(self) -> bool: ...
    def spreads(self) -> bool: ...
    def call(self, rt: RuntimeCore, args: tuple[Any, ...], priority: int, deadline_s: float, /) -> Any: ...
    def start(
        self, rt: RuntimeCore, args: tuple[Any, ...], priority: int, deadline_s: float, loop: Any, /
    ) -> Run: ...

@final
class Run:
    """One run of a workflow: await it, or ask for its `result`."""

    @property
    def workflow(self) -> str: ...
    @property
    def state(self) -> str: ...
    def done(self) -> bool: ...
    def cancel(self) -> bool: ...
    def set_priority(self, priority: Priority, /) -> bool: ...
    def result(self, timeout: float | None = None) -> Any: ...
    def exception(self, timeout: float | None = None) -> BaseException | None: ...
    def history(self) -> list[Any]: ...
    def add_done_callback(self, fn: Callable[[Run], object], /) -> None: ...
    def __await__(self) -> Generator[Any, Any, Any]: ...

@final
class NodeToken:
    """The right, and the duty, to finish one async step once."""

    @property
    def context(self) -> Context: ...
    @property
    def runtime(self) -> RuntimeCore: ...
    @property
    def workflow(self) -> str: ...
    @property
    def step(self) -> str: ...
    def finish(self, value: Any, /) -> None: ...
    def fail(self, error: BaseException, /) -> None: ...
    def on_cancel(self, fn: Callable[[], object], task: weakref.ref[asyncio.Task[Any]], /) -> None: ...

class Future(concurrent.futures.Future[Any]):
    """The C-level future of `submit`; a real `concurrent.futures.Future` to everybody else."""

    def set_priority(self, priority: Priority, /) -> bool: ...
    def __await__(self) -> Generator[Any, Any, Any]: ...

@final
class Completions:
    """Objects handed to one event loop: a list and an eventfd written once per burst."""

    def fileno(self) -> int: ...
    def post(self, item: Any, /) -> None: ...
    def deliver(self) -> None: ...
    @property
    def wakes(self) -> int: ...
    def close(self) -> None: ...

@disjoint_base
class RuntimeCore:
    """The scheduler as Python sees it. `tailrace.Runtime` derives from it."""

    def __init__(
        self,
        name: str,
        workers: int,
        max_workers: int,
        affinity: Literal["cores"] | Sequence[int] | None,
        max_pending: int,
        max_blocking: int,
        seed: int | None,
        profile: str = "balanced",
        debug: bool = False,
    ) -> None: ...
    @property
    def name(self) -> str: ...
    @property
    def workers(self) -> int: ...
    @property
    def max_workers(self) -> int: ...
    @property
    def closed(self) -> bool: ...
    @property
    def debug(self) -> bool: ...
    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future: ...
    def statistics_raw(self) -> dict[str, Any]: ...
    def stuck_raw(self, after_s: float, /) -> list[tuple[str, int, str, Any, float]]: ...
    def resize_raw(self, workers: int, /) -> None: ...
    def drain_raw(self, timeout_s: float, /) -> bool: ...
    def stop_raw(self, cancel: bool, timeout_s: float, /) -> bool: ...
    def abandon_raw(self) -> None: ...
    def virtual_now_s(self) -> float: ...
    def virtual_drive(self, until_s: float, /) -> bool: ...
    def virtual_poll(self, fn: Callable[[float], float], /) -> None: ...

@disjoint_base
class ExecutorCore:
    """Own threads, made on demand, first in first out: what `tailrace.Executor` stands on."""

    def __init__(
        self,
        name: str,
        max_workers: int,
        begin: Callable[[], object],
        initializer: Callable[[], bool] | None,
    ) -> None: ...
    @property
    def closed(self) -> bool: ...
    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future: ...
    def map_raw(
        self,
        fn: Callable[..., Any],
        single: bool,
        items: list[Any],
        source: Iterator[Any] | None,
        deadline_s: float,
        /,
    ) -> MapIterator: ...
    def shutdown_raw(self, cancel: bool, timeout_s: float, /) -> bool: ...
    def abandon_raw(self) -> None: ...
    def statistics_raw(self) -> dict[str, Any]: ...

@final
class MapIterator:
    """The results of `Executor.map`, in order."""

    def __iter__(self) -> Self: ...
    def __next__(self) -> Any: ...
    def close(self) -> None: ...

def set_numpy_handler(handler: object, /) -> object:
    """Make a handler NumPy's allocator in this context; return the one before."""

@disjoint_base
class PoolCore:
    """A pool of memory, and arrays in it: what `tailrace.MemoryPool` stands on."""

    def __init__(self, limit: int, huge_pages: bool, hardened: bool, decay_ns: int) -> None: ...
    @property
    def closed(self) -> bool: ...
    def empty(
        self,
        shape: _Shape,
        dtype: DTypeLike = "float64",
        *,
        tag: str | None = None,
        timeout_s: float | None = None,
        collect: bool = True,
    ) -> NDArray[Any]: ...
    def zeros(
        self,
        shape: _Shape,
        dtype: DTypeLike = "float64",
        *,
        tag: str | None = None,
        timeout_s: float | None = None,
        collect: bool = True,
    ) -> NDArray[Any]: ...
    def empty_bytes(
        self,
        size: int,
        *,
        tag: str | None = None,
        timeout_s: float | None = None,
        collect: bool = True,
    ) -> PoolBuffer: ...
    def try_raw(self, shape: _Shape, dtype: DTypeLike, tag: str | None, /) -> NDArray[Any] | None: ...
    def close_raw(self) -> None: ...
    def trim_raw(self, keep_bytes: int, /) -> int: ...
    def reserve_raw(self, wanted: int, prefault: bool, /) -> int: ...
    def shortage_raw(self, wanted: int, /) -> dict[str, Any]: ...
    def statistics_raw(self) -> dict[str, Any]: ...
    def tag_raw(self, name: str, limit: int, /) -> None: ...
    def open_scope_raw(self) -> int: ...
    def start_trace_raw(self, path: str, /) -> bool: ...
    def stop_trace_raw(self) -> bool: ...
    def read_scope_raw(self, scope: int, /) -> tuple[int, int, int, int, int]: ...
    def close_scope_raw(self, scope: int, /) -> None: ...
    def numpy_handler_raw(self, tag: str | None, /) -> object: ...

@final
class PoolBuffer(Buffer):
    """Bytes in a memory pool, by the buffer protocol and by DLPack."""

    @property
    def nbytes(self) -> int: ...
    @property
    def readonly(self) -> bool: ...
    def toreadonly(self) -> PoolBuffer: ...
    def __len__(self) -> int: ...
    def __dlpack__(
        self,
        *,
        stream: int | None = None,
        max_version: tuple[int, int] | None = None,
        dl_device: tuple[int, int] | None = None,
        copy: bool | None = None,
    ) -> Any: ...
    def __dlpack_device__(self) -> tuple[int, int]: ...

@final
class FreeSignal:
    """Tells an event loop that memory of a pool was freed."""

    def __new__(cls, pool: PoolCore) -> Self: ...
    def fileno(self) -> int: ...
    def arm(self) -> None: ...
    def drain(self) -> None: ...
    def close(self) -> None: ...
