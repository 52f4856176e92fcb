"""The recommender as a tailrace workflow, and the engine that the demo measures."""

from __future__ import annotations

from functools import partial
from typing import Any

import tailrace as tr
from tailrace.demos.pools import Done
from tailrace.demos.steps import Recommender


def make_workflow(functions: Recommender) -> Any:
    """Make the workflow: each function becomes a step, and calling them draws the graph."""
    parse = tr.step(functions.parse)
    profile = tr.step(functions.profile)
    popular = tr.step(functions.popular)
    same_authors = tr.step(functions.same_authors)
    neighbours = tr.step(functions.neighbours)
    merge = tr.step(functions.merge)
    features = tr.step(functions.features)
    score = tr.step(functions.score)
    diversify = tr.step(functions.diversify)
    respond = tr.step(functions.respond)

    @tr.workflow
    def recommend(line: str) -> str:
        reader = profile(parse(line))
        found = merge(reader, popular(reader), same_authors(reader), neighbours(reader))
        scores = score(features(reader, found))
        return respond(reader, diversify(reader, found, scores))

    return recommend


class Tailrace:
    """Each request is a run of the workflow, started as a server would: `start`, then a callback."""

    name = "tailrace"

    def __init__(self, functions: Recommender, workers: int | None = None) -> None:
        # The rivals queue without limit, so this one may as well.
        self.runtime = tr.Runtime(workers=workers, max_pending=1_000_000)
        self._recommend = make_workflow(functions).options(runtime=self.runtime)

    def start(self, line: str, done: Done) -> None:
        """Start a run; `done` is called on the thread that settles it."""
        self._recommend.start(line).add_done_callback(partial(_tell, done))

    def close(self) -> None:
        """Drain the runtime and join its threads."""
        self.runtime.close()


def _tell(done: Done, run: tr.Run) -> None:
    try:
        answer: str = run.result(0)
    except BaseException as error:
        done(None, error)
    else:
        done(answer, None)
