"""mypy sees the signatures that users wrote: `face.py` says what it must reveal and refuse."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

FACE = Path(__file__).parent / "face.py"


@pytest.mark.skipif(find_spec("mypy") is None, reason="mypy is not installed (extra `dev`)")
def test_mypy_reveals_what_the_comments_say(tmp_path):
    command = [
        sys.executable,
        "-m",
        "mypy",
        "--strict",
        "--no-error-summary",
        "--cache-dir",
        str(tmp_path),
        str(FACE),
    ]
    # An editable install is found through an import hook, which mypy does not follow.
    environment = {**os.environ, "MYPYPATH": str(FACE.parents[2] / "python")}
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path, env=environment)
    told: dict[int, str] = {}
    for line in done.stdout.splitlines():
        found = re.match(r".*face\.py:(\d+): (note: Revealed type is \"(.*)\"|error: .*\[(.*)\])", line)
        if found:
            number, _, revealed, refused = found.groups()
            told[int(number)] = revealed or f"error: {refused}"
    expected = {
        number: line.rpartition("  # ")[2]
        for number, line in enumerate(FACE.read_text().splitlines(), 1)
        if "reveal_type(" in line or "# error: " in line
    }
    simple = {number: _simple(text) for number, text in told.items()}
    assert simple == expected, done.stdout + done.stderr


def _simple(revealed: str) -> str:
    return re.sub(r"builtins\.|\*|def ", "", revealed).replace("Union[", "")
