"""The demonstrations behind `tailrace demo`: real jobs on real data, beside the pools people use today."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path
from typing import NamedTuple

DEMOS = ("recommend",)
_BLAS_THREADS = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS", "VECLIB_MAXIMUM_THREADS")


class Load(NamedTuple):
    """How much is asked: requests per second, or a share of the best rival's capacity."""

    value: float
    is_share: bool


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Give a parser the arguments of `tailrace demo`."""
    parser.add_argument(
        "name", nargs="?", choices=DEMOS, default=DEMOS[0], help="which demo (default: recommend)"
    )
    parser.add_argument("--json", type=_new_file, metavar="FILE", help="write the figures to FILE as JSON")
    parser.add_argument(
        "--seconds", type=_seconds, default=20.0, help="time for all measurements (default: 20)"
    )
    parser.add_argument(
        "--load",
        type=_load,
        default=Load(0.7, is_share=True),
        help="requests per second, or a share of the best rival's capacity: 70%% or 0.7 (the default); "
        "plain numbers up to 2 are shares",
    )
    parser.add_argument(
        "--seed", type=_seed, default=0, help="which readers and requests there are (default: 0)"
    )
    parser.add_argument(
        "--workers", type=_workers, help="threads of each engine (default: the cores we may use)"
    )


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return float("nan")


def _seconds(text: str) -> float:
    value = _number(text)
    if not 1 <= value <= 86_400:
        raise argparse.ArgumentTypeError(
            f"it is {text!r}, but it takes 1 to 86400 seconds to measure: --seconds 20"
        )
    return value


def _load(text: str) -> Load:
    percent = text.endswith("%")
    value = _number(text.removesuffix("%")) / (100 if percent else 1)
    if not 0 < value <= 1e7:
        raise argparse.ArgumentTypeError(
            f"it is {text!r}, but a load is above 0: requests per second (--load 1500) or a share of the "
            "best rival's capacity (--load 70% or --load 0.7)"
        )
    return Load(value, is_share=percent or value <= 2)


def _seed(text: str) -> int:
    if not (text.isascii() and text.isdigit()):
        raise argparse.ArgumentTypeError(f"it is {text!r}, but a seed is a whole number from 0: --seed 7")
    return int(text)


def _workers(text: str) -> int:
    if not (text.isascii() and text.isdigit() and 1 <= int(text) <= 1024):
        raise argparse.ArgumentTypeError(f"it is {text!r}, but an engine has 1 to 1024 threads: --workers 4")
    return int(text)


def _new_file(text: str) -> Path:
    path = Path(text)
    if path.is_dir() or not path.absolute().parent.is_dir():
        why = "it is a folder" if path.is_dir() else "its folder does not exist"
        raise argparse.ArgumentTypeError(
            f"{text!r} cannot be written: {why}; give a file in a folder that exists: --json demo.json"
        )
    return path


def one_blas_thread() -> bool:
    """Ask the BLAS under NumPy for one thread, so that schedulers are compared and not BLAS pools.

    Returns:
        False when NumPy was imported before without that wish: a BLAS reads these variables only once.
    """
    if "numpy" in sys.modules:
        return all(os.environ.get(name) == "1" for name in _BLAS_THREADS)
    os.environ.update(dict.fromkeys(_BLAS_THREADS, "1"))
    return True


def run(args: argparse.Namespace) -> int:
    """Run the demo that was asked for and return its exit status."""
    alone = one_blas_thread()
    from tailrace.demos import main

    return main.recommend(args, blas_is_single=alone)
