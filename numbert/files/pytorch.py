"""PyTorchWeights: the weights in a pickle, pytorch_model.bin, read by PyTorch where that is installed."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from numbert.config import BertConfig
from numbert.errors import InputError, shown
from numbert.files.weights import PICKLED
from numbert.nn.array import Array

FILES = "pytorch_model*.bin"


@dataclass(frozen=True)
class PyTorchTensor:
    """One array in a pickle: the file, the type, such as "float32", and the shape."""

    file: Path
    dtype: str
    shape: tuple[int, ...]


class PyTorchWeights:
    """The weights in a file that torch.save wrote, such as pytorch_model.bin, or in a folder that has it.

    A pickle can run any code when it is opened. torch.load(weights_only=True) opens only those that hold tensors.

    Attributes:
        folder: the folder of the file.
        tensors: the arrays, by name.
        unknown: the names of what is no tensor; there is none in a file that holds a model.
        dtype: float64 if all weights are float64, else float32.
        on_read: called with how many numbers each array has that was read.

    Raises:
        InputError: torch is not installed, there is no such file, or it cannot be opened in this way.
    """

    def __init__(self, path: str | Path) -> None:
        path = Path(path)
        self.folder = path if path.is_dir() else path.parent
        files = sorted(path.glob(FILES)) if path.is_dir() else [path]
        if not files:
            raise InputError(f"{path} has no {FILES}")
        self._tensors: dict[str, Any] = {}
        self.tensors: dict[str, PyTorchTensor] = {}
        self.unknown: list[str] = []
        self.on_read: Callable[[int], Any] = lambda size: None
        for file in files:
            for name, tensor in _load(file).items():
                if hasattr(tensor, "dtype") and hasattr(tensor, "shape"):
                    dtype = str(tensor.dtype).removeprefix("torch.")
                    self._tensors[name] = tensor
                    self.tensors[name] = PyTorchTensor(file, dtype, tuple(tensor.shape))
                else:
                    self.unknown.append(str(name))
        if not self.tensors:
            raise InputError(f"{files[0]} holds no arrays by name; a model's weights are saved as state_dict()")
        types = {tensor.dtype for tensor in self.tensors.values() if "float" in tensor.dtype}
        self.dtype = np.dtype(np.float64 if types == {"float64"} else np.float32)

    def read(self, name: str) -> Array:
        """Returns one array; float16 and bfloat16 as float32.

        Raises:
            InputError: it is no array of floating-point numbers.
        """
        tensor, about = self._tensors[name], self.tensors[name]
        if "float" not in about.dtype:
            raise InputError(f"{name} in {about.file} is {about.dtype}; a weight is of a floating-point type")
        array: Array = (tensor.float() if about.dtype != "float64" else tensor).contiguous().numpy()
        self.on_read(array.size)
        return array

    def config(self) -> BertConfig:
        """Reads the configuration beside the file, config.json.

        Raises:
            InputError: the file is missing, broken, or no BERT's.
        """
        return BertConfig.from_file(self.folder / "config.json")


def _load(file: Path) -> dict[str, Any]:
    """What torch.load finds, a dict of tensors."""
    if not file.exists():
        raise InputError(f"{file} does not exist")
    with file.open("rb") as opened:
        if not opened.read(4).startswith(PICKLED):
            raise InputError(
                f"{file} is neither a file of a TensorFlow checkpoint nor a pickle that torch.save wrote"
            )
    try:
        import torch
    except ImportError:
        raise InputError(
            f"{file} is a pickle, which needs the package torch, and that is not installed: pip install torch"
        ) from None
    try:
        with warnings.catch_warnings(action="ignore"):  # what is wrong with a pickle is said in one line, here
            loaded = torch.load(file, map_location="cpu", weights_only=True)
    except OSError:
        raise
    except Exception as error:  # whatever unpickling raises: UnpicklingError, EOFError, RuntimeError, KeyError ...
        why = shown(next(iter(str(error).splitlines()), type(error).__name__), most=120)
        raise InputError(f"{file} cannot be opened by torch.load(weights_only=True): {why}") from None
    if not isinstance(loaded, dict):
        raise InputError(f"{file} holds a {type(loaded).__name__}; a model's weights are saved as state_dict()")
    return loaded
