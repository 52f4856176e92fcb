"""The K rows: each op on the CPU beside those of NumPy, SciPy, onnxruntime, OpenCV, torch that are there."""

from __future__ import annotations

import importlib

from tailrace._bench.timing import Work

# Modules of this package, each with `works()`, in the order of the goals.
MODULES = (
    "mlp_forward",
    "mlp_forward_grouped",
    "embedding_bag",
    "topk_similarity",
    "sample_tokens",
    "image_prep",
    "log_mel",
    "features_prep",
    "pca_project",
    "compress",
    "lora_bgmv",
    "conv2d_small",
)


def works() -> list[Work]:
    """Return the works of all ops."""
    return [work for name in MODULES for work in importlib.import_module(f"{__name__}.{name}").works()]
