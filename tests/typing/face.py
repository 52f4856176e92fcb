"""What mypy sees of the public face; `test_typing.py` compares it with the comments."""

from __future__ import annotations

from typing import reveal_type

import tailrace as tr


@tr.step
def double(x: int) -> int:
    return 2 * x


@tr.step(blocking=True)
def look_up(key: str, *, limit: int = 3) -> list[str]:
    return [key] * limit


@tr.step
async def fetch(ids: list[int]) -> dict[str, int]:
    return {str(i): i for i in ids}


@tr.workflow
def recommend(user_id: int, name: str = "x") -> list[str]:
    return tr.after(look_up(name, limit=2), double(user_id))


reveal_type(double)  # tailrace.step.Step[[x: int], int]
reveal_type(double(1))  # int
reveal_type(look_up("a"))  # list[str]
reveal_type(fetch([1]))  # Any
reveal_type(tr.each(double, [1]))  # list[int]
reveal_type(recommend(1))  # list[str]
reveal_type(recommend.options(deadline_s=1.0)(1, name="y"))  # list[str]
reveal_type(recommend.options().map([1]))  # typing.Iterator[list[str]]
reveal_type(recommend.stream([1]))  # typing.AsyncIterator[list[str]]
reveal_type(recommend.start(1))  # tailrace._core.Run
reveal_type(recommend.compile().mermaid())  # str
reveal_type(tr.Runtime(workers=2).statistics().in_flight)  # int
reveal_type(tr.default_runtime().health().reasons)  # tuple[str, ...]
reveal_type(tr.testing.cost(double, 1.0))  # tailrace.step.Step[[x: int], int]
reveal_type(double.statistics().mean_s)  # float
reveal_type(tr.VirtualClock(seed=1).now_s)  # float
reveal_type(tr.MemoryPool(limit="64MiB").statistics().tags["x"].used_bytes)  # int
reveal_type(tr.MemoryPool().empty_bytes(10).toreadonly())  # tailrace._core.PoolBuffer
reveal_type(tr.MemoryPool().measure().read().peak_bytes)  # int
reveal_type(tr.MemoryPool().tag("x", limit=1 << 20).statistics().n_refused)  # int
reveal_type(tr.MemoryPool().close().blocks)  # int

double("1")  # error: arg-type
tr.MemoryPool(huge_pages="yes")  # error: arg-type
tr.MemoryPool().empty("3")  # error: arg-type
look_up("a", limi=1)  # error: call-arg
recommend.start("1")  # error: arg-type
recommend.options(priority="HIGH")  # error: arg-type
tr.Runtime(workers="2")  # error: arg-type
tr.step(42)  # error: call-overload


async def awaits() -> None:
    reveal_type(await recommend.start(1))  # Any
    await tr.sleep(1.0)
