"""Where asyncio meets the scheduler: async steps go to a loop, finished runs wake their awaiters.

Each loop has one `Bridge`: other threads post to it, and a burst of posts costs the loop one wake-up.
Async steps run on the loop that started the run; those of other runs on one loop of the runtime's own.
"""

from __future__ import annotations

import asyncio
import threading
import weakref
from collections.abc import Callable
from concurrent.futures import CancelledError
from contextlib import suppress
from functools import partial
from typing import Any

from tailrace import _core, _shutdown
from tailrace.errors import BackendUnavailable, RuntimeClosed

__all__ = ["launch_async", "open_wait", "sleep"]

_CLOSE_TIMEOUT_S = 0.5


async def sleep(seconds: float) -> None:
    """Wait inside an async step; in a runtime with a virtual clock, in virtual seconds.

    >>> import tailrace as tr
    >>> @tr.step
    ... async def pause() -> str:
    ...     await tr.sleep(3600)
    ...     return "an hour later"
    >>> wait = tr.workflow(lambda: pause())
    >>> clock = tr.VirtualClock()
    >>> with tr.Runtime(clock=clock) as rt:
    ...     wait.options(runtime=rt)(), clock.now_s
    ('an hour later', 3600.0)
    """
    await asyncio.sleep(seconds)


class Bridge:
    """The one way from other threads onto a loop; made on the loop's own thread."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = weakref.ref(loop)  # weak: the loop's registry must not keep it alive
        self.completions = _core.Completions()
        loop.add_reader(self.completions.fileno(), self.completions.deliver)

    def post(self, work: Callable[[], object]) -> None:
        """Call `work()` on the loop's thread: soon, or at once where the loop runs here."""
        if asyncio._get_running_loop() is self._loop():
            work()
        else:
            self.completions.post(work)


_bridges: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, Bridge] = weakref.WeakKeyDictionary()


def _bridge_here(loop: asyncio.AbstractEventLoop) -> Bridge:
    bridge = _bridges.get(loop)
    if bridge is None:
        bridge = _bridges[loop] = Bridge(loop)
    return bridge


def launch_async(
    token: _core.NodeToken,
    loop: asyncio.AbstractEventLoop | None,
    fn: Callable[..., Any],
    args: tuple[Any, ...],
    kwargs: dict[str, Any] | None,
) -> None:
    """Make a task of `fn(*args, **kwargs)` on `loop`, which finishes `token`; the core calls this."""
    if loop is None and token.runtime.debug:
        _run_here(token, fn, args, kwargs)
        return
    if loop is None:
        loop = own_loop(token.runtime)
    if loop.is_closed():
        token.fail(_closed_loop(token))
        return
    begin = partial(_begin, loop, token, fn, args, kwargs)
    bridge = _bridges.get(loop)
    if bridge is not None:
        bridge.post(begin)
    elif asyncio._get_running_loop() is loop:
        begin()
    else:
        try:
            loop.call_soon_threadsafe(begin)
        except RuntimeError:  # closed since we looked
            token.fail(_closed_loop(token))


def open_wait(
    target: _core.Run | _core.Future, runtime: _core.RuntimeCore | None
) -> tuple[_core.Completions, asyncio.Future[None], asyncio.Task[Any] | None] | None:
    """Return where an awaiter on the running loop is woken, by what, and its task; the core calls this.

    None if the target has ended meanwhile, since in virtual time who waits drives it.
    """
    loop = asyncio._get_running_loop()
    if loop is None:
        what, instead = (
            (f"a run of workflow {target.workflow!r}", "run.result()")
            if isinstance(target, _core.Run)
            else ("a submitted task", "future.result()")
        )
        raise BackendUnavailable(
            f"to await {what} an asyncio event loop must be running; outside of one write {instead}"
        )
    clock = getattr(runtime, "clock", None)
    if clock is not None and clock.loop is not loop:
        with suppress(CancelledError):
            target.exception()  # nobody else drives a virtual runtime: waiting for it does
        return None
    return _bridge_here(loop).completions, loop.create_future(), asyncio.current_task(loop)


def _begin(
    loop: asyncio.AbstractEventLoop,
    token: _core.NodeToken,
    fn: Callable[..., Any],
    args: tuple[Any, ...],
    kwargs: dict[str, Any] | None,
) -> None:
    if loop not in _bridges:
        _bridge_here(loop)
    task = loop.create_task(_drive(token, fn, args, kwargs or {}), context=token.context)
    # Weak: the error of a task that is cancelled before its first step holds the token; both must go at once.
    held = weakref.ref(task)
    token.on_cancel(partial(_cancel, loop, held), held)


# A task that is cancelled before its first step never gets here; it drops its token, and the core notices.
async def _drive(
    token: _core.NodeToken, fn: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
) -> None:
    try:
        value = await fn(*args, **kwargs)
    except GeneratorExit:  # the loop was closed around us
        with suppress(RuntimeError):  # the core may have noticed before
            token.fail(_closed_loop(token))
        raise
    except Exception as error:
        token.fail(error)
    except BaseException as error:  # cancelled, KeyboardInterrupt, SystemExit: the loop must see it too
        token.fail(error)
        raise
    else:
        token.finish(value)


def _run_here(
    token: _core.NodeToken, fn: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any] | None
) -> None:
    # A debugging runtime: to its end, on a loop that turns only meanwhile. This thread may be inside another
    # loop, which stands still as it does for any step that runs on its thread.
    quiet = _quiet_loop(token.runtime)  # held until it stands still
    loop = quiet.loop
    outer = asyncio._get_running_loop()
    asyncio._set_running_loop(None)
    try:
        task = loop.create_task(_drive(token, fn, args, kwargs or {}), context=token.context)
        held = weakref.ref(task)
        token.on_cancel(partial(_cancel, loop, held), held)
        del token  # a task that is cancelled before its first step drops its own: then the core notices
        with suppress(asyncio.CancelledError):
            loop.run_until_complete(task)
    finally:
        asyncio._set_running_loop(outer)


class _QuietLoop:
    """A loop that is turned now and then, and closed without a word when its runtime or thread goes.

    Not the loop's own `__del__`: it dies in a cycle with its sockets, which may be finalized before it.
    """

    def __init__(self) -> None:
        self.loop = asyncio.SelectorEventLoop()

    def __del__(self) -> None:
        if not self.loop.is_closed() and not self.loop.is_running():
            self.loop.close()


class _QuietLoops(threading.local):
    """For each thread, its loop of each debugging runtime: async steps find what earlier ones left."""

    def __init__(self) -> None:
        self.of: weakref.WeakKeyDictionary[_core.RuntimeCore, _QuietLoop] = weakref.WeakKeyDictionary()


_quiet_loops = _QuietLoops()


def _quiet_loop(runtime: _core.RuntimeCore) -> _QuietLoop:
    quiet = _quiet_loops.of.get(runtime)
    if quiet is None or quiet.loop.is_closed():
        quiet = _quiet_loops.of[runtime] = _QuietLoop()
    return quiet


def _cancel(loop: asyncio.AbstractEventLoop, held: weakref.ref[asyncio.Task[None]]) -> None:
    task = held()
    bridge = _bridges.get(loop)
    if task is not None and bridge is not None and not loop.is_closed():  # its tasks are gone with it
        bridge.post(task.cancel)


def _closed_loop(token: _core.NodeToken) -> RuntimeClosed:
    return RuntimeClosed(
        f"the event loop that started the run of workflow {token.workflow!r} is closed, so its async step "
        f"{token.step!r} cannot run; await the run before the loop ends: `await {token.workflow}.start(...)`"
    )


class _OwnLoop:
    """A loop on a daemon thread, for async steps whose run was started on no loop."""

    def __init__(self, name: str) -> None:
        self.loop = asyncio.new_event_loop()
        self.thread = threading.Thread(target=self._run, name=f"{name}-loop", daemon=True)
        self.thread.start()

    def stop(self) -> None:
        if self.loop.is_closed():
            return
        self.loop.call_soon_threadsafe(self.loop.stop)
        if self.thread is not threading.current_thread():
            self.thread.join(_CLOSE_TIMEOUT_S)

    def _run(self) -> None:
        asyncio.set_event_loop(self.loop)
        self.loop.call_soon(_bridge_here, self.loop)
        try:
            self.loop.run_forever()
            for task in (left := asyncio.all_tasks(self.loop)):
                if not task.cancelling():  # a second time would end what it does on its way out
                    task.cancel()
            if left:
                self.loop.run_until_complete(asyncio.wait(left, timeout=_CLOSE_TIMEOUT_S))
        finally:
            self.loop.close()


_own_lock = threading.Lock()
_own_loops: weakref.WeakKeyDictionary[_core.RuntimeCore, _OwnLoop] = weakref.WeakKeyDictionary()


def own_loop(runtime: _core.RuntimeCore) -> asyncio.AbstractEventLoop:
    """Return the loop of a runtime: of its virtual clock, or on a thread of its own, made now."""
    clock = getattr(runtime, "clock", None)
    if clock is not None:
        virtual: asyncio.AbstractEventLoop = clock.loop
        return virtual
    with _own_lock:
        own = _own_loops.get(runtime)
        if own is None:
            own = _own_loops[runtime] = _OwnLoop(runtime.name)
        return own.loop


def stop_own_loop(runtime: _core.RuntimeCore) -> None:
    """End the loop of a runtime that is being closed."""
    _quiet_loops.of.pop(runtime, None)
    with _own_lock:
        own = _own_loops.pop(runtime, None)
    if own is not None:
        own.stop()


def _after_fork() -> None:
    global _own_lock, _own_loops, _bridges  # noqa: PLW0603
    _own_lock = threading.Lock()
    _own_loops = weakref.WeakKeyDictionary()
    _bridges = weakref.WeakKeyDictionary()


_shutdown.on_fork(_after_fork)
