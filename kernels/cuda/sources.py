"""The CUDA C++ source of an op as one text: its `cuda.cu` with the headers of this folder put in.

NVRTC then needs no include path, and CuPy's cache of cubins, whose key is the text that it is handed, sees a
changed header.
"""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

KERNELS = Path(__file__).resolve().parent.parent
HEADERS = KERNELS / "cuda"

# What NVRTC is told, on a device and in the offline compile; CuPy adds `-ftz=true` and the architecture.
OPTIONS = ("-std=c++17", "--fmad=true")

_INCLUDE = re.compile(r'^\s*#include "([\w./]+\.cuh)"\s*$')


def ops() -> list[str]:
    """The names of the ops that have a `cuda.cu`, sorted.

    >>> "cuda" in ops()
    False
    """
    return sorted(path.parent.name for path in KERNELS.glob("ops/*/cuda.cu"))


def expand(path: Path) -> str:
    """The text of `path` with each quoted header put in once, where it is first included.

    Args:
        path: a `.cu` file; a header is looked for beside it, then in `kernels/cuda`.

    Raises:
        FileNotFoundError: a header is in neither folder.
    """
    seen: set[Path] = set()

    def lines(file: Path) -> list[str]:
        text = [f'#line 1 "{file.relative_to(KERNELS).as_posix() if KERNELS in file.parents else file.name}"']
        for number, line in enumerate(file.read_text(encoding="utf-8").splitlines(), 1):
            include = _INCLUDE.match(line)
            if include is None:
                text.append(line)
                continue
            header = _header(include[1], file)
            if header not in seen:
                seen.add(header)
                text += lines(header)
            name = file.relative_to(KERNELS).as_posix() if KERNELS in file.parents else file.name
            text.append(f'#line {number + 1} "{name}"')
        return text

    return "\n".join(lines(path)) + "\n"


def _header(name: str, file: Path) -> Path:
    for folder in (file.parent, HEADERS):
        if (folder / name).is_file():
            return folder / name
    raise FileNotFoundError(f'{file.name}: #include "{name}" is neither beside it nor in kernels/cuda')


@cache
def source(op: str) -> str:
    """The whole text of the op's kernels, as NVRTC and the tests' shim compile it."""
    return expand(KERNELS / "ops" / op / "cuda.cu")
