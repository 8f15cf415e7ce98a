"""Which array in a file is which parameter of a model."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from numbert.config import BertConfig
from numbert.errors import InputError
from numbert.nn.module import Parameter


class NamedModel(Protocol):
    """What files need to know of a model: `BertPreTrainedModel` has it all."""

    config: BertConfig
    base_model_prefix: str

    @property
    def dtype(self) -> np.dtype[Any]: ...
    def all_named_parameters(self) -> Iterator[tuple[str, Parameter]]: ...
    def named_parameters(self) -> Iterator[tuple[str, Parameter]]: ...


class StoredArray(Protocol):
    """What names need to know of an array in a file."""

    @property
    def shape(self) -> tuple[int, ...]: ...


@dataclass(frozen=True)
class NameMatch:
    """What becomes of one name.

    Attributes:
        name: in the file; "" where the file has no such parameter.
        parameter: its name in the model; "" where the model has none.
        shape: in the file; the model's where the file has none.
        status: "used"; "tied", another array that is used is this parameter too; "ignored", the model has no place
            for it; "missing", the file does not have it; "mismatched", it has not the parameter's shape.
        model_shape: the parameter's shape; () where the model has none.
    """

    name: str
    parameter: str
    shape: tuple[int, ...]
    status: str
    model_shape: tuple[int, ...] = ()


def match_names(model: NamedModel, tensors: Mapping[str, StoredArray], folder: Path) -> list[NameMatch]:
    """Finds for every parameter of a model its name in a file, and for every name in the file its parameter.

    A name in a file may have the prefix "bert." of a model inside another or lack it, and may call a LayerNorm's
    weight and bias gamma and beta, as Google's first files did.

    Returns:
        the parameters in the model's order, then what is ignored, in the file's.

    Raises:
        InputError: two names in the file are the same parameter.
    """
    parameters = dict(model.all_named_parameters())
    found: dict[str, str] = {}
    ignored: list[str] = []
    for name in tensors:
        parameter = _parameter_name(name, parameters, model.base_model_prefix)
        if parameter is None:
            ignored.append(name)
        elif parameter in found:
            raise InputError(f"{found[parameter]} and {name} in {folder} are both {parameter}")
        else:
            found[parameter] = name

    names: dict[int, list[str]] = {}
    for name, value in parameters.items():
        names.setdefault(id(value), []).append(name)
    matches: list[NameMatch] = []
    for same in names.values():
        shape = parameters[same[0]].shape
        there = [name for name in same if name in found]
        if not there:
            matches.append(NameMatch("", same[0], shape, "missing", shape))
            continue
        # The decoder computes with its own bias; where a file has both, the other one may be stale.
        used = next((name for name in there if name.endswith("predictions.decoder.bias")), there[0])
        for name in there:
            file_shape = tensors[found[name]].shape
            status = "mismatched" if file_shape != shape else "used" if name == used else "tied"
            matches.append(NameMatch(found[name], name, file_shape, status, shape))
    return matches + [NameMatch(name, "", tensors[name].shape, "ignored") for name in ignored]


def advice(model: NamedModel, matches: list[NameMatch]) -> str:
    """What would read the file, where parameters are missing; "" where that is nothing, or not known."""
    missing = [match.parameter for match in matches if match.status == "missing"]
    inner = f"{model.base_model_prefix}."
    head = [match.parameter for match in matches if match.parameter and not match.parameter.startswith(inner)]
    if missing and all(name.startswith("pooler.") for name in missing):
        return "add_pooling_layer=False makes a model without pooler"
    if missing and missing == head and hasattr(model, model.base_model_prefix):
        return "BertModel is the model without this head"
    return ""


def _parameter_name(name: str, parameters: Mapping[str, object], prefix: str) -> str | None:
    for old, new in ((".gamma", ".weight"), (".beta", ".bias")):
        if name.endswith(f"LayerNorm{old}"):
            name = name.removesuffix(old) + new
    for candidate in (name, f"{prefix}.{name}", name.removeprefix(f"{prefix}.")):
        if candidate in parameters:
            return candidate
    return None
