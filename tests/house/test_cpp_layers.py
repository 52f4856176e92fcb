"""C++ layers: a file may include its own layer and those to its left, and only bindings know Python."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

LAYERS = ["base", "metrics", "pool", "queue", "sched", "device", "serve", "flow", "bindings"]
SOURCES = {".hpp", ".cpp", ".h", ".in"}
INCLUDE = re.compile(r'^\s*#\s*include\s*([<"])([^">]+)[">]', re.MULTILINE)
UMBRELLA = "tailrace.hpp"  # for programs: inside the library it would hide the layers
OF_PYTHON = re.compile(r"^(Python|structmember|frameobject|datetime)\.h$|^(pybind11|cpython|internal|numpy)/")


def layer_of(path: Path, cpp: Path) -> str | None:
    """The layer of a file; None for the umbrella header and examples: they may use all below bindings."""
    parts = path.relative_to(cpp).parts
    if parts[0] == "bindings":
        return "bindings"
    if parts[0] == "examples":
        return None
    inner = parts[2:] if parts[:2] == ("include", "tailrace") else parts[1:]
    if len(inner) > 1:
        return inner[0]
    return "base" if inner[0].startswith("version.hpp") else None


def violations(cpp: Path) -> list[str]:
    """Every include that breaks the rule, as `file: what is wrong`."""
    found = []
    for path in sorted(p for p in cpp.rglob("*") if p.is_file() and SOURCES & set(p.suffixes)):
        layer, name = layer_of(path, cpp), path.relative_to(cpp)
        if layer is not None and layer not in LAYERS:
            found.append(f"{name}: folder {layer!r} is no layer; layers are {LAYERS}")
            continue
        allowed = LAYERS[: LAYERS.index(layer) + 1] if layer else LAYERS[:-1]
        for quote, target in INCLUDE.findall(path.read_text(encoding="utf-8")):
            if OF_PYTHON.search(target) and layer != "bindings":
                found.append(f"{name}: {target}: only bindings may know Python")
            elif target.startswith("tailrace/"):
                used = target.split("/")[1]
                if used == UMBRELLA and layer is None:
                    continue
                if used not in (*allowed, "version.hpp"):
                    found.append(f"{name} (layer {layer}): {target}: may use only {allowed}")
            elif quote == '"' and not (layer == "bindings" and (cpp / "bindings" / target).is_file()):
                found.append(
                    f'{name}: "{target}": write the include from "tailrace/", so that its layer shows'
                )
    return found


def test_cpp_files_include_only_their_own_layer_and_those_to_its_left(repo: Path) -> None:
    found = violations(repo / "cpp")
    assert not found, "\n".join(found)


def test_an_include_of_a_layer_to_the_right_is_found(make_tree: Callable[[dict[str, str]], Path]) -> None:
    cpp = make_tree(
        {
            "include/tailrace/queue/lane.hpp": '#include "tailrace/sched/worker.hpp"\n',
            "src/base/clock.cpp": '#include "tailrace/base/clock.hpp"\n#include <vector>\n',
            "include/tailrace/flow/plan.hpp": "  # include <tailrace/bindings/gil.hpp>\n",
        }
    )
    assert [v.split(":")[0] for v in violations(cpp)] == [
        "include/tailrace/flow/plan.hpp (layer flow)",
        "include/tailrace/queue/lane.hpp (layer queue)",
    ]


def test_python_below_bindings_is_found_and_in_bindings_is_not(
    make_tree: Callable[[dict[str, str]], Path],
) -> None:
    cpp = make_tree(
        {
            "src/sched/worker.cpp": "#include <Python.h>\n",
            "include/tailrace/flow/run.hpp": "#include <pybind11/pybind11.h>\n",
            "bindings/a.cpp": '#include <Python.h>\n#include "b.hpp"\n#include "tailrace/flow/a.hpp"\n',
            "bindings/b.hpp": "#include <pybind11/pybind11.h>\n",
        }
    )
    assert [v.split(":")[0] for v in violations(cpp)] == [
        "include/tailrace/flow/run.hpp",
        "src/sched/worker.cpp",
    ]


def test_an_unknown_layer_and_an_include_without_its_layer_are_found(
    make_tree: Callable[[dict[str, str]], Path],
) -> None:
    cpp = make_tree(
        {
            "include/tailrace/util/misc.hpp": "",
            "include/tailrace/base/random.hpp": '#include "clock.hpp"\n',
            "include/tailrace/all.hpp": '#include "tailrace/flow/p.hpp"\n#include "tailrace/version.hpp"\n',
            "include/tailrace/flow/plan.hpp": '#include "tailrace/tailrace.hpp"\n',
            "examples/first.cpp": '#include "tailrace/tailrace.hpp"\n',
        }
    )
    found = violations(cpp)
    assert len(found) == 3
    assert "tailrace/tailrace.hpp" in found[1]
    assert "'util' is no layer" in found[2]
    assert "clock.hpp" in found[0]
