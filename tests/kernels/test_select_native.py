"""Retriever and Sampler as native steps: the record has what a call would have returned."""

from __future__ import annotations

import numpy as np
import pytest
import tailrace as tr
from tailrace.kernels import Retriever, Sampler


def test_a_retriever_and_a_sampler_run_in_a_workflow_of_native_steps(rng: np.random.Generator) -> None:
    keys, queries = (rng.normal(size=shape).astype(np.float32) for shape in ((300, 24), (4, 24)))
    logits = rng.normal(size=(2, 90)).astype(np.float32)
    bound, sampler = Retriever(keys, k=5, metric="cosine"), Sampler(90, top_p=0.9, seed=3)
    find, draw = tr.native_step(bound.native(4)), tr.native_step(sampler.native(2))

    @tr.workflow
    def search(queries):
        return find(queries=queries)

    @tr.workflow
    def speak(logits, step):
        return draw(logits=logits, step=step)

    scores, indices = bound(queries)
    record = search(queries)
    np.testing.assert_array_equal(record.scores, scores)
    np.testing.assert_array_equal(record.indices, indices)
    for step in range(5):
        np.testing.assert_array_equal(speak(logits, step).token, sampler(logits, step=step))


def test_what_a_call_would_refuse_fails_the_step() -> None:
    bound, sampler = Retriever(np.ones((3, 2), np.float32), k=1), Sampler(4, seed=1)
    find, draw = tr.native_step(bound.native(1)), tr.native_step(sampler.native(1))

    @tr.workflow
    def search(queries):
        return find(queries=queries)

    @tr.workflow
    def speak(logits):
        return draw(logits=logits)

    with pytest.raises(tr.StepFailed):
        search(np.full((1, 2), np.nan, np.float32))
    with pytest.raises(tr.StepFailed):
        speak(np.full((1, 4), np.nan, np.float32))
