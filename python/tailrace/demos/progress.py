"""A progress bar: rich's where it is installed, one line of text otherwise, a few plain lines in a file."""

from __future__ import annotations

import sys
from types import TracebackType
from typing import Any, TextIO


class Progress:
    """Shows which part of the work runs.

    It draws only when told to, between measurements, never from a thread of its own.

    Args:
        out: where to draw.
    """

    def __init__(self, out: TextIO = sys.stdout) -> None:
        self._out = out
        self._live = out.isatty()
        self._bar: Any = None
        self._task: Any = None

    def __enter__(self) -> Progress:
        if self._live:
            try:
                from rich import progress
            except ImportError:
                return self
            self._bar = progress.Progress(
                progress.BarColumn(40),
                progress.TaskProgressColumn(),
                progress.TextColumn("{task.description}"),
                auto_refresh=False,
                transient=True,
            )
            self._task = self._bar.add_task("", total=1.0)
            self._bar.start()
        return self

    def show(self, share: float, text: str) -> None:
        """Show that `share` (0 to 1) of the work is done and that `text` runs now."""
        if self._bar is not None:
            self._bar.update(self._task, completed=share, description=text, refresh=True)
        elif self._live:
            bar = ("=" * round(40 * share)).ljust(40)
            print(f"\r[{bar}] {share:4.0%} {text:<36.36}", end="", file=self._out, flush=True)
        else:
            print(f"{share:4.0%} {text}", file=self._out, flush=True)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.stop()
        elif self._live:
            print("\r" + " " * 86 + "\r", end="", file=self._out, flush=True)
