"""Shared by the house tests: where the repository is and which files belong to it."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

NOT_OURS = {".git", "build", "dist", "__pycache__"}


def walk(root: Path) -> list[Path]:
    """Every file under `root` but build outputs and caches; what is used where git is absent."""
    found = []
    for folder, names, files in os.walk(root):
        names[:] = [n for n in names if n not in NOT_OURS and not n.endswith(("_cache", "venv", ".egg-info"))]
        found += [Path(folder) / f for f in files if not f.endswith((".pyc", ".so"))]
    return sorted(found)


@pytest.fixture(scope="session")
def repo() -> Path:
    return Path(__file__).resolve().parents[2]


@pytest.fixture(scope="session")
def files(repo: Path) -> list[Path]:
    """Files of the tree: what git tracks, or would track after `git add`."""
    listed = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    try:
        out = subprocess.run(listed, cwd=repo, capture_output=True, check=True, text=True).stdout
    except (OSError, subprocess.CalledProcessError):
        return walk(repo)
    return sorted(p for name in out.split("\0") if name and (p := repo / name).is_file())


@pytest.fixture
def make_tree(tmp_path: Path) -> Callable[[dict[str, str]], Path]:
    """Write a small made-up tree, on which a rule must find what it is there to find."""

    def build(contents: dict[str, str]) -> Path:
        for name, text in contents.items():
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
        return tmp_path

    return build
