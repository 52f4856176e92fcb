"""Rivals that have to be installed: Dask, joblib, LangGraph, NeoGraph, Ray; each where it has an answer."""

from __future__ import annotations

import asyncio
import importlib.util
import os
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from functools import cache, partial
from importlib import import_module
from itertools import repeat
from typing import Any

from tailrace._bench import loops, matmuls
from tailrace._bench.stepwise import first, last, middle
from tailrace._bench.timing import Op, Work
from tailrace.runtime import default_workers

__all__ = ["PEERS", "Absent", "add", "wanted"]

_Engines = Mapping[str, Callable[[], AbstractContextManager[Op]]]
_TASKS = 64

# The module that must be there, by the name that the command line knows.
PEERS = {
    "dask": "dask",
    "joblib": "joblib",
    "langgraph": "langgraph",
    "neograph": "neograph_engine",
    "ray": "ray",
}


class Absent(Exception):
    """A rival that was asked for is not installed."""


def wanted(names: str) -> tuple[str, ...]:
    """Return the peers named as in "dask,langgraph".

    Raises:
        ValueError: for a name that is none of `PEERS`.
        Absent: for one that is not installed.

    >>> wanted("")
    ()
    """
    asked = tuple(name.strip() for name in names.split(",") if name.strip())
    for name in asked:
        if name not in PEERS:
            raise ValueError(f"no peer is called {name!r}; there are {', '.join(PEERS)}")
        if importlib.util.find_spec(PEERS[name]) is None:
            raise Absent(f"{name} is not installed here; install it, or leave it out of --peers")
    return asked


def add(works: Iterable[Work], names: Iterable[str]) -> list[Work]:
    """Return the works with the named peers as further engines, each where it has an answer."""
    found = list(works)
    for name in names:
        engines = _ENGINES[name]
        found = [
            replace(work, engines={**work.engines, **engines[work.id]}) if work.id in engines else work
            for work in found
        ]
    return found


def _increment(x: int) -> int:
    return x + 1


def _repeated(ask: Callable[[int], int], count: int) -> Op:
    def call() -> int:
        for _ in repeat(None, count):
            answer = ask(1)
        return answer

    return Op(call, count)


@contextmanager
def _asked(make: Callable[[], Callable[[int], int]], count: int) -> Iterator[Op]:
    yield _repeated(make(), count)


@contextmanager
def _awaited(make: Callable[[], Callable[[int], Awaitable[int]]], tasks: int, each: int) -> Iterator[Op]:
    ask = make()

    async def client() -> int:
        total = 0
        for _ in repeat(None, each):
            total += await ask(1)
        return total

    async def all_clients() -> int:
        return sum(await asyncio.gather(*[client() for _ in range(tasks)]))

    with loops.opened(asyncio.new_event_loop) as loop:
        if tasks == 1:
            yield Op(lambda: loop.run_until_complete(all_clients()) // each, each)
        else:
            yield Op(lambda: loop.run_until_complete(all_clients()), tasks * each)


def _dask(graph: Callable[[int], dict[str, Any]]) -> Callable[[int], int]:
    get = import_module("dask.threaded").get

    def ask(x: int) -> int:
        answer: int = get(graph(x), "last", num_workers=default_workers())
        return answer

    return ask


def _dask_diamond(x: int) -> dict[str, Any]:
    names = [f"middle-{place}" for place in range(8)]
    return {"first": (first, x), **dict.fromkeys(names, (middle, "first")), "last": (last, *names)}


def _joblib_one() -> Callable[[int], int]:
    joblib = import_module("joblib")
    pool = joblib.Parallel(n_jobs=default_workers(), backend="threading")
    one = joblib.delayed(_increment)

    def ask(x: int) -> int:
        answer: int = pool([one(x)])[0]
        return answer

    return ask


def _langgraph() -> Any:
    import operator
    from typing import Annotated, TypedDict

    lib = import_module("langgraph.graph")
    # By call: the annotations of a class body would be texts here, which the graph could not look up.
    State = TypedDict("State", {"x": int, "a": int, "parts": Annotated[list[int], operator.add], "sum": int})  # noqa: UP013
    graph = lib.StateGraph(State)
    graph.add_node("first", lambda state: {"a": first(state["x"])})
    graph.add_node("last", lambda state: {"sum": last(*state["parts"])})
    graph.add_edge(lib.START, "first")
    middles = [f"middle-{place}" for place in range(8)]
    for name in middles:
        graph.add_node(name, lambda state: {"parts": [middle(state["a"])]})
        graph.add_edge("first", name)
    graph.add_edge(middles, "last")
    graph.add_edge("last", lib.END)
    return graph.compile()


def _langgraph_called() -> Callable[[int], int]:
    compiled = _langgraph()

    def ask(x: int) -> int:
        answer: int = compiled.invoke({"x": x, "parts": []})["sum"]
        return answer

    return ask


def _langgraph_awaited() -> Callable[[int], Awaitable[int]]:
    compiled = _langgraph()

    async def ask(x: int) -> int:
        answer: int = (await compiled.ainvoke({"x": x, "parts": []}))["sum"]
        return answer

    return ask


@cache
def _neograph_nodes() -> None:
    ng = import_module("neograph_engine")

    # A warning otherwise; its fan-out is serial by default, the faster way for steps this small.
    os.environ.setdefault("NEOGRAPH_SUPPRESS_FANOUT_WARNING", "1")

    @ng.node("diamond-first")  # type: ignore[untyped-decorator]
    def _begin(state: Any) -> list[Any]:
        return [ng.ChannelWrite("a", first(state.get("x")))]

    @ng.node("diamond-middle")  # type: ignore[untyped-decorator]
    def _stand(state: Any) -> list[Any]:
        return [ng.ChannelWrite("parts", [middle(state.get("a"))])]

    @ng.node("diamond-last")  # type: ignore[untyped-decorator]
    def _join(state: Any) -> list[Any]:
        return [ng.ChannelWrite("sum", last(*state.get("parts")))]


def _neograph() -> Callable[[int], int]:
    ng = import_module("neograph_engine")

    _neograph_nodes()
    middles = [f"middle-{place}" for place in range(8)]
    definition = {
        "schema_version": ng.TOPOLOGY_SCHEMA_VERSION,
        "name": "diamond",
        "channels": {
            **{name: {"reducer": "overwrite"} for name in ("x", "a", "sum")},
            "parts": {"reducer": "append"},
        },
        "nodes": {
            "first": {"type": "diamond-first"},
            **{name: {"type": "diamond-middle"} for name in middles},
            "last": {"type": "diamond-last", "barrier": {"wait_for": middles}},
        },
        "edges": [
            {"from": ng.START_NODE, "to": "first"},
            *[{"from": "first", "to": name} for name in middles],
            *[{"from": name, "to": "last"} for name in middles],
            {"from": "last", "to": ng.END_NODE},
        ],
    }
    engine = ng.GraphEngine.compile(definition, ng.NodeContext())

    def ask(x: int) -> int:
        result = engine.run(ng.RunConfig(thread_id="bench", input={"x": x}))
        answer: int = result.output["channels"]["sum"]["value"]
        return answer

    return ask


@contextmanager
def _ray(make: Callable[[Any], Callable[[int], int]]) -> Iterator[Op]:
    ray = import_module("ray")

    ray.init(num_cpus=default_workers(), include_dashboard=False, log_to_driver=False, logging_level="ERROR")
    try:
        yield _repeated(make(ray), 1)
    finally:
        ray.shutdown()


def _ray_one(ray: Any) -> Callable[[int], int]:
    remote = ray.remote(_increment)
    return lambda x: int(ray.get(remote.remote(x)))


def _ray_diamond(ray: Any) -> Callable[[int], int]:
    begin, stand, join = ray.remote(first), ray.remote(middle), ray.remote(last)

    def ask(x: int) -> int:
        a = begin.remote(x)
        return int(ray.get(join.remote(*[stand.remote(a) for _ in range(8)])))

    return ask


_ENGINES: dict[str, dict[str, _Engines]] = {
    "dask": {
        "P1": {"Dask threaded": partial(_asked, partial(_dask, lambda x: {"last": (_increment, x)}), 10)},
        "P5": {"Dask threaded": partial(_asked, partial(_dask, _dask_diamond), 1)},
        "P7": {"Dask threaded": partial(matmuls.dask_threaded, 1)},
        "P7.across": {"Dask threaded": partial(matmuls.dask_threaded, matmuls.REQUESTS)},
    },
    "joblib": {"P1": {"joblib threading": partial(_asked, _joblib_one, 1)}},
    "langgraph": {
        "P5": {"LangGraph invoke": partial(_asked, _langgraph_called, 1)},
        "P5.awaited": {"LangGraph ainvoke": partial(_awaited, _langgraph_awaited, 1, 10)},
        "P6": {"LangGraph ainvoke": partial(_awaited, _langgraph_awaited, _TASKS, 25)},
    },
    "neograph": {"P5": {"neograph-engine": partial(_asked, _neograph, 10)}},
    "ray": {
        "P1": {"Ray task": partial(_ray, _ray_one)},
        "P5": {"Ray tasks": partial(_ray, _ray_diamond)},
    },
}
