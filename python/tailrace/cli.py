"""The `tailrace` command."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from tailrace import __version__


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit status.

    Args:
        argv: the words after `tailrace`; those of this process when None.
    """
    from tailrace import demos

    words = list(sys.argv[1:] if argv is None else argv)
    if words[:1] == ["bench"]:
        # It has a parser of its own, so that its options are described in one place.
        from tailrace import bench_cli

        status: int = bench_cli.main(words[1:])
        return status
    parser = _Parser(
        prog="tailrace", description="AI-agent workflows on a native scheduler, inside your process."
    )
    parser.add_argument("--version", action="version", version=f"tailrace {__version__}")
    parser.add_argument("--includes", action="store_true", help="print the folder of the C++ headers")
    parser.add_argument("--cmakedir", action="store_true", help="print the folder for CMake's tailrace_DIR")
    commands = parser.add_subparsers(dest="command", metavar="demo | bench | doctor", parser_class=_Parser)
    demo = commands.add_parser(
        "demo",
        help="serve real traffic on tailrace and on thread pools, side by side",
        description="Serve book recommendations to bursty real traffic on tailrace and on two thread pools.",
    )
    demos.add_arguments(demo)
    commands.add_parser("bench", help="measure this machine: tailrace and its rivals", add_help=False)
    doctor = commands.add_parser(
        "doctor",
        help="say what is found, what is missing, and what to do",
        description="Look at this machine and this installation. Exit status 1 if something is a problem.",
    )
    doctor.add_argument("--json", action="store_true", help="one JSON object instead of lines")
    args = parser.parse_args(words)
    if args.includes or args.cmakedir:
        return _print_folder("include" if args.includes else "lib/cmake/tailrace")
    if args.command is None:
        parser.print_help()
        return 0
    if args.command == "doctor":
        return _examine(args.json)
    try:
        return demos.run(args)
    except KeyboardInterrupt:
        print("\nstopped", file=sys.stderr)
        return 130


def _examine(as_json: bool) -> int:
    from tailrace import doctor
    from tailrace._host import Host

    text, status = doctor.report(Host(), as_json)
    print(text)
    return status


def _print_folder(below: str) -> int:
    # An editable install has two homes: the sources, and what CMake installed.
    import tailrace

    for home in tailrace.__path__:
        folder = Path(home, below)
        if folder.is_dir():
            print(folder)
            return 0
    print(
        f"tailrace: no folder {below} in {list(tailrace.__path__)}; install with `pip install .`",
        file=sys.stderr,
    )
    return 1


class _Parser(argparse.ArgumentParser):
    """A parser that says what can be asked for when it was asked for something else."""

    def error(self, message: str) -> None:  # type: ignore[override]
        self.exit(2, f"{self.prog}: {message}\nTry `{self.prog} --help`.\n")


if __name__ == "__main__":
    sys.exit(main())
