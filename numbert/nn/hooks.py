"""Hooks: functions that watch a layer's outputs and gradients, and may replace them.

A layer without hooks pays next to nothing for them: `Module.__call__` looks at one attribute, and backward is the
class's own. The first hook that is registered puts a `Hooks` into the layer, and `watched_backward` in the place
of its backward; when the last hook is removed, both are taken out again.
"""

from __future__ import annotations

import inspect
import threading
import types
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Literal, Self

import numpy as np

from numbert.errors import InputError

Kind = Literal["forward", "backward_pre", "backward"]


class Hooks:
    """The hooks of one layer, of each kind in the order in which they were registered."""

    def __init__(self, own_backward: Callable[..., Any] | None) -> None:
        self.own_backward = own_backward  # the layer's, where it is not the class's
        self.forward: dict[int, Callable[..., Any]] = {}
        self.backward_pre: dict[int, Callable[..., Any]] = {}
        self.backward: dict[int, Callable[..., Any]] = {}
        self.number = 0  # of the next hook
        self.inside: set[tuple[str, int]] = set()  # the calls that are running, by thread

    @contextmanager
    def outermost(self, what: str) -> Iterator[bool]:
        """Yields whether the call is an outermost one: not made within a call of the same layer and thread."""
        call = (what, threading.get_ident())
        if call in self.inside:
            yield False
            return
        self.inside.add(call)
        try:
            yield True
        finally:
            self.inside.remove(call)


class Handle:
    """What registering a hook returns. `remove()` removes the hook, and so does the end of a `with` block."""

    def __init__(self, module: Any, kind: Kind, number: int) -> None:
        self._module, self._kind, self._number = module, kind, number

    def remove(self) -> None:
        """Removes the hook. A second call does nothing."""
        hooks: Hooks | None = self._module.hooks
        if hooks is None:
            return
        getattr(hooks, self._kind).pop(self._number, None)
        if not (hooks.forward or hooks.backward_pre or hooks.backward):
            del vars(self._module)["hooks"], vars(self._module)["backward"]
            if hooks.own_backward is not None:
                vars(self._module)["backward"] = hooks.own_backward

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.remove()


def register(module: Any, kind: Kind, hook: Callable[..., Any]) -> Handle:
    """Adds a hook of one kind to a layer and returns its handle."""
    if not callable(hook):
        raise InputError(f"a hook of {type(module).__name__} is {hook!r}; it must be a function")
    if module.hooks is None:
        vars(module)["hooks"] = Hooks(vars(module).get("backward"))
        # A bound method, so that a deep copy of the layer has one of its own.
        vars(module)["backward"] = types.MethodType(watched_backward, module)
    hooks: Hooks = module.hooks
    number, hooks.number = hooks.number, hooks.number + 1
    getattr(hooks, kind)[number] = hook
    return Handle(module, kind, number)


def watched_forward(module: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Runs the layer's forward and then its forward hooks, each of which sees what the hook before it left."""
    hooks: Hooks = module.hooks
    with hooks.outermost("forward") as outermost:
        output = module.forward(*args, **kwargs)
        if outermost and hooks.forward:
            inputs = _in_order(module.forward, args, kwargs)
            for hook in list(hooks.forward.values()):
                replacement = hook(module, inputs, output)
                output = output if replacement is None else replacement
    return output


def watched_backward(module: Any, *args: Any, **kwargs: Any) -> Any:
    """Runs the backward pre-hooks, the class's backward, and the backward hooks.

    Raises:
        TypeError: a pre-hook returned something other than None or a tuple of as many gradients as it was given.
    """
    hooks: Hooks = module.hooks
    backward = hooks.own_backward or types.MethodType(type(module).backward, module)
    with hooks.outermost("backward") as outermost:
        if not outermost:
            return backward(*args, **kwargs)
        d_outputs = _in_order(backward, args, kwargs)
        for hook in list(hooks.backward_pre.values()):
            replacement = hook(module, d_outputs)
            if replacement is not None:
                if not isinstance(replacement, tuple) or len(replacement) != len(d_outputs):
                    raise TypeError(
                        f"a backward pre-hook of {type(module).__name__} must return None or a tuple of "
                        f"{len(d_outputs)}, as it was given; it returned {type(replacement).__name__}"
                    )
                d_outputs = replacement
        args, kwargs = as_call(backward, d_outputs)
        d_inputs = backward(*args, **kwargs)
        for hook in list(hooks.backward.values()):
            replacement = hook(module, d_outputs, d_inputs)
            d_inputs = d_inputs if replacement is None else replacement
        # The caller may write into what it gets, and a hook may have kept what it saw or gave.
        return copied(d_inputs) if hooks.backward else d_inputs


def copied(d_inputs: Any) -> Any:
    """What a backward returns, an array or a tuple or dict of arrays, with each array copied."""
    if isinstance(d_inputs, dict):
        return {key: copied(value) for key, value in d_inputs.items()}
    if isinstance(d_inputs, tuple):
        return tuple(map(copied, d_inputs))
    return d_inputs.copy() if isinstance(d_inputs, np.ndarray) else d_inputs


def _in_order(function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Any, ...]:
    """Returns the arguments of a call in the function's order, with the defaults of those that were not given."""
    bound = inspect.signature(function).bind(*args, **kwargs)
    bound.apply_defaults()
    return tuple(bound.arguments.values())


def as_call(function: Callable[..., Any], inputs: tuple[Any, ...]) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Returns the positional and keyword arguments of a call, from the arguments that a hook was shown.

    Args:
        function: the layer's forward or backward.
        inputs: every argument of the call, in the function's order, as a hook gets them.
    """
    signature = inspect.signature(function)
    bound = inspect.BoundArguments(signature, OrderedDict(zip(signature.parameters, inputs, strict=True)))
    return bound.args, bound.kwargs
