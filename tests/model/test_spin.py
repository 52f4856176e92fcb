"""The Promela models hold, and each of their mutants is caught; skipped where Spin is not installed."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

MODELS = Path(__file__).parent / "spin"
COMPILER = next((c for c in ("cc", "gcc", "clang") if shutil.which(c)), None)
PROVED = [
    ("event_count", ()),
    ("event_count", ("ASYMMETRIC",)),
    ("lane_claim", ()),
]
MUTANTS = [
    ("event_count", ("NO_SECOND_LOOK",)),
    ("event_count", ("LOOKS_FIRST",)),
    ("event_count", ("NOTIFIES_FIRST",)),
    ("event_count", ("NO_LAST_LOOK",)),
    ("event_count", ("NOT_SEARCHING",)),
    ("event_count", ("NOT_WAITING",)),
    ("event_count", ("ASYMMETRIC", "NO_MEMBARRIER")),
    ("lane_claim", ("CLAIM_BEFORE_COPY",)),
    ("lane_claim", ("BLIND_CLAIM",)),
    ("lane_claim", ("NO_FULL_CHECK",)),
]


def run(folder: Path, *command: str) -> str:
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, f"{' '.join(command)}\n{done.stdout}{done.stderr}"
    return done.stdout


def errors(model: str, defines: tuple[str, ...], folder: Path) -> int:
    """How many errors an exhaustive search finds: 0, or 1 as it stops at the first."""
    if shutil.which("spin") is None:
        pytest.skip("Spin is not installed (the system's package of that name): the models are not run")
    if COMPILER is None:
        pytest.skip("no C compiler on this machine: Spin's verifier cannot be built")
    run(folder, "spin", *(f"-D{name}" for name in defines), "-a", str(MODELS / f"{model}.pml"))
    run(folder, COMPILER, "-O1", "-w", "-DSAFETY", "-o", "pan", "pan.c")
    said = run(folder, str(folder / "pan"), "-m200000")
    assert "max search depth too small" not in said, said
    found = re.search(r"errors: (\d+)", said)
    assert found is not None, said
    return int(found.group(1))


@pytest.mark.parametrize(("model", "defines"), PROVED)
def test_the_protocol_holds_in_every_order(model: str, defines: tuple[str, ...], tmp_path: Path) -> None:
    assert errors(model, defines, tmp_path) == 0


@pytest.mark.parametrize(("model", "defines"), MUTANTS)
def test_a_changed_protocol_is_caught(model: str, defines: tuple[str, ...], tmp_path: Path) -> None:
    assert errors(model, defines, tmp_path) == 1


@pytest.mark.parametrize("path", sorted(MODELS.glob("*.pml")), ids=lambda path: path.stem)
def test_every_mutant_that_a_model_names_is_run_and_every_tag_is_a_row(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    named = set(re.findall(r"^#(?:if|ifdef|ifndef|elif)\b.*", text, re.MULTILINE))
    words = {word for line in named for word in re.findall(r"\b[A-Z][A-Z_]+\b", line)} - {"ITEMS"}
    run_here = {name for model, defines in PROVED + MUTANTS if model == path.stem for name in defines}
    assert words == run_here
    rows = (MODELS.parents[2] / "docs" / "memory_orders.md").read_text(encoding="utf-8")
    tags = set(re.findall(r"\[[A-Z]\d\]", text))
    assert tags
    assert not [tag for tag in tags if f"| {tag} |" not in rows]
