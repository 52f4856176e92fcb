"""A bound op as a native step: a C function of its own, one of 256, that lives as long as its step."""

from __future__ import annotations

import gc
import threading

import numpy as np
import pytest
import tailrace as tr
from tailrace.kernels import Policy, _cpu, native

X, Y = 3, 2


@pytest.fixture
def policy(rng: np.random.Generator) -> Policy:
    return Policy([rng.normal(size=(X, Y)).astype(np.float32)], [rng.normal(size=Y).astype(np.float32)])


@pytest.fixture(autouse=True)
def every_slot_comes_back():
    before = _cpu.live_slots()
    yield
    gc.collect()
    assert _cpu.live_slots() == before


def test_the_record_has_the_ops_fields_and_the_step_brings_it_along(policy: Policy, rng) -> None:
    given = policy.native(4)
    assert given.payload.names == ("x", "y")
    assert given.payload["x"].shape == (4, X)
    step = tr.native_step(given)
    x = rng.normal(size=(4, X)).astype(np.float32)
    np.testing.assert_array_equal(step(x=x).y, policy(x))
    assert step.name == given.name


def test_a_payload_that_is_not_the_ops_is_refused(policy: Policy) -> None:
    with pytest.raises(TypeError, match="its signature takes a record of"):
        tr.native_step(policy.native(4), np.dtype([("x", np.float32, (4, X))], align=True))


def test_a_step_runs_in_a_workflow_on_many_threads_at_once(policy: Policy, rng, rt: tr.Runtime) -> None:
    act = tr.native_step(policy.native(1), gil="releases")
    out_of = tr.step(lambda record: np.array(record.y))
    flow = tr.workflow(lambda x: out_of(act(x=x)))
    xs = rng.normal(size=(200, 1, X)).astype(np.float32)
    with rt:
        runs = [flow.start(x) for x in xs]
        found = [run.result(timeout=20) for run in runs]
    np.testing.assert_array_equal(np.stack(found), np.stack([policy(x) for x in xs]))


def test_a_slot_lives_as_long_as_its_step_and_not_longer(policy: Policy) -> None:
    before = _cpu.live_slots()
    step = tr.native_step(policy.native(2))
    assert _cpu.live_slots() == before + 1
    del step
    gc.collect()
    assert _cpu.live_slots() == before


def test_the_step_keeps_the_op_alive(rng) -> None:
    weights = rng.normal(size=(X, Y)).astype(np.float32)
    step = tr.native_step(Policy([weights], [None]).native(1))
    gc.collect()
    x = rng.normal(size=(1, X)).astype(np.float32)
    np.testing.assert_allclose(step(x=x).y, x @ weights, rtol=1e-5, atol=1e-6)


def test_the_257th_live_function_is_refused_and_a_slot_that_is_given_back_is_used_again(
    policy: Policy,
) -> None:
    held = [policy.native(1 + i) for i in range(256 - _cpu.live_slots())]
    with pytest.raises(RuntimeError, match="256 native functions of bound ops are live"):
        policy.native(1)
    del held[0]
    gc.collect()
    again = policy.native(7)
    assert tr.native_step(again)(x=np.ones((7, X), np.float32)).y.shape == (7, Y)


@pytest.mark.parametrize("batch", [0, -1, 1.5, True, "2"])
def test_a_batch_that_is_no_number_of_rows_is_refused(policy: Policy, batch) -> None:
    with pytest.raises(ValueError, match="batch must be a whole number of rows, at least 1"):
        policy.native(batch)


def test_a_capsule_that_is_no_bound_op_is_refused(policy: Policy) -> None:
    with pytest.raises((TypeError, ValueError)):
        native.native_op("op", policy.native(1).capsule, 1, [("x", "float32", (1, X))])


def test_threads_that_call_one_step_at_once_get_the_same(policy: Policy) -> None:
    step = tr.native_step(policy.native(1))
    results: list[np.ndarray] = []
    x = np.ones((1, X), np.float32)

    def call() -> None:
        results.append(np.array(step(x=x).y))

    threads = [threading.Thread(target=call) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all((result == results[0]).all() for result in results)
