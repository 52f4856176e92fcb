"""The examples in the docstrings of all public modules run."""

from __future__ import annotations

import doctest
import importlib
import pkgutil

import pytest
import tailrace

NAMES = ["tailrace", *(f"tailrace.{m.name}" for m in pkgutil.iter_modules(tailrace.__path__))]
MODULES = [name for name in NAMES if not name.endswith((".cli", "._core", ".demos", ".integrations"))]


@pytest.mark.parametrize("name", MODULES)
def test_examples_run(name):
    result = doctest.testmod(importlib.import_module(name), optionflags=doctest.ELLIPSIS)
    assert result.failed == 0
