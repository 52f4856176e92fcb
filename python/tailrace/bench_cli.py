"""`tailrace bench`: this machine's figures, tailrace beside its rivals, with ratios."""

from __future__ import annotations

import argparse
import os
import platform
import sys
from collections.abc import Sequence
from pathlib import Path

from tailrace import __version__
from tailrace._bench import native, peers, rows, timing

_QUICK_PASSES, _QUICK_BUDGET_S = 3, 0.1
_PASSES, _BUDGET_S = 9, 0.3

_HELP = """\
Every engine runs once per pass, in turn, and its answers are checked. The table shows the median and the
best pass; x is how many times better tailrace is than that rival (above 1: ahead).

  tailrace bench --quick          the Python rows in under a minute
  tailrace bench                  the same with more passes, some minutes
  tailrace bench --quick --native the Python rows, then the native ones
  tailrace bench native           only the native rows: builds the shipped C++ benches against the
                                  installed library, in a cache folder; needs a C++20 compiler and
                                  the extra tailrace[bench]; the memory rows (alloc_...) also run
                                  with mimalloc, jemalloc and tcmalloc, where they are installed
  tailrace bench kernels          the CPU kernels beside NumPy, SciPy, onnxruntime, OpenCV and torch,
                                  those that are installed, one thread each, with the share of what
                                  this machine can do at most
"""


def main(argv: Sequence[str]) -> int:
    """Run the command and return its exit status: 0, 1 if it cannot be done, 2 for wrong words.

    Args:
        argv: the words after `tailrace bench`.
    """
    args = _parse(argv)
    progress = timing.Progress()
    try:
        found = _measured(args, progress)
    except (native.CannotBuild, timing.WrongAnswer) as error:
        progress.clear()
        print(f"tailrace bench: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        progress.clear()
        print("stopped", file=sys.stderr)
        return 130
    progress.clear()
    print(_host())
    print(rows.table(found))
    print(
        "\nx: how many times better tailrace is. A time is only good beside another one of the same run.\n"
        "TPE: concurrent.futures.ThreadPoolExecutor."
    )
    if args.what == "kernels":
        from tailrace._bench.kernels import roofline

        print("\n" + roofline.table(args.works, found))
    if args.csv is not None:
        rows.append_csv(args.csv, found, _host())
        print(f"appended: {args.csv}")
    if args.json is not None:
        rows.write_json(args.json, found)
        print(f"written: {args.json}")
    return 0


def _parse(argv: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="tailrace bench", description=_HELP, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", nargs="?", choices=["native", "kernels"], help="only these rows")
    parser.add_argument("--quick", action="store_true", help=f"{_QUICK_PASSES} passes instead of {_PASSES}")
    parser.add_argument("--native", action="store_true", help="the native rows too")
    parser.add_argument(
        "--only", metavar="ROWS", help="rows as in P1,P5.awaited; native: works as in chain,submit"
    )
    parser.add_argument(
        "--peers",
        metavar="NAMES",
        default="",
        help=f"further rivals, where they are installed: {', '.join(peers.PEERS)}",
    )
    parser.add_argument("--passes", type=int, metavar="N", help="turns of each engine")
    parser.add_argument(
        "--csv", type=Path, metavar="FILE", help="append each engine's figures, with machine and version"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the medians as a list of rows")
    args = parser.parse_args(list(argv))
    if args.passes is not None and args.passes < 1:
        parser.error(f"--passes must be at least 1, got {args.passes}")
    for name, path in (("--json", args.json), ("--csv", args.csv)):
        if path is not None and not path.resolve().parent.is_dir():
            parser.error(f"{name}: there is no folder {path.resolve().parent}")
    if args.what != "native":
        try:
            args.works = _works(args)
        except (ValueError, peers.Absent) as error:
            parser.error(str(error))
    elif args.only is not None:
        names = {work.partition(".")[0] for work in native.ROWS}
        unknown = [name for name in args.only.split(",") if name not in names]
        if unknown:
            parser.error(
                f"--only: no native work is called {unknown[0]!r}; there are {', '.join(sorted(names))}"
            )
    return args


def _works(args: argparse.Namespace) -> list[timing.Work]:
    if args.what is None:
        return peers.add(timing.chosen(timing.all_works(), args.only), peers.wanted(args.peers))
    for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ[variable] = "1"  # before NumPy is loaded: a kernel has one thread, and so have its rivals
    from tailrace._bench import kernels

    return timing.chosen(kernels.works(), args.only)


def _measured(args: argparse.Namespace, progress: timing.Progress) -> list[rows.Row]:
    passes = args.passes or (_QUICK_PASSES if args.quick else _PASSES)
    found = []
    if args.what != "native":
        budget_s = _QUICK_BUDGET_S if args.quick else _BUDGET_S
        found = [timing.measure(work, passes, budget_s, progress) for work in args.works]
    if args.what == "native" or (args.native and args.what is None):
        folder = native.build(progress)
        only = args.only if args.what == "native" else None
        found += native.measure(folder, args.passes or _QUICK_PASSES, progress, only=only)
    return found


def _host() -> str:
    from tailrace._cpus import available_cpus

    return (
        f"tailrace {__version__}, {platform.python_implementation()} {platform.python_version()}, "
        f"{platform.system()} {platform.machine()}, {available_cpus()} cores, "
        f"switch interval {sys.getswitchinterval() * 1e3:g} ms"
    )
