"""Models on disk: safetensors with a description of the layers; reading one runs no code of the file's."""

from __future__ import annotations

import contextlib
import json
import os
import stat
import tempfile
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from tailrace.kernels._checks import describe
from tailrace.kernels.compress import _weights
from tailrace.kernels.compress.model import Layer, Model

__all__ = ["load_model", "save_model"]

FORMAT, VERSION = "tailrace.model", 1
_MOST_HEADER_BYTES = 1 << 20
_MOST_LAYERS = 4096
_DTYPES: dict[str, npt.DTypeLike] = {"F32": np.float32, "F16": np.float16, "I8": np.int8, "U8": np.uint8}
_FIELDS = {"activation", "group", "input_scale", "inputs", "kind", "outputs", "weight"}


def save_model(model: Model, path: str | os.PathLike[str]) -> None:
    """Write `model` to the file `path`, in one piece: whoever reads it sees the old file or the new one.

    Args:
        model: Of any kinds of layers.
        path: The customary ending is `.safetensors`.

    Raises:
        ImportError: without the package safetensors.
        TypeError: for what is not a Model.
        OSError: where the file cannot be written.

    >>> import tempfile, os
    >>> from tailrace.kernels.compress import new_mlp
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     save_model(new_mlp([4, 3, 2], seed=0), os.path.join(folder, "small.safetensors"))
    ...     load_model(os.path.join(folder, "small.safetensors"))
    Model(4 -> 3 relu -> 2, float32, 92 bytes)
    """
    if not isinstance(model, Model):
        raise TypeError(f"save_model: model must be a Model, got {describe(model)}")
    safetensors = _package("save_model")
    tensors, layers = {}, []
    for place, layer in enumerate(model.layers):
        for name, array in {**_weights.parts(layer.weight), "bias": layer.offset}.items():
            tensors[f"{place}.{name}"] = array
        layers.append(
            {
                "activation": layer.activation,
                "group": _weights.group(layer.weight),
                "input_scale": layer.input_scale,
                "inputs": layer.inputs,
                "kind": "dense",
                "outputs": layer.outputs,
                "weight": layer.kind,
            }
        )
    metadata = {"format": FORMAT, "version": str(VERSION), "layers": json.dumps(layers)}
    content = safetensors.numpy.save(tensors, metadata=metadata)
    target = Path(path)
    descriptor, temporary = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
        os.replace(temporary, target)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        raise


def load_model(path: str | os.PathLike[str], *, limit_bytes: int = 1 << 31) -> Model:
    """Return the model in the file `path`, whoever wrote it: what does not fit is an error.

    Args:
        path: A file that `save_model` wrote.
        limit_bytes: The largest file to read. No more memory than three times the file is taken.

    Raises:
        ImportError: without the package safetensors.
        OSError: where the file cannot be read.
        ValueError: for a file that is no model, or not all of one, with what was expected.
    """
    safetensors = _package("load_model")
    name = Path(path).name
    content = _read(path, limit_bytes)
    metadata = _metadata(name, content)
    try:
        found = safetensors.deserialize(content)
    except Exception as error:  # SafetensorError, or what its binding raises
        raise ValueError(f"load_model: {name} is not a whole safetensors file: {error}") from None
    tensors = {key: _array(name, key, view) for key, view in found}
    layers = [_layer(name, place, entry, tensors) for place, entry in enumerate(_entries(name, metadata))]
    if tensors:
        raise ValueError(f"load_model: {name} has arrays of no layer: {', '.join(sorted(tensors)[:4])}")
    try:
        return Model(layers)
    except ValueError as error:
        raise ValueError(f"load_model: {name}: {error}") from None


def _package(where: str) -> Any:
    try:
        import_module("safetensors.numpy")
        return import_module("safetensors")
    except ImportError:
        raise ImportError(f'{where}: needs the package safetensors: pip install "tailrace[models]"') from None


def _read(path: str | os.PathLike[str], limit_bytes: int) -> bytes:
    """Return the content of a regular file of a size between 8 bytes and the limit."""
    name, status = Path(path).name, os.stat(path)
    if not stat.S_ISREG(status.st_mode):
        raise ValueError(f"load_model: {name} is not a regular file")
    if not 8 <= status.st_size <= limit_bytes:
        raise ValueError(
            f"load_model: {name} must have 8 to {limit_bytes} bytes (limit_bytes=); it has {status.st_size}"
        )
    with open(path, "rb") as file:
        return file.read(status.st_size)


def _metadata(name: str, content: bytes) -> dict[str, Any]:
    """Return the texts that the header keeps of the model, of the format and version that is read here."""
    length = int.from_bytes(content[:8], "little")
    most = min(len(content) - 8, _MOST_HEADER_BYTES)
    if length > most:
        raise ValueError(
            f"load_model: {name} is not a whole safetensors file: header of {length} bytes, at most {most}"
        )
    header = _json(name, "header", content[8 : 8 + length])
    metadata = header.get("__metadata__") if isinstance(header, dict) else None
    if not isinstance(metadata, dict) or metadata.get("format") != FORMAT:
        raise ValueError(
            f"load_model: {name} is no model of tailrace: its metadata must have format={FORMAT!r}, "
            "as save_model writes it; from_torch takes a state_dict of another's file"
        )
    if metadata.get("version") != str(VERSION):
        raise ValueError(
            f"load_model: {name} must be of version {VERSION}; it is of {metadata.get('version')!r:.40}"
        )
    return metadata


def _json(name: str, what: str, text: str | bytes) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ValueError(
            f"load_model: {name} is damaged: its {what} is no JSON ({type(error).__name__})"
        ) from None


def _entries(name: str, metadata: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the description of each layer: fields of the right types; what they say is not yet checked."""
    text = metadata.get("layers")
    entries = _json(name, "list of layers", text) if isinstance(text, str) else None
    if not isinstance(entries, list) or not 1 <= len(entries) <= _MOST_LAYERS:
        raise ValueError(f"load_model: {name} must list 1 to {_MOST_LAYERS} layers")
    for place, entry in enumerate(entries):
        if not isinstance(entry, dict) or set(entry) != _FIELDS or entry["kind"] != "dense":
            raise ValueError(
                f"load_model: {name}: layer {place} must be dense, with {', '.join(sorted(_FIELDS))}"
            )
        if not all(type(entry[key]) is int and 0 < entry[key] < 1 << 31 for key in ("inputs", "outputs")):
            raise ValueError(f"load_model: {name}: layer {place} must have inputs and outputs of at least 1")
        if not isinstance(entry["activation"], str) or not isinstance(entry["input_scale"], float | None):
            raise ValueError(
                f"load_model: {name}: layer {place}: activation is a text, input_scale a float or null"
            )
    return entries


def _array(name: str, key: str, view: dict[str, Any]) -> npt.NDArray[Any]:
    dtype = _DTYPES.get(view["dtype"])
    if dtype is None:
        raise ValueError(
            f"load_model: {name}: {key} must be one of {', '.join(_DTYPES)}; got {view['dtype']}"
        )
    return np.frombuffer(view["data"], dtype).reshape(view["shape"])


def _layer(name: str, place: int, entry: dict[str, Any], tensors: dict[str, npt.NDArray[Any]]) -> Layer:
    """Take the arrays of a layer out of `tensors`; return the layer, if they are what it says."""
    where = f"load_model: {name}: layer {place}"
    try:
        wanted = _weights.layout(entry["weight"], entry["inputs"], entry["outputs"], entry["group"])
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from None
    found = {}
    for part, (dtype, shape) in {**wanted, "bias": (np.dtype(np.float32), (entry["outputs"],))}.items():
        array = tensors.pop(f"{place}.{part}", None)
        if array is None or array.dtype != dtype or array.shape != shape:
            got = "none" if array is None else describe(array)
            raise ValueError(f"{where}: {part} must be {dtype} {list(shape)}; got {got}")
        found[part] = array
    try:
        bias = found.pop("bias")
        weight = _weights.assembled(entry["weight"], found, entry["inputs"], entry["group"])
        return Layer(weight, bias, entry["activation"], entry["input_scale"])
    except (TypeError, ValueError) as error:
        raise ValueError(f"{where}: {error}") from None
