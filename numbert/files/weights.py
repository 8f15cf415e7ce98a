"""StoredWeights: the weights in a model folder, mapped into memory. load_into puts them into a model."""

from __future__ import annotations

import json
import math
import mmap
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from safetensors import SafetensorError, safe_open

from numbert.errors import InputError, abridged, shown
from numbert.files.names import NamedModel, NameMatch, StoredArray, advice, match_names, what_is_new
from numbert.nn.array import Array
from numbert.nn.module import Parameter
from numbert.progress import say

WEIGHTS = "model.safetensors"
INDEX = "model.safetensors.index.json"
PICKLED = (b"PK\x03\x04", b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05")  # what a pickle begins with
PICKLES = ("pytorch_model*.bin", "*.ckpt", "*.pt", "*.pth", "*.pkl")

# How each type of weight lies in the file. NumPy has no bfloat16; it is the upper half of a float32.
FLOATS = {"F64": "<f8", "F32": "<f4", "F16": "<f2", "BF16": "<u2"}


@dataclass(frozen=True)
class StoredTensor:
    """One array in a file: the file, the type ("F32"), the shape, and the first byte within the mapped file."""

    file: Path
    dtype: str
    shape: tuple[int, ...]
    offset: int
    mapped: mmap.mmap


class StoredWeights:
    """The weights in a model folder: model.safetensors, or the shards that model.safetensors.index.json names.

    Opening the folder reads only the headers. An array is a view of the mapped file: a page is read when it is
    first used, and copied when it is first written to, so that the file is never changed. While a model is in
    use, its file may be replaced (as numbert does) but must not be overwritten in place.

    Attributes:
        folder: the folder of the files.
        tensors: the arrays in the files, by name.
        dtype: float64 if all weights are float64, else float32.

    Raises:
        InputError: there is no such folder, it has no weights, or a file is broken.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        if not self.folder.is_dir():
            why = "is not a folder" if self.folder.exists() else "does not exist"
            raise InputError(f"{self.folder} {why}; a model is a folder, and `numbert download NAME` makes one")
        if (self.folder / WEIGHTS).exists():
            self.tensors = _map_file(self.folder / WEIGHTS)
        elif (self.folder / INDEX).exists():
            self.tensors = _map_shards(self.folder)
        else:
            raise _no_weights(self.folder)
        types = {tensor.dtype for tensor in self.tensors.values() if tensor.dtype in FLOATS}
        self.dtype = np.dtype(np.float64 if types == {"F64"} else np.float32)

    def read(self, name: str) -> Array:
        """Returns one array: float64, float32 or float16 as a view of the file, bfloat16 as a new float32 array.

        Raises:
            InputError: the array's type is none of these.
        """
        tensor = self.tensors[name]
        if tensor.dtype not in FLOATS:
            raise InputError(f"{name} in {tensor.file} is {tensor.dtype}; a weight can be {', '.join(FLOATS)}")
        array: Array = np.frombuffer(
            tensor.mapped, FLOATS[tensor.dtype], count=math.prod(tensor.shape), offset=tensor.offset
        ).reshape(tensor.shape)
        if tensor.dtype == "BF16":
            bits = array.astype(np.uint32)
            bits <<= 16
            return bits.view(np.float32)
        # matmul copies an array that starts between two numbers' places at every call; once here is enough.
        return np.require(array, requirements=["ALIGNED"])


class Weights(Protocol):
    """What `load_into` needs to know of weights in files; `StoredWeights` has it, and `TensorFlowWeights`."""

    @property
    def folder(self) -> Path: ...
    @property
    def tensors(self) -> Mapping[str, StoredArray]: ...
    @property
    def dtype(self) -> np.dtype[Any]: ...
    def read(self, name: str) -> Array: ...


def load_into(model: NamedModel, weights: Weights) -> None:
    """Puts the stored arrays into a model: all of them, or none.

    An array of the model's dtype stays a view of the mapped file; any other is converted. What
    `match_names` calls new is drawn as published, and a line on stderr names it.

    Raises:
        InputError: a parameter is missing, an array has another shape or a type that cannot be read, the file has
            a parameter under two names, or two arrays differ that the configuration ties.
    """
    parameters = dict(model.all_named_parameters())
    matches = match_names(model, weights.tensors, weights.folder)
    for match in matches:
        if match.status == "mismatched":
            raise InputError(
                f"{match.name} in {weights.tensors[match.name].file} has shape {list(match.shape)}; "
                f"a {type(model).__name__} of this configuration needs {list(match.model_shape)}"
            )
    missing = [match.parameter for match in matches if match.status == "missing"]
    if missing:
        what_helps = advice(model, matches)
        raise InputError(
            f"{weights.folder} has no {abridged(missing)}, which {type(model).__name__} needs"
            + (f"; {what_helps}" if what_helps else "")
        )
    arrays = {match.parameter: weights.read(match.name) for match in matches if match.status == "used"}
    _check_ties(matches, parameters, arrays, weights)
    for name in arrays:  # converted one at a time
        arrays[name] = arrays[name].astype(model.dtype, copy=False)
    for name, array in arrays.items():
        parameters[name].data = array
    for match in matches:
        if match.status == "new":
            parameters[match.parameter].data = _drawn(match.parameter, match.shape, model)
    if drawn := what_is_new(model, matches):
        say(f"{weights.folder}: {drawn}")


def _drawn(name: str, shape: tuple[int, ...], model: NamedModel) -> Array:
    """Returns a parameter of a head as it is in a new model. A decoder that is tied has no weight of its own."""
    if len(shape) == 1:
        return Parameter.full(shape, 1.0 if name.endswith("LayerNorm.weight") else 0.0, model.dtype).data
    return Parameter.normal(shape, model.config.initializer_range, model.rng, model.dtype).data


def ignored_names(model: NamedModel, weights: Weights) -> list[str]:
    """Returns the names in the files that are no parameter of the model."""
    return [
        match.name for match in match_names(model, weights.tensors, weights.folder) if match.status == "ignored"
    ]


def _check_ties(
    matches: list[NameMatch], parameters: dict[str, Any], arrays: dict[str, Array], weights: Weights
) -> None:
    """Raises InputError if the file holds two different arrays for a tied parameter."""
    used = {id(parameters[name]): (name, array) for name, array in arrays.items()}
    for match in matches:
        # cls.predictions.bias differs where a decoder that is not tied was trained; no model computes with it.
        if match.status == "tied" and not match.parameter.endswith("predictions.bias"):
            name, array = used[id(parameters[match.parameter])]
            if not np.array_equal(weights.read(match.name), array):
                raise InputError(
                    f"{match.name} in {weights.folder} differs from {name}, but config.json ties the two; "
                    'set "tie_word_embeddings": false there to use both'
                )


# --- files ----------------------------------------------------------------------------------------------------


def _map_file(path: Path) -> dict[str, StoredTensor]:
    """Maps one safetensors file: 8 bytes with the length of the header, the header in JSON, the arrays."""
    try:
        with safe_open(path, framework="np"):  # checks the header, and that it describes the file exactly
            pass
    except SafetensorError as error:
        raise InputError(f"{path} {_what_is_wrong(path, error)}") from None
    with path.open("rb") as file:
        mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY)
    length = int.from_bytes(mapped[:8], "little")
    header = json.loads(mapped[8 : 8 + length])
    return {
        name: StoredTensor(
            path, entry["dtype"], tuple(entry["shape"]), 8 + length + entry["data_offsets"][0], mapped
        )
        for name, entry in header.items()
        if name != "__metadata__"
    }


def _map_shards(folder: Path) -> dict[str, StoredTensor]:
    """Maps the files that the index names, as {"weight_map": {"pooler.dense.bias": "model-1.safetensors"}}."""
    path = folder / INDEX
    try:
        weight_map = json.loads(path.read_text(encoding="utf-8"))["weight_map"]
        places = [(str(name), str(shard)) for name, shard in weight_map.items()]
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise InputError(f"{path} is not readable as JSON: {error}") from None
    except (KeyError, TypeError, AttributeError):
        raise InputError(f'{path} holds no "weight_map" of names to files') from None
    shards: dict[str, dict[str, StoredTensor]] = {}
    for _, shard in places:
        if shard in shards:
            continue
        if Path(shard).name != shard or shard in ("", ".."):
            raise InputError(f"{path} names the file {shard!r}; it can name a file in its own folder only")
        if not (folder / shard).exists():
            raise InputError(f"{path} names {shown(shard)}, which is not there")
        shards[shard] = _map_file(folder / shard)
    for name, shard in places:
        if name not in shards[shard]:
            raise InputError(f"{path} says that {shown(name)} is in {shown(shard)}; it is not")
    return {name: shards[shard][name] for name, shard in places}


def _what_is_wrong(path: Path, error: SafetensorError) -> str:
    with path.open("rb") as file:
        start = file.read(64)
    if start.startswith(PICKLED):
        return f"is in truth a pickle, as PyTorch writes it, not a safetensors file: {_refusal(path)}"
    if start.startswith(b"version https://git-lfs"):
        return "is a Git LFS pointer, not the weights; `git lfs pull` fetches them"
    size, promised = path.stat().st_size, _promised_size(path)
    if promised not in (None, size):
        return f"is not whole: it has {size:,} bytes, its header promises {promised:,}"
    return f"is not a safetensors file, or it is broken: {error}"


def _promised_size(path: Path) -> int | None:
    """The size in bytes that a file should have by its header; None if the header cannot be read."""
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        text = file.read(length) if length <= 100_000_000 else b""  # the format's own limit
    if len(text) < length:
        return 8 + length if text else None
    try:
        header = json.loads(text)
        ends = [entry["data_offsets"][1] for name, entry in header.items() if name != "__metadata__"]
        return 8 + length + max(map(int, ends), default=0)
    except (ValueError, KeyError, TypeError, IndexError, AttributeError):
        return None


def _no_weights(folder: Path) -> InputError:
    pickles = sorted(path.name for pattern in PICKLES for path in folder.glob(pattern))
    if pickles:
        return InputError(
            f"{folder} has no {WEIGHTS} but {pickles[0]}, which is a pickle: {_refusal(folder / pickles[0])}"
        )
    if checkpoints := sorted(folder.glob("*.index")):
        prefix = str(checkpoints[0]).removesuffix(".index")
        return InputError(
            f"{folder} has no {WEIGHTS} but a TensorFlow checkpoint: `numbert convert {prefix} FOLDER` makes a "
            "model folder of it"
        )
    there = sorted(path.name for path in folder.iterdir())
    return InputError(f"{folder} has neither {WEIGHTS} nor {INDEX}; it has {abridged(there) or 'no files'}")


def _refusal(path: Path) -> str:
    """Says why a pickle is not opened, and how to convert one without running the code in it."""
    return (
        "opening a pickle can run any code, so numbert does not; where PyTorch is installed, "
        f"`numbert convert {path} FOLDER` makes a model folder of it and runs no code in it"
    )
