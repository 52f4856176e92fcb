"""The examples in the docstrings of all public modules run."""

from __future__ import annotations

import doctest
import importlib
import pkgutil

import pytest
import tailrace
import tailrace.kernels

NAMES = ["tailrace", *(f"tailrace.{m.name}" for m in pkgutil.iter_modules(tailrace.__path__))]
KERNELS = [
    m.name
    for m in pkgutil.walk_packages(tailrace.kernels.__path__, "tailrace.kernels.")
    if "._cpu" not in m.name
]
MODULES = [name for name in NAMES if not name.endswith((".cli", "._core", ".demos", ".integrations"))]


@pytest.mark.parametrize("name", [*MODULES, *KERNELS])
def test_examples_run(name):
    result = doctest.testmod(importlib.import_module(name), optionflags=doctest.ELLIPSIS)
    assert result.failed == 0
