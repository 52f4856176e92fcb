"""The native rows: builds the C++ benches against the installed library, runs the engines in turn."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from tailrace._bench import alloc_rows
from tailrace._bench.rows import PLAIN, US, Row

# What is measured over time -> its engines -> points of seconds and value.
Curves = dict[str, dict[str, list[tuple[float, float]]]]

# What an executable calls its work -> the row in the goals, its title.
ROWS = {
    "fork_join": ("N1", "fib(32), a fork at every call, the caller alone"),
    "fork_join.t2": ("N1.t2", "the same with one worker beside the caller"),
    "skynet": ("N2.skynet", "skynet: ten forks a task, a million leaves, the caller alone"),
    "skynet.t2": ("N2.skynet.t2", "the same with one worker beside the caller"),
    "uts": ("N2.uts", "unbalanced tree, the caller alone"),
    "uts.t2": ("N2.uts.t2", "the same with one worker beside the caller"),
    "chain": ("N3", "linear chain of 100k nodes, caller helps"),
    "tree.t1": ("N4.t1", "binary tree of 2^17 nodes, 1 thread"),
    "tree.t2": ("N4.t2", "the same, 2 threads"),
    "tree.work": ("N4.work", "the same, bodies of 0.3 us, 2 threads"),
    "random_dag.t1": ("N5.t1", "random graph of 65k nodes, 131k edges, 1 thread"),
    "random_dag.t2": ("N5.t2", "the same, 2 threads"),
    "random_dag.work": ("N5.work", "the same, bodies of 0.3 us, 2 threads"),
    "wavefront.t1": ("N6.t1", "wavefront of 512 x 512 nodes, 1 thread"),
    "wavefront.t2": ("N6.t2", "the same, 2 threads"),
    "wavefront.work": ("N6.work", "the same, bodies of 0.3 us, 2 threads"),
    "diamond.hot": ("N7.hot", "10-node diamond run to done, caller helps"),
    "diamond.cold": ("N7.cold", "the same after 1 ms of idling"),
    "random_dag.node": ("N12.node", "memory of a graph node"),
    "random_dag.edge": ("N12.edge", "memory of an edge"),
    "list_schedule.p2": ("N13.p2", "list scheduling on 2 processors, virtual time"),
    "list_schedule.p4": ("N13.p4", "the same on 4"),
    "list_schedule.p8": ("N13.p8", "the same on 8"),
    "submit": ("N8", "1M submits, all run by one worker, a task"),
    "submit.helped": ("N8.helped", "1M submits, who submits may help, a task"),
    "submit.2x2": ("N9", "1M submits, 2 producers, 2 workers run all, a task"),
    "wake": ("N10", "submit to a parked worker until it starts"),
    "wake.spinning": ("N10.spinning", "submit to a worker that still looks for work"),
    "timers.late": ("timers.late", "a deadline until its timer fires"),
    "timers.cancel.1": ("timers.cancel.1", "arm and cancel, 1 timers standing"),
    "timers.cancel2.1": ("timers.cancel2.1", "the same by two threads, 1 each"),
    "timers.fire.1": ("timers.fire.1", "arm and fire in virtual time, 1 standing"),
    "timers.cancel.10": ("timers.cancel.10", "arm and cancel, 10 timers standing"),
    "timers.cancel2.10": ("timers.cancel2.10", "the same by two threads, 10 each"),
    "timers.fire.10": ("timers.fire.10", "arm and fire in virtual time, 10 standing"),
    "timers.cancel.1k": ("timers.cancel.1k", "arm and cancel, 1,000 timers standing"),
    "timers.cancel2.1k": ("timers.cancel2.1k", "the same by two threads, 1,000 each"),
    "timers.fire.1k": ("timers.fire.1k", "arm and fire in virtual time, 1,000 standing"),
    "timers.cancel.100k": ("timers.cancel.100k", "arm and cancel, 100,000 timers standing"),
    "timers.cancel2.100k": ("timers.cancel2.100k", "the same by two threads, 100,000 each"),
    "timers.fire.100k": ("timers.fire.100k", "arm and fire in virtual time, 100,000 standing"),
    "idle": ("N11", "5 s alive with nothing to do"),
    "trickle": ("N11.trickle", "one task a millisecond, CPU of the process"),
    **alloc_rows.ROWS,
}
_ONCE = ("idle", "alloc_rss")  # many seconds a pass, and no noise worth more
_EXTRA = 'pip install "tailrace[bench]"'
_TIME_LIMIT_S = 300


class CannotBuild(Exception):
    """The native benches cannot be built or run here; the text says what is missing."""


def sources() -> Path:
    """Return the folder of the C++ bench sources that the wheel carries.

    Raises:
        CannotBuild: if this installation has none.
    """
    return _home_with("bench/native/CMakeLists.txt") / "bench" / "native"


def _home_with(below: str) -> Path:
    # An editable install has two homes: the Python sources, and what CMake installed.
    import tailrace

    for home in tailrace.__path__:
        if Path(home, below).exists():
            return Path(home)
    raise CannotBuild(f"no {below} in {list(tailrace.__path__)}: this installation is incomplete; {_EXTRA}")


def cache_folder() -> Path:
    """Return where the benches of this version and installation are built."""
    import tailrace

    base = os.environ.get("XDG_CACHE_HOME") or str(Path("~/.cache").expanduser())
    # CMake ties a build folder to its sources, so that two environments need one each.
    place = hashlib.sha256(str(sources()).encode()).hexdigest()[:8]
    return Path(base, "tailrace", f"bench-{tailrace.__version__}", place)


def search_path() -> str:
    """Return where programs are looked up: beside this Python first, where pip puts them."""
    return os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])


def tools() -> tuple[str, str, str | None]:
    """Return the paths of CMake, of a C++ compiler and, if there is one, of Ninja.

    Raises:
        CannotBuild: if CMake or the compiler is missing, with the command that brings it.
    """
    path = search_path()
    cmake = shutil.which("cmake", path=path)
    if cmake is None:
        raise CannotBuild(
            f"no CMake found, which builds the native benches; it comes with the extra: {_EXTRA}"
        )
    named = os.environ.get("CXX")
    names = [named.split()[0]] if named else ["c++", "g++", "clang++"]
    compiler = next(filter(None, (shutil.which(name, path=path) for name in names)), None)
    if compiler is None:
        raise CannotBuild(
            f"no C++ compiler found ({', '.join(names)}), which builds the native benches; install g++ 12 or "
            f"clang 16, or newer, with the system's packages. CMake and oneTBB come with the extra: {_EXTRA}"
        )
    return cmake, compiler, shutil.which("ninja", path=path)


def build(progress: Callable[[str], object]) -> Path:
    """Build what has changed and return the folder of the executables.

    Raises:
        CannotBuild: if a tool is missing or fails, with its output.
    """
    cmake, _, ninja = tools()
    where = cache_folder()
    where.mkdir(parents=True, exist_ok=True)
    progress(f"build: native benches in {where}")
    package = _home_with("lib/cmake/tailrace") / "lib" / "cmake" / "tailrace"
    options = [
        f"-Dtailrace_DIR={package}",
        f"-DPython_EXECUTABLE={sys.executable}",
        "-DCMAKE_BUILD_TYPE=Release",
    ]
    if ninja is not None and not (where / "CMakeCache.txt").exists():
        options += ["-G", "Ninja", f"-DCMAKE_MAKE_PROGRAM={ninja}"]
    _run([cmake, "-S", str(sources()), "-B", str(where), *options])
    _run([cmake, "--build", str(where), "--parallel", str(os.cpu_count() or 1)])
    return where


def _run(command: Sequence[str], **more: str) -> str:
    environment = os.environ | {"PATH": search_path()} | more
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, check=False, env=environment, timeout=_TIME_LIMIT_S
        )
    except subprocess.TimeoutExpired as error:
        raise CannotBuild(f"{' '.join(command)} did not end within {_TIME_LIMIT_S} s") from error
    if done.returncode != 0:
        output = done.stdout[-4000:] + done.stderr[-4000:]
        raise CannotBuild(f"{' '.join(command)} ended with status {done.returncode}:\n{output}")
    return done.stdout


def executables(folder: Path) -> dict[str, list[Path]]:
    """Return the built benches by workload, those of tailrace first."""
    found: dict[str, list[Path]] = {}
    for path in sorted(folder.glob("*-*")):
        workload, _, engine = path.name.partition("-")
        if path.is_file() and os.access(path, os.X_OK) and engine.isidentifier():
            found.setdefault(workload, []).append(path)
    for paths in found.values():
        paths.sort(key=lambda path: (not path.name.endswith("-tailrace"), path.name))
    order = [work.partition(".")[0] for work in ROWS]
    return {
        work: found[work]
        for work in sorted(found, key=lambda w: order.index(w) if w in order else len(order))
    }


def measure(
    folder: Path,
    passes: int,
    progress: Callable[[str], object],
    *,
    only: str | None = None,
    scale: float = 1.0,
    curves: Curves | None = None,
) -> list[Row]:
    """Run every engine once per pass, in turn, and return the rows.

    What calls malloc runs again with each allocator that can be put in its place; one that is not installed
    is marked as absent.

    Args:
        folder: where the executables are.
        passes: turns; each is a process of its own.
        only: workloads as in "chain,submit"; all for None.
        scale: part of the work to do, 0 to 1.
        curves: takes those of the last pass.

    Raises:
        CannotBuild: if an engine fails, which a wrong answer does, or the preloads are named wrongly.
    """
    rows: dict[str, Row] = {}
    try:
        instead = alloc_rows.preloads()
    except ValueError as error:
        raise CannotBuild(str(error)) from error
    for workload, paths in executables(folder).items():
        if only is not None and workload not in only.split(","):
            continue
        turns = 1 if workload in _ONCE else passes
        for turn in range(1, turns + 1):
            for path in paths:
                command = [str(path), "--passes", "1", "--scale", str(scale)]
                progress(f"{workload}: pass {turn} of {turns}, {path.name}")
                lines = _run(command)
                add_lines(rows, lines, curves=curves)
                if not path.name.endswith(f"-{alloc_rows.MALLOC}"):
                    continue
                for name, library in instead.items():
                    if library is None:
                        mark_absent(rows, lines, name)
                        continue
                    progress(f"{workload}: pass {turn} of {turns}, {path.name} with {name}")
                    add_lines(rows, _run(command, LD_PRELOAD=library), instead=name, curves=curves)
    return [row for row in rows.values() if US in row.values]


def add_lines(
    rows: dict[str, Row], lines: str, *, instead: str | None = None, curves: Curves | None = None
) -> None:
    """Add the lines of JSON that an executable has printed to the rows of their works.

    Args:
        instead: the name of what was put in malloc's place.
        curves: takes the lines that are curves; they are dropped for None.

    Raises:
        CannotBuild: if malloc is still the C library's.
    """
    for line in lines.splitlines():
        given = json.loads(line)
        engine = PLAIN if given["engine"] == "serial" else given["engine"]
        if instead is not None:
            if engine == alloc_rows.MALLOC:
                raise CannotBuild(f"{instead} was preloaded, and malloc is still the C library's")
            engine = instead
        if "curve" in given:
            if curves is not None:
                curves.setdefault(given["curve"], {})[engine] = given["points"]
        else:
            _row_of(rows, given).add(engine, given["value"])


def mark_absent(rows: dict[str, Row], lines: str, engine: str) -> None:
    """Note in the rows of these lines that `engine` is not installed."""
    for given in map(json.loads, lines.splitlines()):
        if "work" in given:
            _row_of(rows, given).absent.add(engine)


def _row_of(rows: dict[str, Row], given: Mapping[str, Any]) -> Row:
    name, title = ROWS.get(given["work"], (given["work"], given["work"]))
    return rows.setdefault(name, Row(name, title, given["unit"]))
