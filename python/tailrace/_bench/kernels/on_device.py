"""The kernels on a CUDA device: `python -m tailrace._bench.kernels.on_device --csv FILE`.

Arrays lie on the device before a clock starts. A row is the time of a call by the device's own clock, its
answer checked on its first rows against the reference, and its share of what the device can move and compute.
"""

from __future__ import annotations

import argparse
import csv
import datetime
import importlib
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from tailrace import __version__, kernels
from tailrace.kernels import device
from tailrace.kernels.cuda import launcher

_PASSES = 7
_CHECKED_ROWS = 16

Call = Callable[[], Any]


@dataclass(frozen=True)
class DeviceWork:
    """One row: calls on arrays of the device, and what they must return.

    Attributes:
        name: Of the row.
        call: The op on arrays of the device.
        truth: Its first rows by the reference.
        within: Relative L2 that is allowed.
        nbytes: The least that a call moves, in bytes.
        flops: What it computes, in operations.
        rivals: Calls that compute the same, by name.
    """

    name: str
    call: Call
    truth: np.ndarray
    within: float
    nbytes: int
    flops: int
    rivals: dict[str, Call]


def _network(rng: np.random.Generator, lead: tuple[int, ...], widths: Sequence[int]) -> list[np.ndarray]:
    return [
        (rng.standard_normal((*lead, a, b), dtype=np.float32) * np.float32((2 / a) ** 0.5))
        for a, b in pairwise(widths)
    ]


def _mlp(rng: np.random.Generator, small: bool) -> Iterator[DeviceWork]:
    from tailrace.kernels.ops.mlp_forward import OP, reference

    widths = (32, 48, 16) if small else (256, 512, 512, 16)
    plain = _network(rng, (), widths)
    kinds: dict[str, Callable[[np.ndarray], Any]] = {
        "float32": lambda w: w,
        "float16": lambda w: w.astype(np.float16),
        "bfloat16": kernels.to_bfloat16,
        "int8": kernels.quantize_int8,
        "int4": kernels.quantize_int4,
    }
    for kind, made in kinds.items():
        weights = [made(w) for w in plain]
        there = [launcher.to_device(w) if isinstance(w, np.ndarray) else w for w in weights]
        for rows in (1, 40) if small else (1, 32, 1024, 65536):
            x = rng.standard_normal((rows, widths[0]), dtype=np.float32)
            on, out = launcher.to_device(x), launcher.empty((rows, widths[-1]), "float32")
            yield DeviceWork(
                f"mlp_forward {kind}, {'-'.join(map(str, widths))}, batch {rows}",
                partial(kernels.mlp_forward, on, there, [None] * len(there), out=out),
                reference.mlp_forward(x[:_CHECKED_ROWS], weights, [None] * len(weights)),
                OP.device_tolerance.get(kind, OP.tolerance[kind]),
                OP.bytes(x=x, weights=weights),
                OP.flops(x=x, weights=weights),
                _matmuls(on, there) if kind in ("float32", "float16") else {},
            )


def _matmuls(x: Any, weights: Sequence[Any]) -> dict[str, Call]:
    if launcher.standing_in():
        return {}
    cupy: Any = importlib.import_module("cupy")
    first = x.astype(weights[0].dtype)

    def layers() -> Any:
        y = first
        for weight in weights[:-1]:
            y = cupy.maximum(y @ weight, 0)
        return y @ weights[-1]

    return {"CuPy": layers}


def _grouped(rng: np.random.Generator, small: bool) -> Iterator[DeviceWork]:
    from tailrace.kernels.ops.mlp_forward_grouped import OP, reference

    agents, widths = (3, (16, 24, 8)) if small else (256, (256, 512, 512, 16))
    for dtype in ("float32", "float16"):
        weights = [w.astype(dtype) for w in _network(rng, (agents,), widths)]
        x = rng.standard_normal((agents, widths[0]), dtype=np.float32)
        on, there = launcher.to_device(x), [launcher.to_device(w) for w in weights]
        biases = [None] * len(weights)
        yield DeviceWork(
            f"mlp_forward_grouped {dtype}, {agents} agents",
            partial(kernels.mlp_forward_grouped, on, there, [None] * len(there)),
            reference.mlp_forward_grouped(x[:_CHECKED_ROWS], [w[:_CHECKED_ROWS] for w in weights], biases),
            OP.tolerance[dtype],
            OP.bytes(x=x, weights=weights),
            OP.flops(x=x, weights=weights),
            {},
        )


def _lora(rng: np.random.Generator, small: bool) -> Iterator[DeviceWork]:
    from tailrace.kernels.ops.lora_bgmv import OP, reference

    rows, hidden, rank = (5, 40, 4) if small else (512, 4096, 16)
    case: dict[str, Any] = {
        "x": rng.standard_normal((rows, hidden), dtype=np.float32),
        "a": rng.standard_normal((rows, hidden, rank), dtype=np.float32).astype(np.float16),
        "b": rng.standard_normal((rows, rank, hidden), dtype=np.float32).astype(np.float16),
        "adapters": np.arange(rows, dtype=np.int32),
    }
    there = {name: launcher.to_device(array) for name, array in case.items()}
    first = case | {"x": case["x"][:_CHECKED_ROWS], "adapters": case["adapters"][:_CHECKED_ROWS]}
    yield DeviceWork(
        f"lora_bgmv float16, {rows} rows of {hidden}, rank {rank}, all distinct",
        lambda: kernels.lora_bgmv(**there),
        reference.lora_bgmv(**first),
        OP.tolerance["float16"],
        OP.bytes(**case),
        OP.flops(**case),
        {},
    )


def _bags(rng: np.random.Generator, small: bool) -> Iterator[DeviceWork]:
    from tailrace.kernels.ops.embedding_bag import OP, reference

    bags, each, dim, rows = (9, 4, 16, 50) if small else (65536, 32, 64, 1_000_000)
    case: dict[str, Any] = {
        "table": rng.standard_normal((rows, dim), dtype=np.float32).astype(np.float16),
        "indices": rng.integers(0, rows, bags * each),
        "offsets": np.arange(bags + 1, dtype=np.int64) * each,
    }
    there = {name: launcher.to_device(array) for name, array in case.items()}
    few = min(_CHECKED_ROWS, bags)
    first = case | {"indices": case["indices"][: few * each], "offsets": case["offsets"][: few + 1]}
    yield DeviceWork(
        f"embedding_bag float16, {bags} bags of {each} rows of {dim}",
        lambda: kernels.embedding_bag(**there),
        reference.embedding_bag(**first),
        OP.tolerance["float16"],
        OP.bytes(**case),
        OP.flops(**case),
        {},
    )


def _pca(rng: np.random.Generator, small: bool) -> Iterator[DeviceWork]:
    from tailrace.kernels.ops.pca_project import OP, reference

    rows, features, count = (33, 20, 5) if small else (1_000_000, 64, 16)
    case: dict[str, Any] = {
        "x": rng.standard_normal((rows, features), dtype=np.float32),
        "components": rng.standard_normal((count, features), dtype=np.float32),
        "mean": rng.standard_normal(features, dtype=np.float32),
    }
    there = {name: launcher.to_device(array) for name, array in case.items()}
    yield DeviceWork(
        f"pca_project float32, {rows} rows of {features}, {count} components",
        lambda: kernels.pca_project(**there),
        reference.pca_project(**(case | {"x": case["x"][:_CHECKED_ROWS]})),
        OP.tolerance["float32"],
        OP.bytes(**case),
        OP.flops(**case),
        {},
    )


def _scores(queries: Any, keys: Any) -> Any:
    return kernels.topk_similarity(queries, keys, 10)[0]


def _topk(rng: np.random.Generator, small: bool) -> Iterator[DeviceWork]:
    from tailrace.kernels.ops.topk_similarity import OP, reference

    count, dim = (70, 20) if small else (1_000_000, 256)
    keys = rng.standard_normal((count, dim), dtype=np.float32).astype(np.float16)
    there = launcher.to_device(keys)
    for rows in (1, 32):
        queries = rng.standard_normal((rows, dim), dtype=np.float32)
        on = launcher.to_device(queries)
        case: dict[str, Any] = {"queries": queries, "keys": keys, "k": 10}
        yield DeviceWork(
            f"topk_similarity float16, 10 of {count} keys of {dim}, batch {rows}",
            partial(_scores, on, there),
            reference.topk_similarity(queries[:_CHECKED_ROWS], keys, 10)[0],
            1e-4,
            OP.bytes(**case),
            OP.flops(**case),
            {},
        )


def _images(rng: np.random.Generator, small: bool) -> Iterator[DeviceWork]:
    from tailrace.kernels.ops.image_prep import OP, reference

    shape, size = ((2, 24, 32, 3), (11, 11)) if small else ((256, 480, 640, 3), (224, 224))
    images = rng.integers(0, 256, shape).astype(np.uint8)
    there = launcher.to_device(images)
    case: dict[str, Any] = {"images": images, "size": size, "grey": True}
    yield DeviceWork(
        f"image_prep uint8, {shape[0]} images {shape[1]} x {shape[2]} to {size[0]} x {size[1]} grey",
        lambda: kernels.image_prep(there, size, grey=True),
        reference.image_prep(images[:_CHECKED_ROWS], size, grey=True),
        1e-3,
        OP.bytes(**case),
        OP.flops(**case),
        {},
    )


def _mel(rng: np.random.Generator, small: bool) -> Iterator[DeviceWork]:
    from tailrace.kernels.ops.log_mel import OP, reference

    sounds, rate = (2, 8000) if small else (1024, 16000)
    x = rng.standard_normal((sounds, rate // (4 if small else 1)), dtype=np.float32)
    there = launcher.to_device(x)
    case: dict[str, Any] = {"x": x, "sample_rate": rate}
    yield DeviceWork(
        f"log_mel float32, {sounds} sounds of 1 s at {rate} Hz",
        lambda: kernels.log_mel(there, sample_rate=rate),
        reference.log_mel(x[:_CHECKED_ROWS], sample_rate=rate),
        1e-4,
        OP.bytes(**case),
        OP.flops(**case),
        {},
    )


WORKS = {
    "mlp_forward": _mlp,
    "mlp_forward_grouped": _grouped,
    "lora_bgmv": _lora,
    "embedding_bag": _bags,
    "pca_project": _pca,
    "topk_similarity": _topk,
    "image_prep": _images,
    "log_mel": _mel,
}


def seconds(call: Call, calls: int) -> float:
    """Return what one of `calls` calls takes, by the device's clock."""
    if launcher.standing_in():
        begin = time.perf_counter()
        for _ in range(calls):
            call()
        return (time.perf_counter() - begin) / calls
    cupy: Any = importlib.import_module("cupy")
    first, last = cupy.cuda.Event(), cupy.cuda.Event()
    first.record()
    for _ in range(calls):
        call()
    last.record()
    last.synchronize()
    return float(cupy.cuda.get_elapsed_time(first, last)) / 1e3 / calls


def measure(work: DeviceWork, budget_s: float) -> list[dict[str, Any]]:
    """Return a row for tailrace and one for each rival, in turn for some passes.

    Raises:
        ArithmeticError: if the answer is not the reference's.
    """
    found = launcher.to_host(work.call())[: len(work.truth)]
    error = float(np.linalg.norm(found - work.truth) / np.linalg.norm(work.truth))
    if not error <= work.within:
        raise ArithmeticError(f"{work.name}: off by {error}, allowed are {work.within}")
    engines = {"tailrace": work.call, **work.rivals}
    calls = {name: max(1, int(budget_s / max(seconds(call, 1), 1e-6))) for name, call in engines.items()}
    times: dict[str, list[float]] = {name: [] for name in engines}
    for _ in range(_PASSES):
        for name, call in engines.items():
            times[name].append(seconds(call, calls[name]))
    ours = min(times["tailrace"])
    return [
        {
            "work": work.name,
            "engine": name,
            "ratio": min(taken) / ours,
            "min_us": min(taken) * 1e6,
            "median_us": float(np.median(taken)) * 1e6,
            "gigabytes_per_s": work.nbytes / min(taken) / 1e9,
            "gigaflops": work.flops / min(taken) / 1e9,
            "error": error,
        }
        for name, taken in times.items()
    ]


def main(argv: Sequence[str], small: bool = False) -> int:
    """Measure, print, append to a file; 1 if there is no device, with the reason."""
    parser = argparse.ArgumentParser(prog="on_device", description=__doc__)
    parser.add_argument("--only", metavar="OPS", help=f"of {', '.join(WORKS)}")
    parser.add_argument(
        "--csv", type=Path, metavar="FILE", help="append the rows, with device, date and version"
    )
    parser.add_argument("--budget", type=float, default=0.02, metavar="S", help="seconds of one pass")
    args = parser.parse_args(list(argv))
    try:
        device.require()
    except kernels.BackendUnavailable as error:
        print(f"no row was measured: {error}", file=sys.stderr)
        return 1
    card = "the stand-in of the tests" if launcher.standing_in() else device.describe()
    print(f"{card}; tailrace {__version__}; x: how many times longer than tailrace")
    rows: list[dict[str, Any]] = []
    for name in args.only.split(",") if args.only else WORKS:
        for work in WORKS[name](np.random.default_rng(1), small):
            for row in measure(work, args.budget):
                rows.append(row)
                print(
                    f"{row['work'][:64]:64} {row['engine']:9} x {row['ratio']:6.2f} {row['min_us']:10.1f} us "
                    f"(median {row['median_us']:.1f}) {row['gigabytes_per_s']:8.1f} GB/s "
                    f"{row['gigaflops']:9.1f} GFLOP/s"
                )
    if args.csv is not None:
        _append(args.csv, card, rows)
    return 0


def _append(path: Path, card: str, rows: list[dict[str, Any]]) -> None:
    fresh = not path.exists()
    date = datetime.datetime.now(datetime.UTC).date().isoformat()
    with path.open("a", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, ["date", "device", "version", *rows[0]])
        if fresh:
            writer.writeheader()
        writer.writerows({"date": date, "device": card, "version": __version__} | row for row in rows)


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
