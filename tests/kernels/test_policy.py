"""A policy is mlp_forward with weights that were packed before: same results, cheaper calls, native steps."""

from __future__ import annotations

import gc
import pickle
import threading
from itertools import pairwise

import numpy as np
import pytest
import tailrace as tr
from tailrace.kernels import Policy, _cpu, mlp_forward, quantize_int4, quantize_int8, to_bfloat16

MAKERS = {
    "float32": lambda w: w,
    "float16": lambda w: w.astype(np.float16),
    "bfloat16": to_bfloat16,
    "int8": quantize_int8,
    "int4": quantize_int4,
}


def network(rng: np.random.Generator, widths: tuple[int, ...], dtype: str = "float32"):
    weights = [
        MAKERS[dtype]((rng.normal(size=p) / np.sqrt(p[0])).astype(np.float32)) for p in pairwise(widths)
    ]
    return weights, [rng.normal(size=b).astype(np.float32) for b in widths[1:]]


@pytest.mark.parametrize("dtype", MAKERS)
@pytest.mark.parametrize("rows", [1, 7, 8, 9, 33, 130])
def test_a_policy_gives_what_mlp_forward_gives(dtype: str, rows: int, isa: str, rng) -> None:
    weights, biases = network(rng, (31, 50, 97, 5), dtype)
    policy = Policy(weights, biases, activation="silu")
    x = rng.normal(size=(rows, 31)).astype(np.float32)
    expected = mlp_forward(x, weights, biases, activation="silu")
    out = np.full((rows, 5), np.nan, np.float32)
    assert policy(x, out=out) is out
    np.testing.assert_allclose(out, expected, rtol=2e-5, atol=2e-5)
    np.testing.assert_array_equal(policy(x), out)


def test_a_policy_keeps_nothing_of_the_arrays_it_was_made_of(rng) -> None:
    weights, biases = network(rng, (6, 4, 3))
    x = rng.normal(size=(2, 6)).astype(np.float32)
    policy = Policy(weights, biases)
    before = policy(x)
    for array in (*weights, *biases):
        array.fill(np.nan)
    del weights, biases, array
    gc.collect()
    np.testing.assert_array_equal(policy(x), before)


@pytest.mark.parametrize("rows", [1, 9])
def test_fixed_scales_round_inputs_to_their_steps_and_clip_them(rows: int, isa: str, rng) -> None:
    weights, biases = network(rng, (33, 50, 5), "int8")
    scales = [0.02, 0.03]
    policy = Policy(weights, biases, input_scales=scales)
    x = rng.normal(size=(rows, 33)).astype(np.float32)
    x[:, ::5] *= 10
    expected = x.astype(np.float64)
    for weight, bias, scale in zip(weights, biases, scales, strict=True):
        codes = np.clip(np.rint(expected.astype(np.float32) / np.float32(scale)), -127, 127)
        expected = codes * scale @ weight.dequantize().astype(np.float64) + bias
        expected = np.maximum(expected, 0) if weight is weights[0] else expected
    assert (np.abs(x) > 127 * 0.02).any()
    np.testing.assert_allclose(policy(x), expected, atol=2 * 0.03)  # a sum at a half may go either way
    first = Policy(weights[:1], biases[:1], input_scales=scales[:1])
    exact = codes_of(x, 0.02) @ weights[0].values.astype(np.int64) * (0.02 * weights[0].scale) + biases[0]
    np.testing.assert_allclose(first(x), exact, rtol=1e-5, atol=1e-5)
    mixed = Policy(weights, biases, input_scales=[0.02, None])
    whole = Policy([weights[1]], [biases[1]])(np.maximum(first(x), 0))
    np.testing.assert_allclose(mixed(x), whole, rtol=1e-5, atol=1e-5)
    x[0, 0] = np.nan
    assert np.isnan(policy(x)[0]).all()
    assert not np.isnan(policy(x)[1:]).any()


def codes_of(x: np.ndarray, scale: float) -> np.ndarray:
    """What the kernel rounds to: by the reciprocal, in float32."""
    return np.clip(np.rint(x * (np.float32(1) / np.float32(scale))), -127, 127).astype(np.int64)


@pytest.mark.parametrize(
    ("scales", "kind"),
    [
        (0.5, TypeError),
        ("ab", TypeError),
        ([0.5], ValueError),
        ([0.5, 0.0], ValueError),
        ([0.5, -1.0], ValueError),
        ([0.5, float("nan")], ValueError),
        ([0.5, 1e-40], ValueError),
        ([0.5, 1e39], ValueError),
        ([0.5, "1"], ValueError),
    ],
)
def test_scales_that_are_none_are_refused(scales: object, kind: type[Exception], rng) -> None:
    weights, biases = network(rng, (6, 4, 3), "int8")
    with pytest.raises(kind, match="input_scales must be one number above 0, or None, a layer"):
        Policy(weights, biases, input_scales=scales)
    weights, biases = network(rng, (6, 4, 3))
    with pytest.raises(ValueError, match="Int8Weight only"):
        Policy(weights, biases, input_scales=[0.5, None])


def test_a_policy_names_its_widths() -> None:
    policy = Policy([np.ones((3, 2), np.float32)], [None], activation="tanh")
    assert (policy.inputs, policy.outputs, repr(policy)) == (3, 2, "Policy(3 -> 2, tanh)")


X = np.ones((2, 3), np.float32)
UNALIGNED = np.zeros(25, np.uint8)[1:].view(np.float32).reshape(2, 3)


@pytest.mark.parametrize(
    ("arguments", "named", "kind", "message"),
    [
        ((X.astype(np.float64),), {}, TypeError, r"x must be float32 \[batch, 3\].*got float64 \[2, 3\]"),
        ((X[:, :2].copy(),), {}, ValueError, r"got float32 \[2, 2\]"),
        ((X[:0],), {}, ValueError, "nothing to compute"),
        ((X[:, ::-1],), {}, ValueError, "ascontiguousarray"),
        (([[1, 2, 3]],), {}, TypeError, "got list: pass np.asarray"),
        ((X.astype(">f4"),), {}, TypeError, "x must be float32"),
        ((UNALIGNED,), {}, ValueError, r"ascontiguousarray|copy\(\)"),
        ((X,), {"out": np.empty((2, 3), ">f4")}, TypeError, "out must be float32"),
        ((X,), {"out": np.empty((2, 4), np.float32)}, ValueError, r"out must be float32 \[2, 3\]"),
        ((X,), {"out": np.empty((2, 3))}, TypeError, "out must be float32"),
        ((X,), {"out": X}, ValueError, "shares memory"),
        ((X,), {"output": None}, TypeError, "unexpected keyword argument 'output'"),
        ((), {}, TypeError, "missing 1 required positional argument: 'x'"),
        ((X, X), {}, TypeError, "positional arguments"),
    ],
)
def test_a_wrong_call_is_explained(arguments, named, kind, message) -> None:
    policy = Policy([np.ones((3, 3), np.float32)], [None])
    with pytest.raises(kind, match=message):
        policy(*arguments, **named)


def test_a_read_only_buffer_and_a_subclass_of_arrays() -> None:
    policy = Policy([np.ones((3, 3), np.float32)], [None])
    out = np.empty((2, 3), np.float32)
    out.flags.writeable = False
    with pytest.raises(ValueError, match="out is read-only"):
        policy(X, out=out)

    class Named(np.ndarray):
        pass

    np.testing.assert_array_equal(policy(X.view(Named)), policy(X))


def test_a_policy_is_made_by_its_face_only() -> None:
    with pytest.raises(TypeError):
        _cpu.Network("layers", 1)
    with pytest.raises(ValueError, match="fit together"):
        _cpu.Network([(0, X)], 1)
    with pytest.raises(ValueError, match="fit together"):
        _cpu.Network([(0, np.ones((3, 3), np.float32), None, 0, None)], 77)
    with pytest.raises(ValueError, match="activation must be one of"):
        Policy([X], [None], activation="softmax")


def test_a_policy_is_not_pickled() -> None:
    with pytest.raises(TypeError, match="packed for this machine: send the weights"):
        pickle.dumps(Policy([X], [None]))


def test_threads_may_share_a_policy(rng) -> None:
    weights, biases = network(rng, (64, 256, 256, 8))
    policy = Policy(weights, biases)
    inputs = [rng.normal(size=(40, 64)).astype(np.float32) for _ in range(4)]
    expected = [policy(x) for x in inputs]
    wrong: list[int] = []

    def work(number: int) -> None:
        for _ in range(30):
            if not np.array_equal(policy(inputs[number]), expected[number]):
                wrong.append(number)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_a_policy_runs_inside_a_step_and_as_a_native_step(rng) -> None:
    weights, biases = network(rng, (12, 20, 4), "int8")
    policy = Policy(weights, biases)
    x = rng.normal(size=(3, 12)).astype(np.float32)

    @tr.step
    def act(rows):
        return policy(rows)

    native = tr.native_step(policy.native(3))

    @tr.workflow
    def decide(rows):
        return act(rows), native(x=rows)

    by_python, record = decide(x)
    np.testing.assert_array_equal(by_python, policy(x))
    np.testing.assert_array_equal(record.y, policy(x))
    with pytest.raises(ValueError, match="batch must be a whole number of rows, at least 1; got 0"):
        policy.native(0)
