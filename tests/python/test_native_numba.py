"""`tr.native_step` with functions that Numba has compiled, and with cffi's pointers."""

from __future__ import annotations

import sys
import threading
from pathlib import Path

import numpy as np
import pytest
import tailrace as tr

POINT = np.dtype([("x", np.float64), ("y", np.float64), ("code", np.int64)], align=True)


@pytest.fixture(scope="module")
def numba():
    return pytest.importorskip("numba")


@pytest.fixture(scope="module")
def add_one(numba):
    point = numba.from_dtype(POINT)

    @numba.cfunc(numba.types.int64(numba.types.CPointer(point)))
    def add_one(payload):
        record = numba.carray(payload, 1)[0]
        record.y = record.x + 1.0
        record.x = record.y
        return 1

    return add_one


@pytest.fixture(scope="module")
def spin(numba):
    """`y` rounds of arithmetic on `x`."""
    point = numba.from_dtype(POINT)

    @numba.cfunc(numba.types.int64(numba.types.CPointer(point)))
    def spin(payload):
        record = numba.carray(payload, 1)[0]
        for _ in range(int(record.y)):
            record.x = (record.x * 1103515245.0 + 12345.0) % 2147483648.0
        return 1

    return spin


def test_a_cfunc_is_a_step_and_its_signature_names_the_payload(rt, add_one):
    step = tr.native_step(add_one)
    assert (step.name, step.kind) == ("add_one", "native")
    assert step.payload == POINT
    wf = tr.workflow(lambda x: step(step(step(x=x)))).options(runtime=rt)
    for x in range(100):
        assert wf(float(x)).y == x + 3.0


def test_a_cfunc_of_a_void_pointer_takes_any_payload(rt, numba):
    @numba.cfunc("int64(voidptr)")
    def nothing(payload):
        return 1

    wf = tr.workflow(lambda x: tr.native_step(nothing, POINT)(x=x)).options(runtime=rt)
    assert wf(2.5)["x"] == 2.5
    with pytest.raises(TypeError, match="does not say what the payload is"):
        tr.native_step(nothing)


def test_a_cfunc_of_another_signature_or_record_is_refused(numba, add_one):
    @numba.cfunc("int32(voidptr)")
    def narrow(payload):
        return 1

    @numba.cfunc("int64(int64)")
    def by_value(payload):
        return 1

    for wrong in (narrow, by_value):
        with pytest.raises(TypeError, match=r"write @numba\.cfunc\('int64\(voidptr\)'\)"):
            tr.native_step(wrong, POINT)
    with pytest.raises(TypeError, match="its signature takes a record"):
        tr.native_step(add_one, np.dtype([("x", np.float64)], align=True))
    with pytest.raises(TypeError, match=r"instead of @numba\.njit"):
        tr.native_step(numba.njit(lambda payload: 1), POINT)


def test_an_exception_in_a_cfunc_fails_the_step(rt, numba, monkeypatch):
    printed = []
    monkeypatch.setattr(sys, "unraisablehook", lambda what: printed.append(what.exc_type))
    point = numba.from_dtype(POINT)

    @numba.cfunc(numba.types.int64(numba.types.CPointer(point)))
    def divide(payload):
        record = numba.carray(payload, 1)[0]
        record.x = 1 // record.code
        return 1

    for gil in ("releases", "holds"):
        step = tr.native_step(divide, gil=gil)
        wf = _of_code(step)
        assert wf.options(runtime=rt)(2)["x"] == 0.0
        with pytest.raises(tr.StepFailed, match="an exception inside a Numba cfunc is printed"):
            wf.options(runtime=rt)(0)
    assert printed == [ZeroDivisionError] * 2


def _of_code(step):
    return tr.workflow(lambda code: step(code=code))


def test_what_takes_long_is_learnt_and_leaves_the_gil(rt, spin, add_one):
    long, short = tr.native_step(spin), tr.native_step(add_one)

    @tr.workflow
    def fan(x):
        root = short(x=x, y=0.0)
        return [long(short(root)) for _ in range(4)]

    for _ in range(5):
        results = fan.options(runtime=rt)(100_000.0)
        assert {float(each["y"]) for each in results} == {100_002.0}
        assert len({float(each["x"]) for each in results}) == 1
    assert long.statistics().calls == short.statistics().calls - 5 == 20
    assert long.statistics().mean_s > short.statistics().mean_s


def test_many_threads_call_one_native_workflow(rt, add_one):
    step = tr.native_step(add_one, gil="releases")
    wf = tr.workflow(lambda x: [step(step(x=x)), step(x=x)]).options(runtime=rt)
    wrong = []

    def call(base):
        for x in range(200):
            two, one = wf(float(base + x))
            if (two["y"], one["y"]) != (base + x + 2.0, base + x + 1.0):
                wrong.append((base, x))

    threads = [threading.Thread(target=call, args=(1000 * i,)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert wrong == []
    assert step.statistics().calls == 4 * 200 * 3


@pytest.fixture(scope="module")
def ffi():
    cffi = pytest.importorskip("cffi")
    ffi = cffi.FFI()
    ffi.cdef(
        """typedef struct { unsigned short state[3]; } seed;
           int64_t nrand48(void *payload); int64_t jrand48(seed *payload);
           int64_t erand48(void *a, int b); int rand_r(void *payload);"""
    )
    return ffi


SEED = np.dtype([("state", np.uint16, 3)], align=True)


def test_a_cffi_pointer_is_a_step(rt, ffi):
    library = ffi.dlopen(None)
    first = list(tr.native_step(library.nrand48, SEED)(state=[1, 2, 3])["state"])
    assert first != [1, 2, 3]
    assert list(tr.native_step(library.jrand48, SEED)(state=[1, 2, 3])["state"]) == first
    step = tr.native_step(library.nrand48, SEED, name="draw")
    wf = tr.workflow(lambda seed: step(state=seed)).options(runtime=rt)
    assert list(wf([1, 2, 3])["state"]) == first


def test_cffi_pointers_of_another_type_are_refused(ffi):
    library = ffi.dlopen(None)
    for wrong in (library.erand48, library.rand_r, ffi.new("int *")):
        with pytest.raises(TypeError, match=r"ffi\.cdef\('int64_t step\(void \*payload\);'\)"):
            tr.native_step(wrong, SEED)
    with pytest.raises(TypeError, match="struct of 6 bytes, but payload has 24"):
        tr.native_step(library.jrand48, POINT)
    with pytest.raises(ValueError, match="null pointer"):
        tr.native_step(ffi.cast("int64_t(*)(void *)", 0), SEED)


def test_a_cffi_callback_becomes_a_python_step(rt, ffi):
    callback = ffi.callback("int64_t(void *)", lambda address: 1)
    step = tr.native_step(callback, SEED, name="callback")
    assert step.kind == "sync"
    assert list(tr.workflow(lambda seed: step(state=seed)).options(runtime=rt)([1, 2, 3])["state"]) == [
        1,
        2,
        3,
    ]


def test_the_example_of_the_page_runs(numba):
    page = Path(__file__).parents[2] / "docs" / "native_steps.md"
    code = page.read_text(encoding="utf-8").split("```python\n")[1].split("```")[0]
    names: dict[str, object] = {}
    exec(compile(code, str(page), "exec"), names)
    assert names["rank"](3.0, [1, 2, 3, 4]).score == 2.5
