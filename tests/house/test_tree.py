"""The tree is clean: no path of one machine, no registry host, no pickle, no heavy data."""

from __future__ import annotations

import ast
import re
from collections.abc import Callable
from pathlib import Path

# Put together from pieces, so that this file does not find itself.
ROOTS = "|".join(["wo" + "rk", "fa" + "rm", "ro" + "ot", "ho" + "me", "Us" + "ers", "t" + "mp"])
MACHINE_PATH = re.compile(rf"(?<![\w.}}\])*])/(?:{ROOTS})/[\w.]")
HOSTS = [
    "py" + "pi.org",
    "python" + "hosted.org",
    "ana" + "conda.org",
    "np" + "mjs.",
    "crates" + ".io",
    "docker" + ".io",
]
REGISTRY = re.compile("|".join(re.escape(h) for h in HOSTS) + "|--(?:extra-)?index" + "-url")
PICKLES = {"pickle", "_pickle", "cPickle", "cloudpickle", "dill", "shelve", "joblib"}
TEXT = {
    ".py",
    ".pyi",
    ".toml",
    ".md",
    ".hpp",
    ".cpp",
    ".cu",
    ".cmake",
    ".in",
    ".json",
    ".yaml",
    ".yml",
    ".txt",
    "",
}
DATA_LIMIT_BYTES = 3_000_000


def named_places(root: Path, files: list[Path]) -> list[str]:
    """Every line that names a path of one machine or the host of a package registry."""
    found = []
    for path in (p for p in files if p.suffix in TEXT and p.name != "LICENSE"):
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
            if MACHINE_PATH.search(line) or REGISTRY.search(line):
                found.append(f"{path.relative_to(root)}:{number}: {line.strip()[:80]}")
    return found


def pickles(root: Path, files: list[Path]) -> list[str]:
    """Every import of pickle or of a package that is a face of it, and every `allow_pickle=True`."""
    found = []
    for path in (p for p in files if p.suffix == ".py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"), str(path))):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) and not node.level else []
            allowed = (
                isinstance(node, ast.keyword)
                and node.arg == "allow_pickle"
                and ast.unparse(node.value) != "False"
            )
            if allowed or any(name.split(".")[0] in PICKLES for name in names):
                found.append(f"{path.relative_to(root)}:{getattr(node, 'lineno', 0)}")
    return found


def inside(root: Path, files: list[Path], *folders: str) -> list[Path]:
    return [p for p in files if p.relative_to(root).parts[0] in folders]


def data_bytes(files: list[Path]) -> int:
    return sum(p.stat().st_size for p in files if p.suffix not in {".py", ".pyi"})


def test_no_file_names_a_path_of_one_machine_or_a_registry_host(repo: Path, files: list[Path]) -> None:
    found = named_places(repo, files)
    assert not found, "\n".join(found)


def test_nothing_in_the_package_kernels_or_benches_uses_pickle(repo: Path, files: list[Path]) -> None:
    found = pickles(repo, inside(repo, files, "python", "kernels", "bench"))
    assert not found, "\n".join(found)


def test_the_data_inside_the_package_stays_below_three_megabytes(repo: Path, files: list[Path]) -> None:
    assert data_bytes(inside(repo, files, "python")) < DATA_LIMIT_BYTES


def test_no_build_output_or_cache_is_tracked(repo: Path, files: list[Path]) -> None:
    outputs = re.compile(r"(^|/)(build|dist|__pycache__|\.\w+_cache|CMakeFiles)/|\.(so|o|a|pyc|whl)$")
    assert [str(p.relative_to(repo)) for p in files if outputs.search(p.relative_to(repo).as_posix())] == []


def test_machine_paths_registry_hosts_and_pickles_are_found(
    make_tree: Callable[[dict[str, str]], Path],
) -> None:
    root = make_tree(
        {
            "a.py": 'open("/ho'
            + 'me/me/x")\nimport pickle\nfrom dill import x\nnp.load(f, allow_pickle=True)\n',
            "b.md": "see https://py" + "pi.org/project/x\nhttps://x.org/wo" + "rk/x\n`/t" + "mp/x`\n",
            "c.py": "import pickletools, json\nfrom .pickle import x\nnp.load(f, allow_pickle=False)\n",
        }
    )
    files = sorted(root.iterdir())
    assert [v.split(": ")[0] for v in named_places(root, files)] == ["a.py:1", "b.md:1", "b.md:3"]
    assert pickles(root, files) == ["a.py:2", "a.py:3", "a.py:4"]


def test_data_is_counted_and_code_is_not(make_tree: Callable[[dict[str, str]], Path]) -> None:
    root = make_tree({"python/a.npz": "x" * 10, "python/b.py": "y" * 100, "bench/c.npz": "z" * 1000})
    files = [p for p in sorted(root.rglob("*")) if p.is_file()]
    assert data_bytes(inside(root, files, "python")) == 10
