"""A recommender behind HTTP: FastAPI in front, one tailrace runtime behind it.

    pip install "tailrace[service]"
    python docs/examples/fastapi_service.py --port 8000
    curl localhost:8000/recommend/42

What it shows is explained in docs/service.md.
"""

from __future__ import annotations

import argparse
import asyncio
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import asdict
from typing import Any

import tailrace as tr
import uvicorn
from fastapi import FastAPI, Request, Response
from fastapi.responses import JSONResponse


@tr.step
def profile(user_id: int) -> dict[str, int]:
    return {"user_id": user_id, "taste": user_id % 7}


@tr.step
async def candidates(profile: dict[str, int], lookup_s: float) -> list[int]:
    await asyncio.sleep(lookup_s)  # stands for a feature store that is asked over the network
    return list(range(profile["taste"], 100, 7))


@tr.step
def rank(profile: dict[str, int], items: list[int]) -> list[int]:
    return sorted(items, key=lambda item: (item * 31 + profile["user_id"]) % 97)[:5]


@tr.workflow
def recommend(user_id: int, lookup_s: float) -> list[int]:
    who = profile(user_id)
    return rank(who, candidates(who, lookup_s))


def create_app(max_pending: int = 1000, lookup_s: float = 0.005, deadline_s: float = 1.0) -> FastAPI:
    """Make the service; a runtime of its own lives from its start to its end."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        app.state.runtime = runtime = tr.Runtime(max_pending=max_pending, name="service")
        app.state.recommend = recommend.options(runtime=runtime, deadline_s=deadline_s)
        recommend.compile()
        yield
        await asyncio.to_thread(runtime.drain, 10.0)  # async steps in flight need this thread for the loop
        runtime.close()

    app = FastAPI(lifespan=lifespan)

    @app.exception_handler(tr.Overloaded)
    async def overloaded(_request: Request, error: tr.Overloaded) -> Response:
        return JSONResponse({"error": str(error)}, 503, headers={"Retry-After": "1"})

    @app.exception_handler(tr.DeadlineExceeded)
    async def too_late(_request: Request, error: tr.DeadlineExceeded) -> Response:
        return JSONResponse({"error": str(error)}, 504)

    @app.get("/recommend/{user_id}")
    async def get_recommendation(user_id: int, request: Request) -> Response:
        run = request.app.state.recommend.start(user_id, lookup_s)  # full: Overloaded, here and now
        return await answer(run, request)

    @app.get("/health")
    async def health(request: Request) -> Response:
        report = request.app.state.runtime.health()
        return JSONResponse(asdict(report), 200 if report.status == "ok" else 503)

    @app.get("/statistics")
    async def statistics(request: Request) -> dict[str, Any]:
        return asdict(request.app.state.runtime.statistics())

    return app


async def answer(run: tr.Run, request: Request) -> Response:
    """Await the run for a client; cancel it when the client goes away."""

    async def gone() -> None:
        while (await request.receive())["type"] != "http.disconnect":
            pass

    watch = asyncio.create_task(gone())
    watch.add_done_callback(lambda _: run.cancel())  # a run that has ended takes no notice
    try:
        return JSONResponse(await run)
    except asyncio.CancelledError:
        if not watch.done():
            raise  # the server is ending, not the client
        return Response(status_code=499)  # nobody reads it
    finally:
        watch.cancel()


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, default=8000)
    parser.add_argument("--max-pending", type=int, default=1000)
    parser.add_argument("--lookup-s", type=float, default=0.005)
    parser.add_argument("--deadline-s", type=float, default=1.0)
    args = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))  # uvicorn raises it again, when all has ended
    app = create_app(args.max_pending, args.lookup_s, args.deadline_s)
    uvicorn.run(app, port=args.port, log_level="warning", ws="none", timeout_graceful_shutdown=10)


if __name__ == "__main__":
    main()
