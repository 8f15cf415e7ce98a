"""Matching the names of arrays in a file with the parameters of a model."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from numbert.config import BertConfig
from numbert.errors import InputError, abridged
from numbert.nn.module import Parameter


class NamedModel(Protocol):
    """What this package needs to know of a model; `BertPreTrainedModel` is one."""

    config: BertConfig
    base_model_prefix: str
    draws_missing_head: bool
    rng: np.random.Generator

    @property
    def dtype(self) -> np.dtype[Any]: ...
    def all_named_parameters(self) -> Iterator[tuple[str, Parameter]]: ...
    def named_parameters(self) -> Iterator[tuple[str, Parameter]]: ...


class StoredArray(Protocol):
    """What this package needs to know of an array in a file."""

    @property
    def file(self) -> Path: ...
    @property
    def shape(self) -> tuple[int, ...]: ...


@dataclass(frozen=True)
class NameMatch:
    """One name in a file and the parameter that it belongs to, or one of them without the other.

    Attributes:
        name: the name in the file; "" if the file does not have the parameter.
        parameter: the name in the model; "" if the model does not have the parameter.
        shape: the shape in the file; if the file does not have the parameter, the shape in the model.
        status: "used"; "tied", if another array that is used is the same parameter; "ignored", if the model does
            not have the parameter; "missing", if the file does not have it; "new", if it is missing together with
            all of a head that the model draws; "mismatched", if the shapes differ.
        model_shape: the shape in the model; () if the model does not have the parameter.
    """

    name: str
    parameter: str
    shape: tuple[int, ...]
    status: str
    model_shape: tuple[int, ...] = ()


def match_names(model: NamedModel, tensors: Mapping[str, StoredArray], folder: Path) -> list[NameMatch]:
    """Finds the name in a file of every parameter of a model, and the parameter of every name in the file.

    Names are found with and without the prefix "bert." of a model inside another, and a LayerNorm's weight and
    bias also as gamma and beta, as Google's first files call them.

    Args:
        folder: the folder that error messages name.

    Returns:
        the parameters in the model's order, then the names that are ignored, in the file's order.

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
    new = _new(model, matches)
    matches = [replace(match, status="new") if match.parameter in new else match for match in matches]
    return matches + [NameMatch(name, "", tensors[name].shape, "ignored") for name in ignored]


def _new(model: NamedModel, matches: list[NameMatch]) -> set[str]:
    """The missing parameters that are drawn: those of the head if the file has none of them.

    The pooler is drawn with the head that stands on it: a model for masked tokens has neither.
    """
    inner = f"{model.base_model_prefix}."
    head = [match for match in matches if not match.parameter.startswith(inner)]
    pooler = [match for match in matches if match.parameter.startswith(f"{inner}pooler.")]
    new: set[str] = set()
    for part in (head, pooler) if model.draws_missing_head else ():
        if any(match.status != "missing" for match in part):
            break
        new |= {match.parameter for match in part}
    return new


def advice(model: NamedModel, matches: list[NameMatch]) -> str:
    """Says which model would read the file if parameters are missing; "" if none are, or none is known."""
    missing = [match.parameter for match in matches if match.status == "missing"]
    inner = f"{model.base_model_prefix}."
    head = [match.parameter for match in matches if match.parameter and not match.parameter.startswith(inner)]
    if missing and all(name.startswith("pooler.") for name in missing):
        return "add_pooling_layer=False makes a model without pooler"
    if missing and missing == head and hasattr(model, model.base_model_prefix):
        return "BertModel is the model without this head"
    return ""


def what_is_new(model: NamedModel, matches: list[NameMatch]) -> str:
    """Says which parameters are drawn anew, because the file has no head; "" if none are."""
    new = [match.parameter for match in matches if match.status == "new"]
    if not new:
        return ""
    return f"there is no head for {type(model).__name__}, which must learn it: {abridged(new)} are drawn anew"


def _parameter_name(name: str, parameters: Mapping[str, object], prefix: str) -> str | None:
    for old, new in ((".gamma", ".weight"), (".beta", ".bias")):
        if name.endswith(f"LayerNorm{old}"):
            name = name.removesuffix(old) + new
    for candidate in (name, f"{prefix}.{name}", name.removeprefix(f"{prefix}.")):
        if candidate in parameters:
            return candidate
    return None
