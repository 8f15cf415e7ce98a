"""Finding the parameters of a layer through its attributes, and the places of their gradients."""

from __future__ import annotations

import copy
import numbers
import types
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from numbert.errors import InputError
from numbert.nn.array import Array
from numbert.nn.layers import Embedding
from numbert.nn.module import Module, Parameter

# What has no parameters inside.
OPAQUE = (
    str,
    bytes,
    numbers.Number,
    type,
    np.ndarray,
    np.generic,
    np.dtype,
    np.random.Generator,
    np.random.RandomState,
    types.ModuleType,
    types.FunctionType,
    types.BuiltinFunctionType,
    types.MethodType,
)


@dataclass
class Place:
    """Where a layer keeps one parameter.

    Attributes:
        name: the dotted name, as in `named_parameters()`.
        data: the values.
        adds: whether it is a numbert Parameter, to whose grad every backward adds.
        now: a function that returns what the layer holds in this place now.
        homes: functions, each of which returns the gradient in one place where a convention puts it, or None.
        trainable: False for a numbert Parameter that stays as it is.
    """

    name: str
    data: Array
    adds: bool
    now: Callable[[], Any]
    homes: list[Callable[[], Any]]
    trainable: bool = True

    def gradient(self) -> Any:
        """Returns the gradient that backward left, or None."""
        return next((found for home in self.homes if (found := home()) is not None), None)


def parameters(layer: Any) -> list[Place]:
    """Finds the parameters of a layer and the layers inside it, each once, in the order of `named_parameters()`.

    A parameter is a `Parameter`, or any object with `data` and `grad`. In a class that is no `Module`, it is also
    any floating array that is an attribute, or is in a list or dict that is an attribute. The gradient of such an
    array `w` may be in `dw`, `d_w`, `w_grad`, `grad_w`, `grads["w"]` or `gradients["w"]` (also under "dw" and
    "d_w"); that of `params["w"]` or `params[0]` also in `grads` or `gradients` under the same key.
    """
    places: dict[int, Place] = {}
    for name, value in walk(layer):
        found: list[Place] = []
        if is_parameter(value):
            trainable = getattr(value, "trainable", True)
            found = [Place(name, value.data, isinstance(value, Parameter), *_getters(value), trainable)]
        elif not isinstance(value, Module | dict | list | tuple):
            found = list(_plain_arrays(name, value))
        for place in found:
            # One array under two names is one parameter; its gradient may be at home under either.
            places.setdefault(id(place.data), place).homes.extend(place.homes)
    return list(places.values())


def is_parameter(value: Any) -> bool:
    """Whether an object has `grad`, and an array as its `data`."""
    return hasattr(value, "grad") and isinstance(getattr(value, "data", None), np.ndarray)


def _getters(parameter: Any) -> tuple[Callable[[], Any], list[Callable[[], Any]]]:
    return partial(getattr, parameter, "data"), [partial(getattr, parameter, "grad")]


def _plain_arrays(prefix: str, owner: Any) -> Iterator[Place]:
    own = _attributes(owner)
    gradients = {home for name in own for home in _homes(name)} | {"grads", "gradients"}
    for name, value in own.items():
        if name in gradients:
            continue
        for keys, array in _arrays_in(value):
            homes: list[Callable[[], Any]] = [partial(_at, owner, home, keys) for home in _homes(name)]
            *path, last = keys or (name,)
            for home in ("grads", "gradients"):
                for key in (last, f"d{last}", f"d_{last}"):
                    homes.append(partial(_at, owner, home, (*path, key)))
            full = ".".join(str(part) for part in (prefix, name, *keys) if part != "")
            yield Place(full, array, False, partial(_at, owner, name, keys), homes)


def _homes(name: str) -> tuple[str, ...]:
    return f"d{name}", f"d_{name}", f"{name}_grad", f"grad_{name}"


def _arrays_in(value: Any, keys: tuple[Any, ...] = ()) -> Iterator[tuple[tuple[Any, ...], Array]]:
    if isinstance(value, np.ndarray):
        if value.dtype.kind in "fc" and value.size:
            yield keys, value
    elif isinstance(value, dict | list | tuple):
        for key, item in value.items() if isinstance(value, dict) else enumerate(value):
            yield from _arrays_in(item, (*keys, key))


def _at(owner: Any, name: str, keys: tuple[Any, ...]) -> Any:
    value: Any = getattr(owner, name, None)
    try:
        for key in keys:
            value = value[key]
    except (KeyError, IndexError, TypeError):
        return None
    return value


# --- the tree of attributes --------------------------------------------------------------------------------------


def walk(value: Any, name: str = "", seen: set[int] | None = None) -> Iterator[tuple[str, Any]]:
    """Yields all that can be reached from value through attributes, dicts, lists and tuples, with its dotted name.

    Each object comes once, parameters before sub-layers, as in `Module.named_parameters`.
    """
    seen = set() if seen is None else seen
    seen.add(id(value))
    yield name, value
    if isinstance(value, dict):
        members = [(str(key), item) for key, item in value.items()]
    elif isinstance(value, list | tuple):
        members = [(str(index), item) for index, item in enumerate(value)]
    else:
        members = list(_attributes(value).items())
    for key, item in sorted(members, key=lambda member: not is_parameter(member[1])):
        if item is not None and id(item) not in seen:
            yield from walk(item, f"{name}.{key}" if name else key, seen)


def _attributes(value: Any) -> dict[str, Any]:
    if isinstance(value, OPAQUE):
        return {}
    slots = [slot for cls in type(value).__mro__ for slot in getattr(cls, "__slots__", ())]
    found = {slot: getattr(value, slot) for slot in slots if hasattr(value, slot)}
    found.update(getattr(value, "__dict__", {}))
    if isinstance(value, Module):
        for name in ("saved", "hooks"):
            found.pop(name, None)
    return found


# --- copies ------------------------------------------------------------------------------------------------------


class LooseParameter(Parameter):
    """A parameter that takes a gradient of any shape, so that a wrong one can be reported by its name."""

    __slots__ = ()

    def add_grad(self, gradient: Array, owned: bool = False) -> None:
        if gradient.shape == self.data.shape or not self.trainable:
            super().add_grad(gradient, owned)
        else:
            self.grad = gradient


def copied(layer: Any, dtype: DTypeLike) -> Any:
    """Copies a layer, with parameters in dtype, other floating arrays in float64, and all gradients 0 or None.

    Raises:
        InputError: a parameter is complex, or the layer holds something that cannot be copied, such as an open
            file.
    """
    for place in parameters(layer):
        if place.data.dtype.kind != "f":
            raise InputError(f"{place.name} is {place.data.dtype}; give a layer in float32 or float64")
    learned = {id(place.data) for place in parameters(layer)}
    memo: dict[int, Any] = {}  # what deepcopy is to put in the place of each object
    for _, value in walk(layer):
        if isinstance(value, np.ndarray) and value.dtype.kind == "f":
            memo.setdefault(id(value), value.astype(dtype if id(value) in learned else np.float64))
        elif isinstance(value, Parameter):
            data = memo.setdefault(id(value.data), value.data.astype(dtype))
            memo[id(value)] = LooseParameter(data, value.trainable)
    try:
        layer = copy.deepcopy(layer, memo)
    except TypeError as error:
        raise InputError(f"gradcheck works on copies of the layer, which cannot be copied: {error}") from None
    for _, value in walk(layer):
        if isinstance(value, Module):
            value.saved = None
    for place in parameters(layer):
        for gradient in (home() for home in place.homes):
            if isinstance(gradient, np.ndarray):
                gradient[...] = 0
    return layer


def replay(layer: Any) -> Callable[[], None]:
    """Returns a function that sets every random generator in the layer back to its present state."""
    generators = [value for _, value in walk(layer) if isinstance(value, np.random.Generator)]
    legacy = [value for _, value in walk(layer) if isinstance(value, np.random.RandomState)]
    states = [generator.bit_generator.state for generator in generators]
    legacy_states = [old.get_state(legacy=False) for old in legacy]

    def restore() -> None:
        for generator, state in zip(generators, states, strict=True):
            generator.bit_generator.state = state
        for old, old_state in zip(legacy, legacy_states, strict=True):
            old.set_state(old_state)

    return restore


def hold_padding_rows(layer: Any) -> list[str]:
    """Makes the [PAD] row a constant where an Embedding looks it up; returns the names of those embeddings.

    This follows the contract of `Embedding`, by which that row gets no gradient from lookups. A decoder that
    shares the table still depends on the row and must still return its gradient.
    """
    names = []
    for name, value in walk(layer):
        if isinstance(value, Embedding) and value.padding_idx is not None:
            row = value.weight.data[value.padding_idx].copy()
            value.register_forward_hook(partial(_with_constant_padding, row))
            names.append(name or type(value).__name__)
    return names


def _with_constant_padding(row: Array, module: Any, inputs: tuple[Any, ...], output: Array) -> Array:
    """A forward hook that puts the [PAD] row as it was into the looked-up rows."""
    ids = inputs[0]
    return np.where((ids == module.padding_idx)[..., None], row, output)
