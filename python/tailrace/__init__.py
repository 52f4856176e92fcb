"""tailrace runs AI-agent workflows inside your process, fast.

>>> import tailrace as tr
>>> @tr.step
... def double(x: int) -> int:
...     return 2 * x
>>> @tr.workflow
... def quadruple(x: int) -> int:
...     return double(double(x))
>>> quadruple(10)
40

Names are loaded at first use, so that importing the package costs next to nothing.
"""

from __future__ import annotations

import sys
from types import ModuleType

__version__ = "0.1.0"


def _refuse_a_subinterpreter() -> None:
    try:
        import _xxsubinterpreters as interpreters  # type: ignore[import-not-found]
    except ImportError:  # an interpreter built without them
        return
    if interpreters.get_current() != interpreters.get_main():
        raise ImportError("tailrace does not support loading in subinterpreters; use the main one")


if sys.version_info < (3, 12):  # from 3.12 on the core refuses by itself; here loading it would wait for ever
    _refuse_a_subinterpreter()

TYPE_CHECKING = False  # type checkers take this name for True; importing `typing` would cost 10 ms
if TYPE_CHECKING:
    from typing import Any

    from tailrace import errors as errors
    from tailrace import testing as testing
    from tailrace._core import Future as Future
    from tailrace._core import Run as Run
    from tailrace._each import each as each
    from tailrace._scratch import scratch as scratch
    from tailrace._trace import after as after
    from tailrace.aio import sleep as sleep
    from tailrace.errors import BackendUnavailable as BackendUnavailable
    from tailrace.errors import Cancelled as Cancelled
    from tailrace.errors import DeadlineExceeded as DeadlineExceeded
    from tailrace.errors import Deadlock as Deadlock
    from tailrace.errors import NoHealthyReplica as NoHealthyReplica
    from tailrace.errors import Overloaded as Overloaded
    from tailrace.errors import PoolExhausted as PoolExhausted
    from tailrace.errors import RuntimeClosed as RuntimeClosed
    from tailrace.errors import StaleHandle as StaleHandle
    from tailrace.errors import Stalled as Stalled
    from tailrace.errors import StepFailed as StepFailed
    from tailrace.errors import StepsFailed as StepsFailed
    from tailrace.errors import StepTimeout as StepTimeout
    from tailrace.errors import TailraceError as TailraceError
    from tailrace.errors import WorkflowError as WorkflowError
    from tailrace.executor import Executor as Executor
    from tailrace.garbage import GCGuard as GCGuard
    from tailrace.garbage import gc_guard as gc_guard
    from tailrace.memory import MemoryPool as MemoryPool
    from tailrace.native import NativeStep as NativeStep
    from tailrace.native import native_step as native_step
    from tailrace.priority import Priority as Priority
    from tailrace.run import StepRecord as StepRecord
    from tailrace.runtime import Runtime as Runtime
    from tailrace.runtime import default_runtime as default_runtime
    from tailrace.shared_pool import SharedBlock as SharedBlock
    from tailrace.shared_pool import SharedPool as SharedPool
    from tailrace.step import Step as Step
    from tailrace.step import step as step
    from tailrace.testing import VirtualClock as VirtualClock
    from tailrace.workflow import Workflow as Workflow
    from tailrace.workflow import workflow as workflow

# Public name -> the module that has it; a module itself stands under its own name.
_HOME = {
    "Future": "_core",
    "Run": "run",
    "after": "_trace",
    "each": "_each",
    "scratch": "_scratch",
    "sleep": "aio",
    "BackendUnavailable": "errors",
    "Cancelled": "errors",
    "DeadlineExceeded": "errors",
    "Deadlock": "errors",
    "NoHealthyReplica": "errors",
    "Overloaded": "errors",
    "PoolExhausted": "errors",
    "RuntimeClosed": "errors",
    "StaleHandle": "errors",
    "Stalled": "errors",
    "StepFailed": "errors",
    "StepTimeout": "errors",
    "StepsFailed": "errors",
    "TailraceError": "errors",
    "WorkflowError": "errors",
    "Executor": "executor",
    "GCGuard": "garbage",
    "gc_guard": "garbage",
    "MemoryPool": "memory",
    "Priority": "priority",
    "StepRecord": "run",
    "Runtime": "runtime",
    "default_runtime": "runtime",
    "NativeStep": "native",
    "native_step": "native",
    "SharedBlock": "shared_pool",
    "SharedPool": "shared_pool",
    "Step": "step",
    "step": "step",
    "VirtualClock": "testing",
    "Workflow": "workflow",
    "workflow": "workflow",
    "errors": "errors",
    "testing": "testing",
}

__all__ = ["__version__", *_HOME]  # noqa: PLE0604 -- all of them are strings


def __getattr__(name: str) -> Any:
    home = _HOME.get(name)
    if home is None:
        raise AttributeError(f"module 'tailrace' has no attribute {name!r}; see dir(tailrace)")
    from importlib import import_module

    try:
        module = import_module(f"tailrace.{home}")
    except ImportError as error:
        from importlib.util import find_spec

        if find_spec("tailrace._core") is not None:
            raise
        raise ImportError("tailrace is not compiled; install it with `pip install .`") from error
    value = module if name == home and not hasattr(module, name) else getattr(module, name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)


class _Face(ModuleType):
    """The package, except that its module `step` never hides its function `step`."""

    def __setattr__(self, name: str, value: Any) -> None:
        if not (isinstance(value, ModuleType) and name in ("step", "workflow")):
            super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Face
