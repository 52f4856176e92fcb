"""The functions that the core calls back, handed to it once."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from tailrace import _core, _roster, _shutdown, errors
from tailrace.run import StepRecord

if TYPE_CHECKING:
    import asyncio

    from tailrace._core import Completions, Future, NodeToken, Run, RuntimeCore

__all__ = ["install"]

_log = logging.getLogger("tailrace")


def install() -> None:
    """Give the core its hooks."""
    _core.set_hooks(
        make_error=make_error,
        launch_async=_launch_async,
        open_wait=_open_wait,
        make_record=StepRecord,
        log_failure=_log_failure,
        name_thread=_roster.name_this_thread,
        forget_thread=_roster.forget_this_thread,
    )


def make_error(kind: str, detail: dict[str, Any]) -> BaseException:
    """Build the exception; in virtual time, with the seed that replays it."""
    error = errors.make_error(kind, detail)
    if kind == "stalled":
        for thing in _shutdown.live():
            clock = getattr(thing, "clock", None)
            if clock is not None and getattr(thing, "name", None) == detail.get("runtime"):
                error.add_note(f"replay it with {clock!r}")
    return error


# The first async step brings in `tailrace.aio`, and asyncio with it.
def _launch_async(
    token: NodeToken,
    loop: Any,
    fn: Callable[..., Any],
    args: tuple[Any, ...],
    kwargs: dict[str, Any] | None,
) -> None:
    from tailrace import aio

    aio.launch_async(token, loop, fn, args, kwargs)


def _open_wait(
    target: Run | Future, runtime: RuntimeCore | None
) -> tuple[Completions, asyncio.Future[None], asyncio.Task[Any] | None] | None:
    from tailrace import aio

    return aio.open_wait(target, runtime)


def _log_failure(workflow: str, error: BaseException) -> None:
    _log.error("a run of workflow %r failed and nobody awaited it", workflow, exc_info=error)
