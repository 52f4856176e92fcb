"""Python layers: the face knows no integration or demo, kernels no face; optional packages come on use."""

from __future__ import annotations

import ast
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

ABOVE = ("tailrace.integrations", "tailrace.demos")
MAY_LOAD_LAZILY = {"tailrace.cli"}
BASE = {"tailrace", "numpy"}
NOT_SHIPPED = {"tests", "bench", "conftest"}


def module_name(path: Path, root: Path, package: str) -> str:
    """Dotted name of `path`, whose `root` folder is the package `package`."""
    parts = path.relative_to(root).with_suffix("").parts
    return ".".join((package, *(p for p in parts if p != "__init__")))


def imports(tree: ast.Module, module: str, is_package: bool) -> Iterator[tuple[str, int, bool]]:
    """Yield (imported dotted name, line, runs at import) of every import; type-only ones are left out."""

    def resolve(node: ast.ImportFrom) -> str:
        if not node.level:
            return node.module or ""
        parts = module.split(".")
        parts = parts[: len(parts) - node.level + (1 if is_package else 0)]
        return ".".join(parts + ([node.module] if node.module else []))

    def visit(node: ast.AST, at_import: bool) -> Iterator[tuple[str, int, bool]]:
        if isinstance(node, ast.Import):
            yield from ((alias.name, node.lineno, at_import) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = resolve(node)
            yield from ((f"{base}.{alias.name}", node.lineno, at_import) for alias in node.names)
        elif isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            for statement in node.orelse:
                yield from visit(statement, at_import)
        else:
            inside = isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
            for child in ast.iter_child_nodes(node):
                yield from visit(child, at_import and not inside)

    yield from visit(tree, True)


def under(name: str, packages: tuple[str, ...]) -> bool:
    return any(name == p or name.startswith(p + ".") for p in packages)


def broken_rule(module: str, name: str, at_import: bool) -> str | None:
    """What is wrong with `module` importing `name`, or None."""
    top = name.split(".", maxsplit=1)[0]
    in_kernels, optional_allowed = under(module, ("tailrace.kernels",)), under(module, ABOVE)
    if top in NOT_SHIPPED:
        return "nothing that ships uses tests or bench"
    if in_kernels and top == "tailrace" and not under(name, ("tailrace.kernels",)):
        return "kernels receive buffers and know nothing of tailrace"
    if under(name, ABOVE) and not optional_allowed and (at_import or module not in MAY_LOAD_LAZILY):
        return "only integrations, demos and (inside a function) the cli use integrations or demos"
    if at_import and not optional_allowed and top not in BASE and top not in sys.stdlib_module_names:
        return "an optional package is imported inside the function that needs it"
    return None


def violations(root: Path, package: str) -> list[str]:
    """Every import below `root` that breaks the rule, as `module:line imports name: why not`."""
    found = []
    for path in sorted(root.rglob("*.py")):
        module = module_name(path, root, package)
        tree = ast.parse(path.read_text(encoding="utf-8"), str(path))
        for name, line, at_import in imports(tree, module, path.name == "__init__.py"):
            why = broken_rule(module, name, at_import)
            if why:
                found.append(f"{module}:{line} imports {name}: {why}")
    return found


def test_python_modules_import_only_what_stands_below_them(repo: Path) -> None:
    found = violations(repo / "python" / "tailrace", "tailrace")
    assert not found, "\n".join(found)


def test_kernels_import_nothing_of_tailrace(repo: Path) -> None:
    found = violations(repo / "kernels", "tailrace.kernels")
    assert not found, "\n".join(found)


def test_an_import_of_demos_or_integrations_from_the_face_is_found(
    make_tree: Callable[[dict[str, str]], Path],
) -> None:
    root = make_tree(
        {
            "run.py": "def f():\n    from .integrations import ray\n",
            "step.py": "from . import demos\n",
            "cli.py": "import tailrace.demos\ndef main():\n    from tailrace import demos\n",
            "demos/recommend.py": "import rich\nfrom ..demos import engines\n",
        }
    )
    assert [v.split(":")[0] + v.split(" imports")[0].split(":")[1] for v in violations(root, "tailrace")] == [
        "tailrace.cli1",
        "tailrace.run2",
        "tailrace.step1",
    ]


def test_an_optional_package_at_module_level_is_found(make_tree: Callable[[dict[str, str]], Path]) -> None:
    root = make_tree(
        {
            "aio.py": "try:\n    import uvloop\nexcept ImportError:\n    pass\n",
            "cli.py": "import numpy\nimport json\ndef f():\n    import rich\n",
            "run.py": "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import cupy\n",
            "integrations/ray.py": "import ray\n",
        }
    )
    assert violations(root, "tailrace") == [
        "tailrace.aio:2 imports uvloop: an optional package is imported inside the function that needs it"
    ]


def test_kernels_that_import_the_face_and_code_that_imports_tests_are_found(
    make_tree: Callable[[dict[str, str]], Path],
) -> None:
    root = make_tree(
        {
            "mlp/__init__.py": "from tailrace.kernels import registry\nfrom ... import runtime\n",
            "topk.py": "def f():\n    import bench.native\n    import tailrace\n",
        }
    )
    found = violations(root, "tailrace.kernels")
    assert [v.split(":")[1].split()[0] for v in found] == ["2", "2", "3"]
