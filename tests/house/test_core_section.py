"""What Python may call in the core is guarded: there the GIL is missing on a free-threaded build."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

# A method's row, an attribute's row, and the slots through which Python comes in by itself.
METHOD = re.compile(r'\{"(\w+)",\s*(.+?),\s*METH_', re.DOTALL)
ATTRIBUTE = re.compile(r'\{"(\w+)",\s*((?!T_|")[^\s,]+),\s*((?!METH_)[^\s,]+),\s*(?:"|nullptr)')
SLOT = re.compile(r"\{Py_(\w+),\s*reinterpret_cast<void\s*\*>\((.+?)\)\}")
# What the collector calls while it has stopped the world, or about objects that nobody else can reach.
ALONE = {"tp_traverse", "tp_clear"}


def unguarded(bindings: Path) -> list[str]:
    """Every entry from Python in `bindings` that does not go through guarded<...> or its like."""
    found = []
    for path in sorted(bindings.rglob("*.cpp")):
        text = path.read_text(encoding="utf-8")
        rows = METHOD.findall(text)
        for name, getter, setter in ATTRIBUTE.findall(text):
            rows += [(name, function) for function in (getter, setter) if function != "nullptr"]
        rows += [row for row in SLOT.findall(text) if row[0] not in ALONE]
        rows = [row for row in rows if not re.fullmatch(r"&?Py\w+", row[1])]  # CPython's own functions
        how_to = {"tp_dealloc": r"\bguarded_dealloc<"}
        guard = r"\b(guarded|with_keywords)<"
        bare = [name for name, how in rows if not re.search(how_to.get(name, guard), how)]
        found += [f"{path.name}: {name}" for name in bare]
    return found


def test_every_entry_from_python_is_guarded(repo: Path) -> None:
    found = unguarded(repo / "cpp" / "bindings")
    assert not found, "write guarded<fn> (cpp/bindings/core_section.hpp) for:\n" + "\n".join(found)


def test_an_entry_that_is_not_guarded_is_found(make_tree: Callable[[dict[str, str]], Path]) -> None:
    text = """
    PyMethodDef methods[] = {{"good", guarded<f>, METH_O, ""}, {"bad", f, METH_O, ""},
        {"cast", reinterpret_cast<PyCFunction>(f), METH_FASTCALL,
         ""}, {"long", with_keywords<f>(), METH_VARARGS, ""}};
    PyGetSetDef getset[] = {{"seen", guarded<f>, nullptr, "", nullptr}, {"set", guarded<f>, g, "", nullptr}};
    PyType_Slot slots[] = {{Py_tp_new, reinterpret_cast<void*>(PyType_GenericNew)},
        {Py_tp_traverse, reinterpret_cast<void*>(t)}, {Py_tp_call, reinterpret_cast<void*>(c)},
        {Py_tp_dealloc, reinterpret_cast<void*>(guarded<d>)}};
    """
    found = unguarded(make_tree({"bind_it.cpp": text}))
    assert found == [
        "bind_it.cpp: bad",
        "bind_it.cpp: cast",
        "bind_it.cpp: set",
        "bind_it.cpp: tp_call",
        "bind_it.cpp: tp_dealloc",
    ]
