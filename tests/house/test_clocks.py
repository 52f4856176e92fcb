"""Time is monotonic: nothing reads the wall clock, and in the core base/clock alone reads a clock."""

from __future__ import annotations

import ast
import re
from collections.abc import Callable
from pathlib import Path

SEAM = "src/base/clock.cpp"
WALL = re.compile(
    r"CLOCK_(REALTIME|TAI)\w*|\bsystem_clock\b|\bhigh_resolution_clock\b|\butc_clock\b|\bgettimeofday\b|\btimespec_get\b"
    r"|\bftime\b|(?<![\w.>])(?:std\s*::\s*)?time\s*\(\s*(?:nullptr|NULL|0|&)"
    r"|\b(?:pthread_cond|sem|pthread_mutex|mq)_timed\w+|\b(?:wait|try_lock)_until\s*\("
)
ANY_CLOCK = re.compile(r"\bclock_gettime\b|\bclock_nanosleep\b|\bsteady_clock\b|\b__rdtsc\w*")
WALL_CALLS = {"time.time", "time.time_ns", "datetime.now", "datetime.utcnow", "datetime.today", "date.today"}
WALL_CALLS |= {"strftime", "time.strftime", "time.localtime", "time.gmtime"}
DATED = {
    "_bench/rows.py",
    "_bench/kernels/on_device.py",
}  # write the day beside figures that are kept; measure nothing by it


def without_comments(text: str) -> str:
    return re.sub(r"//[^\n]*|/\*.*?\*/", lambda m: "\n" * m.group().count("\n"), text, flags=re.DOTALL)


def clocks_in_cpp(cpp: Path) -> list[str]:
    """Every line that reads or waits by the wall clock, or reads any clock outside base/clock."""
    found = []
    for path in sorted(p for p in cpp.rglob("*") if p.suffix in {".hpp", ".cpp", ".h"}):
        name = path.relative_to(cpp).as_posix()
        for number, line in enumerate(without_comments(path.read_text(encoding="utf-8")).splitlines(), 1):
            if WALL.search(line) or (name != SEAM and ANY_CLOCK.search(line)):
                found.append(f"{name}:{number}: {line.strip()}")
    return found


def wall_clocks_in_python(package: Path) -> list[str]:
    """Every call that asks the wall clock."""
    found = []
    for path in sorted(package.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"), str(path))):
            if not isinstance(node, ast.Call):
                continue
            called = ".".join(ast.unparse(node.func).split(".")[-2:])
            if called in WALL_CALLS:
                found.append(f"{path.relative_to(package).as_posix()}:{node.lineno}: {called}")
    return found


def test_the_core_knows_no_wall_clock_and_reads_time_in_one_place(repo: Path) -> None:
    found = clocks_in_cpp(repo / "cpp")
    assert not found, "\n".join(found)


def test_the_package_never_asks_the_wall_clock(repo: Path) -> None:
    found = wall_clocks_in_python(repo / "python" / "tailrace")
    found = [line for line in found if line.split(":")[0] not in DATED]
    assert not found, "\n".join(found)


def test_wall_clocks_are_found_and_other_names_are_not(make_tree: Callable[[dict[str, str]], Path]) -> None:
    cpp = make_tree(
        {
            SEAM: "clock_gettime(CLOCK_MONOTONIC, &now);\n",
            "src/a.cpp": (
                "clock_gettime(CLOCK_MONOTONIC, &now);  // elsewhere\n"
                "auto t = std::chrono::system_clock::now();\n// CLOCK_REALTIME in a comment\n"
                "std::time(nullptr); x = time(&t);\n"
                "wake_.wait_for(lock, span); run.wait_until(deadline);\n"
                "thread.join_until(deadline); lead_time(0); it.time(0); virtual_clock();\n"
                "pthread_cond_timedwait(&c, &m, &t);\nauto s = std::chrono::steady_clock::now();\n"
            ),
        }
    )
    assert [v.split(": ")[0] for v in clocks_in_cpp(cpp)] == [f"src/a.cpp:{n}" for n in (1, 2, 4, 5, 7, 8)]


def test_wall_clock_calls_in_python_are_found(make_tree: Callable[[dict[str, str]], Path]) -> None:
    package = make_tree(
        {"a.py": "time.time()\ntime.monotonic()\ndatetime.datetime.now()\nself.clock.now()\ntime.time_ns()\n"}
    )
    assert [v.split(": ")[0] for v in wall_clocks_in_python(package)] == ["a.py:1", "a.py:3", "a.py:5"]
