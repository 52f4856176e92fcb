"""`import tailrace` is cheap and its names are complete."""

from __future__ import annotations

import types

import pytest
import tailrace as tr


def test_importing_the_package_imports_neither_numpy_nor_asyncio(run_script):
    done = run_script(
        "import sys, tailrace\n"
        "heavy = {'numpy', 'asyncio', 'concurrent.futures', 'tailrace._core'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    assert done.returncode == 0, done.stderr


def test_making_and_running_a_workflow_imports_neither_numpy_nor_asyncio(run_script):
    done = run_script(
        "import sys, tailrace as tr\n"
        "double = tr.step(lambda x: 2 * x)\n"
        "assert tr.workflow(lambda x: double(x))(21) == 42\n"
        "heavy = {'numpy', 'asyncio'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("name", tr.__all__)
def test_every_public_name_is_there(name):
    assert getattr(tr, name) is not None


def test_dir_lists_the_public_names():
    assert set(dir(tr)) == set(tr.__all__)


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'retri'"):
        tr.retri  # noqa: B018


@pytest.mark.parametrize(
    "first", ["tailrace.step", "tailrace.workflow", "tailrace.runtime", "tailrace.testing"]
)
def test_functions_are_not_hidden_by_the_modules_that_hold_them(run_script, first):
    done = run_script(
        f"import {first}, types, tailrace as tr\n"
        "assert isinstance(tr.step, types.FunctionType), tr.step\n"
        "assert isinstance(tr.workflow, types.FunctionType), tr.workflow\n"
    )
    assert done.returncode == 0, done.stderr
    assert isinstance(tr.step, types.FunctionType)


def test_nothing_starts_at_import(run_script):
    done = run_script(
        "import threading, tailrace as tr\n"
        "tr.step, tr.workflow, tr.Runtime, tr.Executor, tr.VirtualClock\n"
        "tr.Runtime(workers=2)\n"
        "assert threading.active_count() == 1, threading.enumerate()\n"
    )
    assert done.returncode == 0, done.stderr
