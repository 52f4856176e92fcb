"""`tailrace doctor`: what machine and installation offer, what is missing, and what to do about it."""

from __future__ import annotations

import importlib
import json
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from typing import Literal

from tailrace import __version__
from tailrace._host import Host

__all__ = ["Finding", "examine", "report"]

Status = Literal["ok", "note", "problem"]

# Optional package -> what it is for, and what brings it.
_OPTIONAL = {
    "rich": ("the pictures of `tailrace demo`", "pip install 'tailrace[demo]'"),
    "uvloop": ("a faster event loop under async steps", "pip install uvloop"),
    "threadpoolctl": ("seeing and limiting the threads of BLAS", "pip install threadpoolctl"),
    "numba": ("native steps compiled from Python", "pip install numba"),
    "cupy": ("kernels on a GPU", "pip install 'tailrace[cuda13]' on a host that has one"),
    "safetensors": ("models on disk", "pip install 'tailrace[models]'"),
    "cmake": ("`tailrace bench native`", "pip install 'tailrace[bench]'"),
}
# What the package itself reads; tests and stress programs have others.
_KNOWN_VARIABLES = {"TAILRACE_WORKERS", "TAILRACE_BLAS_THREADS", "TAILRACE_BACKEND", "TAILRACE_ISA"}
_ENOUGH_THREADS = 64
_SLOW_CLOCKS = {"hpet", "acpi_pm", "refined-jiffies", "jiffies"}
_SWITCH_S = 0.005


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the report.

    Attributes:
        topic: What was looked at.
        status: "ok", "note" (works, but could be better or should be known) or "problem".
        found: What is there.
        advice: What to do; empty where there is nothing to do.
    """

    topic: str
    status: Status
    found: str
    advice: str = ""


def examine(host: Host) -> list[Finding]:
    """Look at everything, in the order of the report; a look that fails is a problem and not an exception.

    Args:
        host: Where to look; tests make their own.
    """
    found: list[Finding] = []
    for look in _LOOKS:
        try:
            found += look(host)
        except Exception as error:
            topic = look.__name__.strip("_").replace("_", " ")
            found.append(
                Finding(topic, "problem", f"could not be looked at: {error!r}", "please report this text")
            )
    return found


def report(host: Host, as_json: bool) -> tuple[str, int]:
    """Return the report and the exit status: 0, or 1 when something is a problem.

    Args:
        host: Where to look.
        as_json: One JSON object instead of lines.
    """
    findings = examine(host)
    problems = sum(entry.status == "problem" for entry in findings)
    status = 1 if problems else 0
    if as_json:
        rows = [asdict(entry) for entry in findings]
        return json.dumps({"version": __version__, "ok": not problems, "findings": rows}, indent=2), status
    width = max(len(entry.topic) for entry in findings)
    lines = [f"tailrace {__version__}"]
    for entry in findings:
        mark = {"ok": "ok     ", "note": "note   ", "problem": "PROBLEM"}[entry.status]
        lines.append(f"  {mark}  {entry.topic:<{width}}  {entry.found}")
        if entry.advice:
            lines.append(f"{'':{width + 13}}-> {entry.advice}")
    lines.append("no problem found" if not problems else f"{problems} problem{'s' if problems > 1 else ''}")
    return "\n".join(lines), status


def _interpreter(host: Host) -> Iterator[Finding]:
    yield Finding("python", "ok", f"{host.python()}, {sys.executable}")
    if host.gil_came_back():
        yield Finding(
            "free threading",
            "note",
            "this build runs without the GIL, but something turned it on again",
            "run with `python -X gil=0 -W default` to see which extension is not declared safe",
        )


def _extension(_: Host) -> Iterator[Finding]:
    advice = "reinstall both halves together: pip install --force-reinstall --no-deps tailrace"
    try:
        from tailrace import _core
    except ImportError as error:
        yield Finding("extension", "problem", f"tailrace._core does not load: {error}", advice)
        return
    if _core.__version__ != __version__:
        text = f"tailrace is {__version__}, its extension {_core.__version__}"
        yield Finding("extension", "problem", text, advice)
    else:
        yield Finding("extension", "ok", f"{_core.__version__}, {_core.__file__}")


def _cpus(host: Host) -> Iterator[Finding]:
    there, mask, quota = host.cpus()
    cut = f", {mask} by affinity" if mask != there else ""
    cut += f", {quota:g} by the cgroup's quota" if quota is not None else ""
    usable = host.available_cpus()
    text = f"{usable} usable: {there} in the machine{cut}"
    if usable == 1:
        advice = "steps take turns on one CPU: nothing runs in parallel; give the process another"
        yield Finding("cpus", "note", text, advice)
    elif quota is not None and quota < min(there, mask):
        advice = (
            "the quota throttles in bursts: a p99 needs a quota above the mean load, or whole CPUs (cpuset)"
        )
        yield Finding("cpus", "note", text, advice)
    else:
        yield Finding("cpus", "ok", text)


def _workers(host: Host) -> Iterator[Finding]:
    from tailrace.runtime import default_workers

    try:
        workers = default_workers(host.environ, host.root)
    except ValueError as error:
        advice = "unset TAILRACE_WORKERS, or export TAILRACE_WORKERS=4"
        yield Finding("workers", "problem", str(error), advice)
        return
    by = "TAILRACE_WORKERS" if host.environ.get("TAILRACE_WORKERS", "").strip() else "the usable CPUs"
    if workers > host.available_cpus():
        advice = "more workers than CPUs take turns; blocking steps have threads of their own anyway"
        yield Finding("workers", "note", f"{workers} by default, by {by}", advice)
    else:
        yield Finding("workers", "ok", f"{workers} by default, by {by}")


def _switch_interval(_: Host) -> Iterator[Finding]:
    interval_s = sys.getswitchinterval()
    text = f"{interval_s * 1e3:g} ms"
    if interval_s > 2 * _SWITCH_S:
        advice = "a pure-Python thread keeps the others out for so long; sys.setswitchinterval(0.005)"
        yield Finding("switch interval", "note", text, advice)
    else:
        yield Finding("switch interval", "ok", text)


def _blas(host: Host) -> Iterator[Finding]:
    limited = next(
        (key for key in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS") if host.environ.get(key)), None
    )
    if not host.has_module("threadpoolctl"):
        text = "threads unknown" if limited is None else f"{limited}={host.environ[limited]}"
        yield Finding("blas", "note", text, _OPTIONAL["threadpoolctl"][1] + " to see how many there are")
        return
    threadpoolctl = importlib.import_module("threadpoolctl")
    if host.has_module("numpy"):
        importlib.import_module("numpy")  # its BLAS is only seen once it is loaded
    pools = [f"{pool['internal_api']} {pool['num_threads']}" for pool in threadpoolctl.threadpool_info()]
    most = max((int(pool["num_threads"]) for pool in threadpoolctl.threadpool_info()), default=1)
    text = ", ".join(pools) or "no BLAS loaded"
    if most > 1 and host.available_cpus() > 1:
        advice = (
            "workers times BLAS threads share the CPUs: export OMP_NUM_THREADS=1, or measure what is best"
        )
        yield Finding("blas", "note", f"threads: {text}", advice)
    else:
        yield Finding("blas", "ok", f"threads: {text}")


def _kernel(host: Host) -> Iterator[Finding]:
    futex, barrier = host.kernel_call("futex"), host.kernel_call("membarrier")
    if futex is False:
        advice = "workers cannot sleep: allow the call `futex` in the container's seccomp profile"
        yield Finding("futex", "problem", "refused by the kernel", advice)
    else:
        yield Finding("futex", "ok", "there" if futex else "not asked: an architecture without wheels")
    if barrier is False:
        advice = "works, each submit costs some 5 ns more; allow the call `membarrier` in the seccomp profile"
        yield Finding("membarrier", "note", "refused by the kernel", advice)
    else:
        yield Finding("membarrier", "ok", "there" if barrier else "not asked: an architecture without wheels")
    if host.has_eventfd():
        yield Finding("eventfd", "ok", "there")
    else:
        advice = "awaiting a run needs it: allow `eventfd2`, or raise `ulimit -n`"
        yield Finding("eventfd", "problem", "cannot be made", advice)


def _threads(host: Host) -> Iterator[Finding]:
    limits = host.max_threads()
    if not limits:
        yield Finding("threads", "ok", "no limit below the machine's")
        return
    name, least = min(limits.items(), key=lambda entry: entry[1])
    text = ", ".join(f"{key} {value}" for key, value in limits.items())
    if least < _ENOUGH_THREADS:
        advice = f"raise {name} to {_ENOUGH_THREADS} or more: workers and blocking steps are threads"
        yield Finding("threads", "problem", text, advice)
    elif least < 1024:
        advice = f"below max_blocking=512 plus the rest of your service; raise {name}, or lower max_blocking="
        yield Finding("threads", "note", text, advice)
    else:
        yield Finding("threads", "ok", text)


def _clock(host: Host) -> Iterator[Finding]:
    source = host.clock_source()
    if source in _SLOW_CLOCKS:
        advice = (
            "reading it costs microseconds, twice a step; boot with clocksource=tsc if the machine has it"
        )
        yield Finding("clock", "note", source, advice)
    else:
        yield Finding("clock", "ok", source or "unnamed")


def _kernels(host: Host) -> Iterator[Finding]:
    if not host.has_module("numpy"):
        return
    try:
        status = importlib.import_module("tailrace.kernels").status()
    except (ImportError, ValueError) as error:
        advice = "unset TAILRACE_ISA, or take a level that this machine has"
        yield Finding("kernels", "problem", str(error), advice)
        return
    text = f"cpu by {status.isa}, cuda {'on' if status.cuda is None else 'off'}"
    if status.isa != status.best_isa:
        advice = f"TAILRACE_ISA says less than the machine has, {status.best_isa}: unset it for speed"
        yield Finding("kernels", "note", text, advice)
    else:
        yield Finding("kernels", "ok", text)


def _extras(host: Host) -> Iterator[Finding]:
    there = [name for name in _OPTIONAL if host.has_module(name)]
    missing = [name for name in _OPTIONAL if name not in there]
    yield Finding("extras", "ok", ", ".join(there) or "none installed")
    for name in missing:
        what, how = _OPTIONAL[name]
        yield Finding("extras", "note", f"no {name}: needed for {what}", how)


def _environment(host: Host) -> Iterator[Finding]:
    for key, value in host.tailrace_variables().items():
        if key in _KNOWN_VARIABLES:
            yield Finding("environment", "ok", f"{key}={value}")
        else:
            known = ", ".join(sorted(_KNOWN_VARIABLES))
            yield Finding(
                "environment", "note", f"{key}={value} is not read by tailrace", f"it reads {known}"
            )


_LOOKS: tuple[Callable[[Host], Iterator[Finding]], ...] = (
    _interpreter,
    _extension,
    _cpus,
    _workers,
    _switch_interval,
    _blas,
    _kernel,
    _threads,
    _clock,
    _kernels,
    _extras,
    _environment,
)
