"""Runs tests of CPython's own `test_concurrent_futures` with `tailrace.Executor` as the thread pool.

    python run_suite.py --list              the names of the tests of thread pools and futures
    python run_suite.py NAME [NAME ...]     runs them, in this process

Scripts that the suite starts get the same replacement, by a prelude. None of the suite's code is copied:
it is imported from the interpreter's own `test` package.
"""

from __future__ import annotations

import concurrent.futures
import importlib
import sys
import types
import unittest
from pathlib import Path

import tailrace as tr

PACKAGE = "test.test_concurrent_futures"
MODULES = ("test_thread_pool", "test_shutdown", "test_wait", "test_as_completed", "test_init", "test_future")
CLASSES = ("ThreadPool", "FutureTests")
# The suite starts its scripts isolated from PYTHONPATH.
PRELUDE = f"""
import sys
sys.path.insert(0, {str(Path(tr.__file__).parents[1])!r})
import concurrent.futures, tailrace
concurrent.futures.ThreadPoolExecutor = concurrent.futures.Executor = tailrace.Executor
del concurrent, tailrace, sys
"""


def replaced_futures() -> types.ModuleType:
    """Return a module like `concurrent.futures`, with the other thread pool."""
    module = types.ModuleType("concurrent.futures")
    module.__dict__.update(concurrent.futures.__dict__)
    module.ProcessPoolExecutor = concurrent.futures.ProcessPoolExecutor  # made lazily by the original
    module.ThreadPoolExecutor = tr.Executor
    return module


def load() -> dict[str, unittest.TestCase]:
    """Return the suite's tests by name, with the thread pool replaced."""
    importlib.import_module(f"{PACKAGE}.util").ThreadPoolMixin.executor_type = tr.Executor
    tests: dict[str, unittest.TestCase] = {}
    for name in MODULES:
        module = importlib.import_module(f"{PACKAGE}.{name}")
        module.futures = replaced_futures()
        if hasattr(module, "assert_python_ok"):
            module.assert_python_ok = with_prelude(module.assert_python_ok)
        for suite in unittest.defaultTestLoader.loadTestsFromModule(module):
            for test in suite:
                if type(test).__name__.startswith(CLASSES):
                    tests[f"{name}.{type(test).__name__}.{test._testMethodName}"] = test
    return tests


def with_prelude(assert_python_ok):
    """Return the suite's starter of scripts, which now replaces the thread pool in the script first."""

    def start(option, text, **variables):
        return assert_python_ok(option, f"exec({PRELUDE!r})\n{text}", **variables)

    return start


def main(arguments: list[str]) -> int:
    tests = load()
    if arguments == ["--list"]:
        print("\n".join(tests))
        return 0
    result = unittest.TextTestRunner(verbosity=2).run(unittest.TestSuite(tests[name] for name in arguments))
    return 0 if result.wasSuccessful() else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
