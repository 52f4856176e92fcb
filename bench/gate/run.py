"""Counts instructions of single-thread paths with Callgrind and compares them with the committed baseline.

    python bench/gate/run.py               build, count, compare; status 1 when a path costs more than it may
    python bench/gate/run.py --update      write what is counted now as the baseline of this compiler

Counts depend on the compiler and the C library, so the baseline has one set for each, and a machine without a
set of its own compares nothing. Status: 0 within the tolerance, 1 over it, 2 something is broken,
77 nothing was compared (no Callgrind, no baseline of this compiler), which is never reported as a pass.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
BASELINE = Path(__file__).with_name("baseline.json")
TOLERANCE = 0.03  # identical sources repeat to about 0.1 %
TRIES = (
    3  # a path over its limit is counted again: a runner samples the clock, which another process can delay
)
WITHIN, OVER, BROKEN, SKIPPED = 0, 1, 2, 77


class Broken(Exception):
    """The gate cannot count although it should be able to; the text says why."""


@dataclass(frozen=True)
class Verdict:
    """What the comparison of one path says.

    Args:
        path: its name.
        counted: instructions an operation, now.
        allowed: instructions an operation in the baseline; None where it has none.
    """

    path: str
    counted: float
    allowed: float | None

    @property
    def change(self) -> float:
        """Return the part by which the count has changed; 0.1 is a tenth more."""
        return 0.0 if self.allowed is None else self.counted / self.allowed - 1

    @property
    def fails(self) -> bool:
        """Whether the gate stays closed; a path without a figure is one that nobody watches."""
        return self.allowed is None or self.change > TOLERANCE

    def __str__(self) -> str:
        start = f"{self.path:<20} {self.counted:>10.1f}"
        if self.allowed is None:
            return f"{start}   NOT IN THE BASELINE: --update writes it"
        text = f"{start}  was {self.allowed:>10.1f}  {self.change:+7.1%}"
        if self.fails:
            return f"{text}  OVER {TOLERANCE:.0%}"
        return f"{text}  better: --update keeps it so" if self.change < -TOLERANCE else text


def output(*command: str | Path) -> str:
    """Run a command and return what it prints.

    Raises:
        Broken: if it fails.
    """
    words = [str(word) for word in command]
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    try:
        done = subprocess.run(
            words, capture_output=True, text=True, check=False, timeout=600, env={**os.environ, "PATH": path}
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise Broken(f"{' '.join(words)}: {error}") from error
    if done.returncode != 0:
        raise Broken(f"{' '.join(words)}: status {done.returncode}\n{(done.stdout + done.stderr)[-4000:]}")
    return done.stdout


def build() -> Path:
    """Build the program with the flags of the wheel and return where it is."""
    folder = ROOT / "build" / "gate"
    options = ["-DCMAKE_BUILD_TYPE=Release", "-DTAILRACE_BENCH=ON"]
    if shutil.which("ninja") is not None and not (folder / "CMakeCache.txt").exists():
        options += ["-G", "Ninja"]
    output("cmake", "-S", ROOT, "-B", folder, *options)
    output("cmake", "--build", folder, "--target", "tailrace_gate")
    return folder / "bench" / "gate" / "tailrace_gate"


def count(valgrind: str, program: Path, path: str) -> float:
    """Return the instructions of one operation of `path`."""
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder, "callgrind.out")
        done = output(
            valgrind,
            "--tool=callgrind",
            "--toggle-collect=tailrace_gate_measured",
            f"--callgrind-out-file={report}",
            program,
            path,
        )
        totals = [line.split()[1] for line in report.read_text().splitlines() if line.startswith("totals:")]
    operations = int(done.split()[-1])
    if not totals or int(totals[-1]) < operations:
        raise Broken(f"{path}: Callgrind has counted nothing inside tailrace_gate_measured")
    return int(totals[-1]) / operations


def judged(valgrind: str, program: Path, baseline: Mapping[str, float], tries: int) -> list[Verdict]:
    """Return a verdict for each path of the program; the lowest of `tries` counts where the first is over.

    Raises:
        Broken: if the baseline has a path that the program has not.
    """
    names = [line.split("\t")[0] for line in output(program, "--list").splitlines()]
    gone = sorted(set(baseline) - set(names))
    if gone:
        raise Broken(f"the baseline has {', '.join(gone)}, which the program has not: --update removes it")
    found = []
    for name in names:
        verdict = Verdict(name, count(valgrind, program, name), baseline.get(name))
        for _ in range(tries - 1):
            if verdict.fails:
                again = count(valgrind, program, name)
                verdict = Verdict(name, min(verdict.counted, again), verdict.allowed)
        found.append(verdict)
    return found


def skipped(reason: str) -> int:
    """Say why nothing was compared."""
    print(f"gate: SKIPPED, nothing was compared: {reason}", file=sys.stderr)
    return SKIPPED


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit status."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--update", action="store_true", help="write the baseline of this compiler")
    parser.add_argument("--program", type=Path, help="tailrace_gate, if it is built already")
    parser.add_argument("--baseline", type=Path, default=BASELINE, help="another file than the committed one")
    args = parser.parse_args(argv)
    valgrind = shutil.which("valgrind")
    if valgrind is None:
        return skipped("no valgrind on this machine; the system's package of that name brings it")
    try:
        program = args.program or build()
        compiler = output(program, "--compiler").strip()
        every = json.loads(args.baseline.read_text(encoding="utf-8")) if args.baseline.is_file() else {}
        if args.update:
            found = judged(valgrind, program, {}, TRIES)
            every[compiler] = {verdict.path: round(verdict.counted, 2) for verdict in found}
            args.baseline.write_text(json.dumps(every, indent=2) + "\n", encoding="utf-8")
            print(f"written for {compiler}: {args.baseline}", *every[compiler].items(), sep="\n")
            return WITHIN
        if compiler not in every:
            return skipped(
                f"this is {compiler}; the baseline has {', '.join(sorted(every)) or 'no compiler'}"
            )
        found = judged(valgrind, program, every[compiler], TRIES)
    except Broken as error:
        print(f"gate: {error}", file=sys.stderr)
        return BROKEN
    print(f"{compiler}: instructions an operation", *found, sep="\n")
    return OVER if any(verdict.fails for verdict in found) else WITHIN


if __name__ == "__main__":
    sys.exit(main())
