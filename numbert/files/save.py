"""save_model: writes config.json and model.safetensors as the newest transformers reads them."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import DTypeLike
from safetensors import SafetensorError
from safetensors.numpy import save_file

from numbert.errors import InputError
from numbert.files.atomic import replacing
from numbert.files.names import NamedModel
from numbert.files.weights import WEIGHTS
from numbert.nn.array import Array


def save_model(model: NamedModel, folder: str | Path, dtype: DTypeLike | None = None) -> None:
    """Writes config.json and model.safetensors into a folder, each whole or not at all.

    Args:
        dtype: float16, float32 or float64 for the weights in the file; default the model's dtype.

    Raises:
        InputError: the model is complex, dtype is none of these, a weight is beyond the range of dtype, or the
            folder cannot be made.
        OSError: the disk is full, or the machine failed in another way. The folder keeps the files it had.
    """
    if np.issubdtype(model.dtype, np.complexfloating):
        raise InputError(f"the model is {model.dtype}; a model folder can hold float32 or float64")
    stored = model.dtype if dtype is None else np.dtype(dtype)
    if stored not in (np.float16, np.float32, np.float64):
        raise InputError(f"dtype is {stored}; a model folder can hold float16, float32 or float64")
    config = dataclasses.replace(
        model.config,
        architectures=[type(model).__name__],
        # "torch_dtype" is what transformers before version 5 called "dtype".
        extra={key: value for key, value in model.config.extra.items() if key != "torch_dtype"}
        | {"dtype": str(stored)},
    )
    # A tied parameter is stored once. An untied model's decoder.bias is stored beside predictions.bias, although
    # they are one Parameter here, because transformers 5 has two.
    tied = config.tie_word_embeddings
    parameters = model.named_parameters() if tied else model.all_named_parameters()
    arrays = {name: _stored(name, parameter.data, stored) for name, parameter in parameters}
    with replacing(folder) as new:
        (new / "config.json").write_text(config.to_json(), encoding="utf-8")
        try:
            save_file(arrays, new / WEIGHTS, metadata={"format": "pt"})
        except SafetensorError as error:
            raise OSError(f"{Path(folder) / WEIGHTS} cannot be written: {error}") from error
        # safetensors lets only the owner read it; like any file, it gets the rights that the umask sets.
        (new / WEIGHTS).chmod((new / "config.json").stat().st_mode)


def _stored(name: str, data: Array, dtype: np.dtype[Any]) -> Array:
    with np.errstate(over="ignore"):
        array = np.ascontiguousarray(data, dtype)
    if not np.isfinite(array).all() and np.isfinite(data).all():
        raise InputError(f"{name} has {np.abs(data).max():.3g} in it, which is beyond the range of {dtype}")
    return array
