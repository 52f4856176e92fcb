"""What the kernels raise beside ValueError, TypeError and IndexError."""

from __future__ import annotations

__all__ = ["BackendUnavailable"]


class BackendUnavailable(RuntimeError):
    """A backend was asked for by name and cannot be had here; nothing else is used in its place.

    Attributes:
        backend: "cuda", "cpu" or "numpy".
        reason: Why not: "no driver", "no toolkit", "driver too old", "no device", "device too old",
            "two toolkits" or "no kernel".
        remedy: What to do about it.

    >>> from tailrace.kernels import BackendUnavailable
    >>> str(BackendUnavailable("cuda", "no driver", 'pip install "tailrace[cuda13]" on a host with a GPU'))
    'cuda: no driver; pip install "tailrace[cuda13]" on a host with a GPU, or take backend="cpu"'
    """

    def __init__(self, backend: str, reason: str, remedy: str) -> None:
        super().__init__(backend, reason, remedy)
        self.backend = backend
        self.reason = reason
        self.remedy = remedy

    def __str__(self) -> str:
        return f'{self.backend}: {self.reason}; {self.remedy}, or take backend="cpu"'
