"""What was measured over time, as a picture: one panel a work, one line an engine."""

from __future__ import annotations

from importlib import import_module, util
from pathlib import Path
from typing import Any

from tailrace._bench.native import Curves
from tailrace._bench.rows import US

_TITLES = {
    "alloc_rss.rss.t1": "a long mixed run, then 90 % freed, then all; 1 thread",
    "alloc_rss.rss.t2": "the same, 2 threads",
}
_WIDE_INCH, _HIGH_INCH, _DPI = 9.0, 3.6, 120


class CannotDraw(Exception):
    """There is nothing to draw, or nothing to draw with; the text says which."""


def draw(curves: Curves, path: Path) -> None:
    """Write a PNG of all curves.

    Args:
        curves: work -> engine -> points of seconds and MiB.
        path: where to.

    Raises:
        CannotDraw: if there are no curves, or Matplotlib is not installed.
    """
    if not curves:
        raise CannotDraw("nothing was measured over time; alloc_rss is: --native FOLDER --only alloc_rss")
    if util.find_spec("matplotlib") is None:
        raise CannotDraw('a picture of curves needs Matplotlib: pip install "tailrace[plot]"')
    # The figure itself, without pyplot: no window, and no state that outlives the call.
    figure: Any = import_module("matplotlib.figure").Figure(
        figsize=(_WIDE_INCH, _HIGH_INCH * len(curves)), dpi=_DPI, layout="constrained"
    )
    panels = figure.subplots(len(curves), 1, squeeze=False)
    for (work, engines), (panel,) in zip(sorted(curves.items()), panels, strict=True):
        for engine in sorted(engines, key=lambda name: name != US):
            points = engines[engine]
            seconds, mib = [at for at, _ in points], [value for _, value in points]
            panel.plot(seconds, mib, label=engine, linewidth=2.4 if engine == US else 1.2)
        panel.set_title(_TITLES.get(work, work))
        panel.set_xlabel("seconds")
        panel.set_ylabel("memory of the process, MiB")
        panel.set_ylim(bottom=0)
        panel.grid(alpha=0.3)
        panel.legend()
    figure.savefig(path, format="png")
