"""One call of a layer: its inputs, the outputs whose gradients backward takes, the gradients that it returns."""

from __future__ import annotations

import dataclasses
import inspect
import itertools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import DTypeLike

from numbert.errors import InputError
from numbert.nn.array import Array
from numbert.nn.module import Module

POSITIONAL = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)


def forward_of(layer: Any) -> Callable[..., Any]:
    """Returns the method that computes: `forward`, or else the layer itself.

    Raises:
        InputError: the layer has no backward, or neither has a forward nor can be called.
    """
    forward = getattr(layer, "forward", layer)
    if not callable(forward) or not callable(getattr(layer, "backward", None)):
        raise InputError(f"gradcheck takes a layer with forward and backward, got {type(layer).__name__}")
    return forward


def call_of(layer: Any) -> Callable[..., Any]:
    """Returns what runs the layer: a `Module` itself, so that hooks see the call, or else its `forward_of`."""
    return layer if isinstance(layer, Module) else forward_of(layer)


@dataclass
class Inputs:
    """The arguments of one forward.

    Attributes:
        values: the arguments in forward's order, under the keys 0, 1, ... or a keyword.
        names: forward's name for each argument, under the same keys.
    """

    values: dict[int | str, Any]
    names: dict[int | str, str]

    @classmethod
    def of(cls, forward: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Self:
        """Makes them of the arguments of a call.

        Raises:
            InputError: forward does not take these arguments, or one of them is complex.
        """
        signature = inspect.signature(forward)
        try:
            signature.bind(*args, **kwargs)
        except TypeError as error:
            raise InputError(f"forward does not take these inputs: {error}") from None
        positional = [name for name, p in signature.parameters.items() if p.kind in POSITIONAL]
        rest = [f"inputs[{index}]" for index in range(len(positional), len(args))]
        names: dict[int | str, str] = dict(enumerate((positional + rest)[: len(args)]))
        order = list(signature.parameters)
        for keyword in sorted(kwargs, key=lambda k: order.index(k) if k in order else len(order)):
            names[keyword] = keyword
        values = {key: args[key] if isinstance(key, int) else kwargs[key] for key in names}
        for key, value in values.items():
            if isinstance(value, np.ndarray) and value.dtype.kind == "c":
                raise InputError(f"{names[key]} is complex; gradcheck takes real inputs")
        return cls(values, names)

    def floats(self) -> list[int | str]:
        """Returns the keys of the inputs that are floating arrays; all other inputs are fixed."""
        arrays = [key for key, value in self.values.items() if isinstance(value, np.ndarray) and value.size]
        return [key for key in arrays if self.values[key].dtype.kind == "f"]

    def copied(self) -> Inputs:
        """Returns the inputs with copies of the arrays."""
        arrays = {key: value.copy() for key, value in self.values.items() if isinstance(value, np.ndarray)}
        return Inputs(self.values | arrays, self.names)

    def converted(self, dtype: DTypeLike, keys: list[int | str]) -> Inputs:
        """Returns a copy with the floating inputs of `keys` in dtype, and the other floating inputs in float64."""
        new = {key: self.values[key].astype(dtype if key in keys else np.float64) for key in self.floats()}
        return Inputs(self.copied().values | new, self.names)

    def call(self, forward: Callable[..., Any]) -> Any:
        """Calls forward with the inputs."""
        args = [value for key, value in self.values.items() if isinstance(key, int)]
        return forward(*args, **{key: value for key, value in self.values.items() if isinstance(key, str)})


def named_outputs(result: Any) -> dict[str, Array]:
    """Returns the floating arrays that forward returned: by name from a dict or dataclass, else by place."""
    if hasattr(result, "items"):
        pairs = list(result.items())
    elif dataclasses.is_dataclass(result):
        pairs = [(field.name, getattr(result, field.name)) for field in dataclasses.fields(result)]
    elif isinstance(result, tuple | list):
        pairs = [(f"output[{index}]", value) for index, value in enumerate(result)]
    else:
        pairs = [("output", result)]
    numeric = (np.ndarray, np.inexact, float)
    return {
        name: np.asarray(value)
        for name, value in pairs
        if isinstance(value, numeric) and np.asarray(value).dtype.kind in "fc"
    }


def gradients_taken(layer: Any, result: Any) -> dict[str, int | str | None]:
    """Finds the outputs whose gradients backward takes: {output: its place among the arguments, or its keyword}.

    Gradients are passed by keyword if forward names its outputs and backward calls the gradient of `x` `d_x`.
    Otherwise they are passed in order: one for each required argument of backward, and one for each optional
    argument that looks like a gradient (`d_x`, or `dx=None`, `grad=None`). A backward that takes none starts from
    the first output, a scalar, by itself: {output: None}.

    Raises:
        InputError: the arguments of backward do not show which gradients it takes.
    """
    name, outputs = type(layer).__name__, named_outputs(result)
    arguments = list(inspect.signature(layer.backward).parameters.values())
    required = [p.name for p in arguments if p.kind in POSITIONAL and p.default is p.empty]
    optional = [p.name for p in arguments if p.name.startswith("d_") or (p.default is None and p.name[0] in "dg")]
    optional = [argument for argument in optional if argument not in required]
    if not required and getattr(result, "loss", 0) is None:
        raise InputError(f"the forward of {name} gives no loss without labels, and its backward needs one")
    by_keyword: dict[str, int | str | None] = {
        keyword[2:]: keyword
        for keyword in required + optional
        if keyword.startswith("d_") and keyword[2:] in outputs
    }
    if by_keyword and set(required) <= set(by_keyword.values()):
        return by_keyword
    if len(required) > len(outputs) or not outputs:
        raise InputError(
            f"{name}.backward takes {', '.join(required) or 'nothing'}, and forward returns "
            f"{', '.join(outputs) or 'no floating array'}: gradcheck cannot tell which gradient is whose"
        )
    count = len(required) + len(optional)
    if any(p.kind is p.VAR_POSITIONAL for p in arguments):
        count = len(outputs)
    if count:
        return {output: index for index, output in enumerate(list(outputs)[:count])}
    first = next(iter(outputs))
    if outputs[first].size != 1:
        raise InputError(f"{name}.backward takes no gradient, and the first output of forward is no scalar")
    return {first: None}


def match_gradients(returned: Any, inputs: Inputs) -> tuple[dict[int | str, Any], str | None]:
    """Matches what backward returned with the inputs: {key of an input: its gradient}, and a problem or None.

    Backward may return one array, a tuple or list with one for each input or for each floating input, or fewer, in
    forward's order: then each belongs to the next floating input that it fits. It may also return a dict under the
    inputs' names. If there is no floating input, what it returns does not matter.
    """
    floats = inputs.floats()
    if isinstance(returned, dict):
        return {key: returned[inputs.names[key]] for key in floats if inputs.names[key] in returned}, None
    gradients = list(returned) if isinstance(returned, tuple | list) else [returned]
    if len(gradients) == len(inputs.values):
        return dict(zip(inputs.values, gradients, strict=True)), None
    while gradients and gradients[-1] is None:
        gradients.pop()
    if not floats:
        return {}, None
    if len(gradients) > len(floats):
        problem = f"backward returns {len(gradients)} gradients, for {len(floats)} floating inputs"
        return dict(zip(floats, gradients, strict=False)), problem

    def fits(keys: tuple[int | str, ...]) -> bool:
        pairs = zip(keys, gradients, strict=True)
        return all(g is None or np.shape(g) == np.shape(inputs.values[key]) for key, g in pairs)

    choices = list(itertools.combinations(floats, len(gradients)))
    chosen = next((keys for keys in choices if fits(keys)), choices[0])
    return dict(zip(chosen, gradients, strict=True)), None
