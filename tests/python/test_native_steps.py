"""`tr.native_step`: C functions as steps, what they are given, and what is refused at decoration."""

from __future__ import annotations

import ctypes
import gc
import weakref

import numpy as np
import pytest
import tailrace as tr

SEED = np.dtype([("state", np.uint16, 3)], align=True)
PROTOTYPE = ctypes.CFUNCTYPE(ctypes.c_int64, ctypes.c_void_p)
MULTIPLIER = 0x5DEECE66D


def c_function(library, name):
    """The function of a shared library as an int64 step(void*)."""
    return PROTOTYPE(ctypes.cast(getattr(library, name), ctypes.c_void_p).value)


LIBC = ctypes.CDLL(None)
NRAND48 = c_function(LIBC, "nrand48")  # long nrand48(unsigned short state[3]): writes the next state
HAS_GIL = c_function(
    ctypes.pythonapi, "PyGILState_Check"
)  # 1 on a thread that has the GIL, else 0: a failure
ATOLL = c_function(LIBC, "atoll")  # long long atoll(const char*): 0 is what the text says

TEXT = np.dtype([("text", "S16")], align=True)


def number(state):
    return int(state[0]) | int(state[1]) << 16 | int(state[2]) << 32


def draws(seed, count):
    """What nrand48 leaves after `count` calls."""
    x = number(seed)
    for _ in range(count):
        x = (MULTIPLIER * x + 0xB) % 2**48
    return x


def twice(step):
    return tr.workflow(lambda seed: step(step(state=seed)))


def step_of(function=NRAND48, payload=SEED, **options):
    return tr.native_step(function, payload, **options)


@pytest.mark.parametrize("gil", ["auto", "holds", "releases"])
@pytest.mark.parametrize("length", [1, 2, 7, 40])
def test_a_chain_of_native_steps_passes_one_record_on(rt, gil, length):
    draw = step_of(gil=gil)

    @tr.workflow
    def chain(seed):
        record = draw(state=seed)
        for _ in range(length - 1):
            record = draw(record)
        return record

    for seed in ([1, 2, 3], [9, 9, 9], [0xFFFF, 0, 7]) * 20:
        result = chain.options(runtime=rt)(seed)
        assert number(result["state"]) == draws(seed, length)
        assert number(result.state) == number(result["state"])
    assert draw.statistics().calls == 60 * length
    assert draw.statistics().failures == 0


def test_a_started_run_ends_on_a_worker(rt):
    draw = step_of(gil="releases")
    wf = tr.workflow(lambda seed: draw(draw(state=seed)))
    run = wf.options(runtime=rt).start([1, 2, 3])
    assert number(run.result(timeout=20)["state"]) == draws([1, 2, 3], 2)
    labels = [record.step for record in run.history()]
    assert labels.count("native") == 2


def test_each_branch_of_a_fan_has_a_copy_and_the_root_is_left_as_it_was(rt):
    draw = step_of(gil="releases")

    @tr.workflow
    def fan(seed):
        root = draw(state=seed)
        return root, [draw(root) for _ in range(9)], draw(draw(root))

    for _ in range(50):
        root, once, twice = fan.options(runtime=rt)([4, 5, 6])
        assert number(root["state"]) == draws([4, 5, 6], 1)
        assert {number(each["state"]) for each in once} == {draws([4, 5, 6], 2)}
        assert number(twice["state"]) == draws([4, 5, 6], 3)


def test_python_steps_between_native_ones_see_records(rt):
    draw = step_of()

    @tr.step
    def swap(record):
        assert isinstance(record, np.record)
        return {"state": record["state"][::-1].copy()}

    wf = tr.workflow(lambda seed: draw(swap(draw(state=seed))))
    middle = draws([1, 2, 3], 1)
    words = [middle >> 32, middle >> 16 & 0xFFFF, middle & 0xFFFF]
    assert number(wf.options(runtime=rt)([1, 2, 3])["state"]) == draws(words, 1)


def test_a_released_function_runs_without_the_gil_and_a_held_one_with_it(rt):
    for gil, has_it in (("releases", False), ("holds", True)):
        check = step_of(HAS_GIL, gil=gil, name="check")
        wf = twice(check)
        for _ in range(5):
            run = wf.options(runtime=rt).start([1, 2, 3])
            assert (run.exception(timeout=20) is None) == has_it
        assert check.statistics().failures == (0 if has_it else 5)


def test_zero_means_failure_and_the_error_says_what_to_do(rt):
    parse = step_of(ATOLL, TEXT, name="parse")
    wf = tr.workflow(lambda text: parse(parse(text=text)))
    assert wf.options(runtime=rt)(b"17")["text"] == b"17"
    for _ in range(3):
        with pytest.raises(tr.StepFailed, match="step 'parse' of workflow") as caught:
            wf.options(runtime=rt)(b"nothing")
        assert isinstance(caught.value.__cause__, RuntimeError)
        assert "returned 0" in str(caught.value.__cause__)
        assert "return 1 for success" in str(caught.value.__cause__)
    assert parse.statistics().failures == 3
    with pytest.raises(RuntimeError, match="native step 'parse' returned 0"):
        parse(text=b"none")


def test_the_steps_after_one_that_failed_are_skipped(rt):
    parse, after = step_of(ATOLL, TEXT, gil="releases"), step_of(ATOLL, TEXT, gil="releases")

    @tr.workflow
    def fan(text):
        return [after(parse(text=text)) for _ in range(4)]

    for _ in range(20):
        with pytest.raises(tr.StepFailed):
            fan.options(runtime=rt)(b"")
    assert after.statistics().calls == 0


@pytest.mark.parametrize(
    "given",
    [
        {"state": [1, 2, 3]},
        ([1, 2, 3],),
        np.array([([1, 2, 3],)], SEED),
        np.array(([1, 2, 3],), SEED),
        np.array([([1, 2, 3],)], SEED)[0],
        np.rec.array([([1, 2, 3],)], SEED)[0],
    ],
    ids=["dict", "tuple", "array of one", "array of no dimension", "void", "record"],
)
def test_a_record_may_be_given_in_many_forms_and_is_copied_in(rt, given):
    draw = step_of()
    wf = tr.workflow(lambda record: draw(record))
    for result in (wf.options(runtime=rt)(given), draw(given)):
        assert number(result["state"]) == draws([1, 2, 3], 1)
    assert list(np.asarray(given["state"] if not isinstance(given, tuple) else given[0]).ravel()) == [1, 2, 3]


def test_fields_that_are_left_out_are_zero(rt):
    draw = step_of(payload=np.dtype([("state", np.uint16, 3), ("more", np.float64, 9)], align=True))
    for _ in range(3):  # the block has been used before
        for result in (draw(state=[1, 2, 3]), twice(draw).options(runtime=rt)([1, 2, 3])):
            assert not result["more"].any()
            result["more"] = 7.0
    with pytest.raises(RuntimeError, match="returned 0"):  # as it is nrand48's first number from a zero state
        draw()


def test_a_result_outlives_its_run_and_is_nobody_elses(rt):
    draw = step_of()
    wf = tr.workflow(lambda seed: draw(state=seed)).options(runtime=rt)
    results = [wf([seed, 0, 0]) for seed in range(1, 101)]
    gc.collect()
    assert [number(result["state"]) for result in results] == [
        draws([seed, 0, 0], 1) for seed in range(1, 101)
    ]
    kept = results[3]["state"]
    results.clear()
    gc.collect()
    others = [wf([7, 7, 7]) for _ in range(100)]
    assert number(kept) == draws([4, 0, 0], 1)
    assert len({number(other["state"]) for other in others}) == 1


def test_the_step_keeps_its_function_alive(rt):
    prototype = PROTOTYPE(ctypes.cast(LIBC.nrand48, ctypes.c_void_p).value)
    gone = weakref.ref(prototype)
    draw = step_of(prototype)
    del prototype
    gc.collect()
    assert gone() is not None
    assert number(draw(state=[1, 2, 3])["state"]) == draws([1, 2, 3], 1)


def test_a_cancelled_run_stops_between_two_native_steps(rt):
    draw = step_of(gil="releases")
    wf = tr.workflow(lambda seed: draw(draw(state=seed))).options(runtime=rt)
    runs = [wf.start([seed, 1, 1]) for seed in range(200)]
    for run in runs[::2]:
        run.cancel()
    for seed, run in list(enumerate(runs))[1::2]:
        assert number(run.result(timeout=20)["state"]) == draws([seed, 1, 1], 2)
    tr.testing.check_accounting(rt)


def test_virtual_time_runs_native_steps_at_their_declared_cost(virtual, clock):
    draw = tr.testing.cost(step_of(gil="releases"), 0.5)

    @tr.workflow
    def fan(seed):
        root = draw(state=seed)
        return [draw(root), draw(draw(root))]

    one, two = fan.options(runtime=virtual)([1, 2, 3])
    assert (number(one["state"]), number(two["state"])) == (draws([1, 2, 3], 2), draws([1, 2, 3], 3))
    assert clock.now_s == pytest.approx(1.5)


def test_after_orders_native_steps(rt):
    draw, log = step_of(), []
    note = tr.step(log.append)

    @tr.workflow
    def ordered(seed):
        first = draw(state=seed)
        return tr.after(note("second"), tr.after(draw(state=seed), note("first"), first))

    ordered.options(runtime=rt)([1, 2, 3])
    assert log == ["first", "second"]


def capsule(address, name):
    new = ctypes.pythonapi.PyCapsule_New
    new.restype, new.argtypes = ctypes.py_object, [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_void_p]
    return new(address, name, None)


NAMES = [b"int64_t (void *)", b"int64_t(void*)", b"long long (void *payload)", b"int64_t step(void *)"]


@pytest.mark.parametrize("name", NAMES)
def test_a_capsule_named_by_its_signature_is_taken(name):
    address = ctypes.cast(NRAND48, ctypes.c_void_p).value
    assert number(step_of(capsule(address, name))(state=[1, 2, 3])["state"]) == draws([1, 2, 3], 1)


@pytest.mark.parametrize("name", [None, b"", b"int (void *)", b"int64_t (int64_t)", b"int64_t (void *, int)"])
def test_a_capsule_of_another_signature_is_refused(name):
    with pytest.raises(TypeError, match=r"must be its function's C signature, 'int64_t \(void \*\)'"):
        step_of(capsule(1, name))


def test_a_null_pointer_is_refused():
    with pytest.raises(ValueError, match="null pointer"):
        step_of(PROTOTYPE(0))


def test_ctypes_functions_must_say_what_they_take_and_return():
    unsaid = ctypes.CDLL(None).nrand48
    with pytest.raises(TypeError, match=r"f\.restype = ctypes\.c_int64"):
        step_of(unsaid)
    unsaid.restype = ctypes.c_int64
    with pytest.raises(TypeError, match=r"f\.argtypes = \[ctypes\.c_void_p\]"):
        step_of(unsaid)
    unsaid.argtypes = [ctypes.c_int64]
    with pytest.raises(TypeError, match=r"f\.argtypes = \[ctypes\.c_void_p\]"):
        step_of(unsaid)
    unsaid.argtypes = [ctypes.c_void_p]
    assert step_of(unsaid).name == "nrand48"
    unsaid.errcheck = lambda result, *_: result
    with pytest.raises(TypeError, match="errcheck"):
        step_of(unsaid)


def test_a_struct_in_the_signature_must_have_the_payloads_size():
    class Wide(ctypes.Structure):
        _fields_ = (("a", ctypes.c_int64), ("b", ctypes.c_int64))

    typed = ctypes.CFUNCTYPE(ctypes.c_int64, ctypes.POINTER(Wide))
    with pytest.raises(TypeError, match="struct of 16 bytes, but payload has 6"):
        step_of(typed(ctypes.cast(NRAND48, ctypes.c_void_p).value))


def test_a_function_of_pydll_is_called_with_the_gil(rt):
    check = ctypes.PyDLL(None).PyGILState_Check
    check.restype, check.argtypes = ctypes.c_int64, [ctypes.c_void_p]
    wf = twice(step_of(check))
    assert wf.options(runtime=rt).start([1, 2, 3]).exception(timeout=20) is None
    with pytest.raises(TypeError, match="needs the GIL"):
        step_of(check, gil="releases")


@pytest.mark.parametrize("wrapped", [False, True], ids=["itself", "cast"])
def test_a_ctypes_callback_becomes_a_python_step(rt, wrapped):
    def double(address):
        words = (ctypes.c_uint16 * 3).from_address(address)
        words[0] *= 2
        return words[0]

    callback = PROTOTYPE(double)
    step = step_of(ctypes.cast(callback, PROTOTYPE) if wrapped else callback, name="double")
    assert step.kind == "sync"
    wf = tr.workflow(lambda seed: step(step(state=seed))).options(runtime=rt)
    assert list(wf([3, 4, 5])["state"]) == [12, 4, 5]
    with pytest.raises(tr.StepFailed, match="returned 0"):
        wf([0, 0, 0])


def test_what_is_no_c_function_is_refused_with_the_right_call():
    with pytest.raises(TypeError, match=r"CFUNCTYPE\(ctypes\.c_int64, ctypes\.c_void_p\)\(address\)"):
        step_of(1234)
    with pytest.raises(TypeError, match=r"already with @tr\.step"):
        step_of(lambda record: 1)
    for nothing in (None, "step", object()):
        with pytest.raises(TypeError, match="needs a C function"):
            step_of(nothing)


PAYLOADS = [
    (None, "does not say what the payload is"),
    (7, "must be a NumPy dtype"),
    (np.float64, "structured dtype with named fields"),
    (np.dtype((np.float32, 4)), "structured dtype with named fields"),
    (np.dtype([]), "structured dtype with named fields"),
    (np.dtype([("x", object)]), "fields that are Python objects"),
    (np.dtype([("x", [("y", object)], 2)]), "fields that are Python objects"),
    (np.dtype([("x", np.int8), ("y", np.float64)]), "not aligned as a C struct is"),
    (np.dtype([("in", [("x", np.int8), ("y", np.float64)])]), "not aligned as a C struct is"),
    (np.dtype([("x", ">f8" if np.little_endian else "<f8")]), "other byte order"),
]


@pytest.mark.parametrize(("payload", "message"), PAYLOADS)
def test_a_payload_that_c_could_not_read_is_refused(payload, message):
    with pytest.raises(TypeError, match=message):
        step_of(payload=payload)


def test_nested_and_array_fields_are_payloads_too(rt):
    inner = np.dtype([("state", np.uint16, 3), ("flag", np.int8)], align=True)
    outer = np.dtype([("first", inner), ("weights", np.float64, (2, 2))], align=True)
    draw = step_of(payload=outer)
    wf = tr.workflow(lambda seed: draw(first=seed, weights=1.5))
    result = wf.options(runtime=rt)(([1, 2, 3], 1))
    assert number(result["first"]["state"]) == draws([1, 2, 3], 1)
    assert result["weights"].tolist() == [[1.5, 1.5], [1.5, 1.5]]


def test_wrong_options_and_arguments_are_refused():
    with pytest.raises(ValueError, match="'auto', 'holds' or 'releases'"):
        step_of(gil="sometimes")
    with pytest.raises(TypeError, match="name must be a text"):
        step_of(name=7)
    draw = step_of(name="draw")
    with pytest.raises(TypeError, match="no field 'sate'; it has 'state'"):
        tr.workflow(lambda: draw(sate=1)).compile()
    with pytest.raises(TypeError, match=r"write draw\(state=\.\.\.\)"):
        tr.workflow(lambda x: draw(x, x)).compile()
    with pytest.raises(TypeError, match="one record"):
        draw(np.zeros(2, SEED))
    with pytest.raises(TypeError, match="one record"):
        draw(np.zeros(1, TEXT))
    with pytest.raises(TypeError, match="a dict or a tuple"):
        draw([1, 2, 3])


def test_a_record_of_another_dtype_is_refused_while_traced():
    draw, parse = step_of(), step_of(ATOLL, TEXT)
    with pytest.raises(TypeError, match="write a step between them"):
        tr.workflow(lambda seed: parse(draw(state=seed))).compile()


def test_an_argument_that_no_record_can_be_made_of_fails_the_run(rt):
    draw = step_of()
    wf = tr.workflow(lambda seed: draw(seed))
    with pytest.raises(tr.StepFailed, match="payload of native") as caught:
        wf.options(runtime=rt)("seed")
    assert isinstance(caught.value.__cause__, TypeError)


def test_payload_memory_is_used_again(rt):
    draw = step_of()
    wf = tr.workflow(lambda seed: draw(draw(state=seed))).options(runtime=rt)
    seen = {wf([1, 2, 3])["state"].ctypes.data for _ in range(200)}
    assert len(seen) <= 20
    assert all(address % 64 == 0 for address in seen)
