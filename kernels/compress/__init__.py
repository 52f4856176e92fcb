"""Models made smaller and faster: quantised, pruned, trained again, kept in files that run no code."""

from __future__ import annotations

from tailrace.kernels.compress.files import load_model, save_model
from tailrace.kernels.compress.model import Layer, Model, new_mlp
from tailrace.kernels.compress.onnx_import import from_onnx
from tailrace.kernels.compress.prune import prune
from tailrace.kernels.compress.quantize import quantize
from tailrace.kernels.compress.result import Compressed, LayerPruning, Trial
from tailrace.kernels.compress.torch_import import from_torch
from tailrace.kernels.compress.train import Trained, fine_tune, train

__all__ = [
    "Compressed",
    "Layer",
    "LayerPruning",
    "Model",
    "Trained",
    "Trial",
    "fine_tune",
    "from_onnx",
    "from_torch",
    "load_model",
    "new_mlp",
    "prune",
    "quantize",
    "save_model",
    "train",
]
