"""Kernels for batched agent inference and preprocessing, on the CPU and on CUDA devices, with one truth.

Each op is a function on arrays: NumPy arrays are computed on the CPU by compiled kernels, arrays on a device
by CUDA kernels, and `backend="numpy"` is the reference in float64 that both are tested against. Nothing here
imports Numba or CuPy before a device is asked for. `status()` says what this machine has.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tailrace.kernels._status import status as status
    from tailrace.kernels.costs import calibrate as calibrate
    from tailrace.kernels.dispatch import force_isa as force_isa
    from tailrace.kernels.errors import BackendUnavailable as BackendUnavailable
    from tailrace.kernels.ops.conv2d_small import conv2d_small as conv2d_small
    from tailrace.kernels.ops.embedding_bag import embedding_bag as embedding_bag
    from tailrace.kernels.ops.features_prep import FeaturesPrep as FeaturesPrep
    from tailrace.kernels.ops.features_prep import distinct_rows as distinct_rows
    from tailrace.kernels.ops.features_prep import features_prep as features_prep
    from tailrace.kernels.ops.features_prep import valid_rows as valid_rows
    from tailrace.kernels.ops.image_prep import ImagePrep as ImagePrep
    from tailrace.kernels.ops.image_prep import image_prep as image_prep
    from tailrace.kernels.ops.log_mel import LogMel as LogMel
    from tailrace.kernels.ops.log_mel import log_mel as log_mel
    from tailrace.kernels.ops.lora_bgmv import lora_bgmv as lora_bgmv
    from tailrace.kernels.ops.mlp_forward import Policy as Policy
    from tailrace.kernels.ops.mlp_forward import mlp_forward as mlp_forward
    from tailrace.kernels.ops.mlp_forward_grouped import mlp_forward_grouped as mlp_forward_grouped
    from tailrace.kernels.ops.pca_project import Pca as Pca
    from tailrace.kernels.ops.pca_project import fit_pca as fit_pca
    from tailrace.kernels.ops.pca_project import pca_project as pca_project
    from tailrace.kernels.ops.sample_tokens import Sampler as Sampler
    from tailrace.kernels.ops.sample_tokens import sample_tokens as sample_tokens
    from tailrace.kernels.ops.topk_similarity import Retriever as Retriever
    from tailrace.kernels.ops.topk_similarity import topk_similarity as topk_similarity
    from tailrace.kernels.registry import all_ops as all_ops
    from tailrace.kernels.reports import classification_report as classification_report
    from tailrace.kernels.weights import BFloat16Weight as BFloat16Weight
    from tailrace.kernels.weights import Int4Weight as Int4Weight
    from tailrace.kernels.weights import Int8Weight as Int8Weight
    from tailrace.kernels.weights import dequantize as dequantize
    from tailrace.kernels.weights import quantize_int4 as quantize_int4
    from tailrace.kernels.weights import quantize_int8 as quantize_int8
    from tailrace.kernels.weights import to_bfloat16 as to_bfloat16

# Public name: the module that has it, loaded on first use.
_NAMES = {
    "BackendUnavailable": "errors",
    "ImagePrep": "ops.image_prep",
    "LogMel": "ops.log_mel",
    "calibrate": "costs",
    "FeaturesPrep": "ops.features_prep",
    "distinct_rows": "ops.features_prep",
    "embedding_bag": "ops.embedding_bag",
    "features_prep": "ops.features_prep",
    "conv2d_small": "ops.conv2d_small",
    "lora_bgmv": "ops.lora_bgmv",
    "Pca": "ops.pca_project",
    "fit_pca": "ops.pca_project",
    "pca_project": "ops.pca_project",
    "force_isa": "dispatch",
    "image_prep": "ops.image_prep",
    "log_mel": "ops.log_mel",
    "all_ops": "registry",
    "classification_report": "reports",
    "Sampler": "ops.sample_tokens",
    "sample_tokens": "ops.sample_tokens",
    "Retriever": "ops.topk_similarity",
    "topk_similarity": "ops.topk_similarity",
    "Policy": "ops.mlp_forward",
    "mlp_forward": "ops.mlp_forward",
    "mlp_forward_grouped": "ops.mlp_forward_grouped",
    "status": "_status",
    "BFloat16Weight": "weights",
    "Int4Weight": "weights",
    "Int8Weight": "weights",
    "dequantize": "weights",
    "quantize_int4": "weights",
    "quantize_int8": "weights",
    "to_bfloat16": "weights",
    "valid_rows": "ops.features_prep",
}

__all__ = sorted(_NAMES)  # noqa: PLE0605


def __getattr__(name: str) -> Any:
    if name not in _NAMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f"{__name__}.{_NAMES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_NAMES})
