"""BLAS beside workers: limited while runtimes are open, if threadpoolctl is there; never a condition."""

from __future__ import annotations

import importlib.util

import pytest

# A stand-in for threadpoolctl that says what it was asked, and a NumPy that is only a name.
FAKE = """
import os, sys, types
import tailrace as tr
from tailrace import _blas, _cpus
asked = []
class threadpool_limits:
    def __init__(self, limits, user_api):
        asked.append((limits, user_api))
    def restore_original_limits(self):
        asked.append("back")
fake = types.ModuleType("threadpoolctl")
fake.threadpool_limits = threadpool_limits
fake.__spec__ = types.SimpleNamespace(name="threadpoolctl")
_cpus.available_cpus = lambda: 4
def with_threadpoolctl(): sys.modules["threadpoolctl"] = fake
def without_threadpoolctl(): sys.modules["threadpoolctl"] = None
def import_numpy(): sys.modules["numpy"] = types.ModuleType("numpy")
"""


def check(run_script, text, **variables):
    setting = "".join(f"os.environ[{name!r}] = {value!r}\n" for name, value in variables.items())
    done = run_script(FAKE + setting + text)
    assert (done.returncode, done.stderr) == (0, ""), done.stderr


def test_while_a_runtime_is_open_blas_has_the_cpus_divided_by_the_workers(run_script):
    check(
        run_script,
        "with_threadpoolctl(); import_numpy()\n"
        "one = tr.Runtime(workers=2); assert asked == [(2, 'blas')], asked\n"
        "two = tr.Runtime(workers=4); assert asked == [(2, 'blas'), 'back', (1, 'blas')], asked\n"
        "one.close(); assert asked[-1] == (1, 'blas')\n"
        "two.close(); assert asked[-1] == 'back', asked\n"
        "two.close(); assert asked.count('back') == 2, asked\n",
    )


def test_numpy_may_be_imported_after_the_runtime_was_made_and_before_the_first_plan(run_script):
    check(
        run_script,
        "with_threadpoolctl(); rt = tr.Runtime(workers=4); assert asked == []\n"
        "import_numpy(); same = tr.step(lambda x: x); tr.workflow(lambda x: same(x)).compile()\n"
        "assert asked == [(1, 'blas')], asked\n"
        "tr.workflow(lambda x: same(x)).compile(); assert asked == [(1, 'blas')], asked\n",
    )


@pytest.mark.parametrize(
    "text",
    [
        "with_threadpoolctl(); tr.Runtime(workers=4)\n",
        "without_threadpoolctl(); import_numpy(); tr.Runtime(workers=4)\n",
        "with_threadpoolctl(); import_numpy(); tr.Runtime(workers=1)\n",
        "with_threadpoolctl(); import_numpy(); tr.Runtime(clock=tr.VirtualClock())\n",
    ],
    ids=["no NumPy", "no threadpoolctl", "one worker", "a virtual runtime"],
)
def test_blas_is_left_alone_with(run_script, text):
    check(run_script, text + "assert asked == [], asked\n")


def test_the_environment_says_how_many_threads_or_off(run_script):
    text = "with_threadpoolctl(); import_numpy(); tr.Runtime(workers=2)\n"
    check(run_script, text + "assert asked == [(3, 'blas')], asked\n", TAILRACE_BLAS_THREADS="3")
    check(run_script, text + "assert asked == [], asked\n", TAILRACE_BLAS_THREADS="off")


@pytest.mark.parametrize("wrong", ["0", "many", "-1"])
def test_a_wrong_setting_is_refused_with_what_is_allowed(run_script, wrong):
    check(
        run_script,
        "with_threadpoolctl(); import_numpy()\n"
        "try: tr.Runtime(workers=2)\n"
        "except ValueError as error: assert 'from 1 up' in str(error) and '\"off\"' in str(error), error\n"
        "else: raise SystemExit('taken')\n",
        TAILRACE_BLAS_THREADS=wrong,
    )


@pytest.mark.skipif(importlib.util.find_spec("threadpoolctl") is None, reason="needs threadpoolctl")
def test_a_real_blas_has_one_thread_inside_a_step_and_its_own_number_afterwards(run_script):
    done = run_script(
        "import numpy, threadpoolctl, tailrace as tr\n"
        "from tailrace import _cpus\n"
        "_cpus.available_cpus = lambda: 2\n"
        "info = threadpoolctl.threadpool_info\n"
        "threads = lambda: {one['num_threads'] for one in info() if one['user_api'] == 'blas'}\n"
        "before = threads()\n"
        "look = tr.step(threads); wf = tr.workflow(lambda: look())\n"
        "with tr.Runtime(workers=2) as rt: assert wf.options(runtime=rt).start().result() <= {1}\n"
        "assert threads() == before, (threads(), before)\n"
    )
    assert (done.returncode, done.stderr) == (0, ""), done.stderr
