"""Every row goes through its own agent's network, wherever it stands; wrong agents are named."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tailrace.kernels import _cpu, force_isa, mlp_forward, mlp_forward_grouped, quantize_int8, to_bfloat16
from tailrace.kernels.ops.mlp_forward_grouped import reference

LEVELS = ["baseline", "avx2", "avx512", "vnni"]
HERE = LEVELS[: LEVELS.index(_cpu.best_isa()) + 1]
X = np.ones((3, 4), np.float32)
W, B = np.ones((3, 4, 2), np.float32), np.ones((3, 2), np.float32)
WHOSE = np.array([0, 2, 1], np.int32)


@settings(deadline=None, max_examples=60)
@given(
    rows=st.integers(1, 60),
    count=st.integers(1, 9),
    inputs=st.integers(1, 40),
    outputs=st.integers(1, 60),
    in_order=st.booleans(),
    level=st.sampled_from(HERE),
    seed=st.integers(0, 2**31),
)
def test_rows_of_any_agents_agree_with_the_reference(
    rows, count, inputs, outputs, in_order, level, seed
) -> None:
    rng = np.random.default_rng(seed)
    weights = [
        rng.normal(size=(count, inputs, outputs)).astype(np.float16),
        to_bfloat16(rng.normal(size=(count, outputs, 3))),
    ]
    biases = [rng.normal(size=(count, outputs)).astype(np.float32), None]
    agents = rng.integers(0, count, rows).astype(np.int32)
    if in_order:
        agents.sort()
    x = rng.normal(size=(rows, inputs)).astype(np.float32)
    out = np.full((rows, 3), np.nan, np.float32)
    with force_isa(level):
        assert mlp_forward_grouped(x, weights, biases, agents=agents, activation="tanh", out=out) is out
    truth = reference.mlp_forward_grouped(x, weights, biases, agents=agents, activation="tanh")
    np.testing.assert_allclose(out, truth, atol=2e-5 * max(1.0, float(np.abs(truth).max())), rtol=0)


def test_one_agent_is_mlp_forward_and_many_rows_of_it_too(rng) -> None:
    w, b = rng.normal(size=(1, 30, 40)).astype(np.float32), rng.normal(size=(1, 40)).astype(np.float32)
    x = rng.normal(size=(100, 30)).astype(np.float32)
    found = mlp_forward_grouped(x, [w], [b], agents=np.zeros(100, np.int32))
    np.testing.assert_allclose(found, mlp_forward(x, [w[0]], [b[0]]), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("arguments", "agents", "kind", "message"),
    [
        ((X, [W[0]], [B]), None, ValueError, r"weights\[0\] must be .*\[agents, 4, out\].*3 dim|2 dim"),
        ((X, [W], [B[0]]), None, ValueError, r"biases\[0\] must be float32 \[3, 2\]"),
        ((X, [W, W], [B, B]), None, ValueError, r"weights\[1\] must be .*\[3, 2, out\]"),
        ((X[:2], [W], [B]), None, ValueError, r"each of the 3 agents; got 2 rows: pass agents="),
        ((X, [W], [B]), WHOSE.astype(np.int64), TypeError, r"agents must be int32 \[3\]"),
        ((X, [W], [B]), WHOSE[:2], ValueError, r"agents must be int32 \[3\]"),
        ((X, [W], [B]), WHOSE + np.int32(1), IndexError, r"agents\[1\] is 3; there are weights of 3 agents"),
        ((X, [W], [B]), WHOSE - np.int32(1), IndexError, r"agents\[0\] is -1"),
        ((X, [quantize_int8(W)], [B]), None, TypeError, r"pass weights\[0\].dequantize\(\)"),
    ],
)
def test_wrong_arguments_are_named(arguments, agents, kind, message) -> None:
    with pytest.raises(kind, match=message):
        mlp_forward_grouped(*arguments, agents=agents)


def test_the_compiled_module_refuses_what_its_face_would_have_caught() -> None:
    out = np.empty((3, 2), np.float32)
    good = (0, W, None, 0, B)
    _cpu.mlp_forward_grouped(X, [good], None, 1, out)
    for wrong in ([], [good, good], [(3, W.astype(np.int8), None, 0, B)], [(0, W, None, 0, B[:2])], [(0, W)]):
        with pytest.raises((TypeError, ValueError)):
            _cpu.mlp_forward_grouped(X, wrong, None, 1, out)
    with pytest.raises(ValueError, match="fit together"):
        _cpu.mlp_forward_grouped(X[:2], [good], None, 1, out[:2])
