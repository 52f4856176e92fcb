"""What the kernels found on this machine: `tailrace.kernels.status()`."""

from __future__ import annotations

import os
from dataclasses import dataclass

from tailrace.kernels import _cpu, costs, device

__all__ = ["Status", "status"]


@dataclass(frozen=True)
class Status:
    """The backends of this machine.

    Attributes:
        isa: The instruction set that CPU kernels use: "baseline", "avx2", "avx512" or "vnni".
        best_isa: The best that the machine has.
        cuda: None if CUDA can be used, else why not and what to do.
        backend: TAILRACE_BACKEND, or "auto".
        native_functions: C functions of bound ops that are live, of 256.
        calibrated: Ops for which `calibrate` has measured the device.
    """

    isa: str
    best_isa: str
    cuda: str | None
    backend: str
    native_functions: int
    calibrated: tuple[str, ...]

    def __str__(self) -> str:
        forced = "" if self.isa == self.best_isa else f" (this machine has {self.best_isa})"
        lines = [f"cpu    on, instruction set {self.isa}{forced}"]
        lines.append("cuda   on" if self.cuda is None else f"cuda   off: {self.cuda}")
        lines.append("numpy  on: the references, in float64")
        measured = ", ".join(self.calibrated) or "no op: arrays of the host stay on the CPU"
        lines.append(f"auto   arrays on a device: cuda; on the host: cpu, measured for {measured}")
        if self.backend != "auto":
            lines.append(f"TAILRACE_BACKEND={self.backend} overrides auto")
        return "\n".join(lines)


def status() -> Status:
    """Return which backends can be used here, and why others cannot.

    >>> from tailrace import kernels
    >>> print(kernels.status().isa in ("baseline", "avx2", "avx512", "vnni"))
    True
    """
    found = device.problem()
    return Status(
        isa=_cpu.chosen_isa(),
        best_isa=_cpu.best_isa(),
        cuda=None if found is None else str(found),
        backend=os.environ.get("TAILRACE_BACKEND") or "auto",
        native_functions=_cpu.live_slots(),
        calibrated=tuple(costs.known()),
    )
