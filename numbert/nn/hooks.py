"""Hooks: functions that watch a layer's outputs and gradients, and may replace them.

A layer without hooks knows nothing of them: `Module.__call__` asks for one attribute, and backward is the class's
own. The first hook puts a `Hooks` into the layer and `watched_backward` in the place of its backward; with the
last one both are gone.
"""

from __future__ import annotations

import inspect
import threading
import types
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Literal, Self

Kind = Literal["forward", "backward_pre", "backward"]


class Hooks:
    """The hooks of one layer, of each kind in the order in which they were registered."""

    def __init__(self) -> None:
        self.forward: dict[int, Callable[..., Any]] = {}
        self.backward_pre: dict[int, Callable[..., Any]] = {}
        self.backward: dict[int, Callable[..., Any]] = {}
        self.number = 0  # of the next hook
        self.inside: set[tuple[str, int]] = set()  # the calls that are running, by thread

    @contextmanager
    def outermost(self, what: str) -> Iterator[bool]:
        """Whether this call is not made from within another one of the same layer, in this thread."""
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
    """What registering a hook returns: `remove()` takes the hook off, and so does the end of a `with` block."""

    def __init__(self, module: Any, kind: Kind, number: int) -> None:
        self._module, self._kind, self._number = module, kind, number

    def remove(self) -> None:
        """Takes the hook off. A second time it does nothing."""
        hooks: Hooks | None = self._module.hooks
        if hooks is None:
            return
        getattr(hooks, self._kind).pop(self._number, None)
        if not (hooks.forward or hooks.backward_pre or hooks.backward):
            del vars(self._module)["hooks"], vars(self._module)["backward"]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.remove()


def register(module: Any, kind: Kind, hook: Callable[..., Any]) -> Handle:
    """Adds a hook of that kind to a layer."""
    if module.hooks is None:
        vars(module)["hooks"] = Hooks()
        # A bound method, so that a deep copy of the layer has one of its own.
        vars(module)["backward"] = types.MethodType(watched_backward, module)
    hooks: Hooks = module.hooks
    number, hooks.number = hooks.number, hooks.number + 1
    getattr(hooks, kind)[number] = hook
    return Handle(module, kind, number)


def watched_forward(module: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """The layer's forward, and then its forward hooks, each of which sees what the one before it left."""
    hooks: Hooks = module.hooks
    with hooks.outermost("forward") as outermost:
        output = module.forward(*args, **kwargs)
        if outermost and hooks.forward:
            inputs = tuple(_bound(module.forward, args, kwargs).arguments.values())
            for hook in list(hooks.forward.values()):
                replacement = hook(module, inputs, output)
                output = output if replacement is None else replacement
    return output


def watched_backward(module: Any, *args: Any, **kwargs: Any) -> Any:
    """The pre-hooks, the class's backward, and the backward hooks."""
    hooks: Hooks = module.hooks
    backward = types.MethodType(type(module).backward, module)
    with hooks.outermost("backward") as outermost:
        if not outermost:
            return backward(*args, **kwargs)
        bound = _bound(backward, args, kwargs)
        d_outputs = tuple(bound.arguments.values())
        for hook in list(hooks.backward_pre.values()):
            replacement = hook(module, d_outputs)
            if replacement is not None:
                if not isinstance(replacement, tuple) or len(replacement) != len(d_outputs):
                    raise TypeError(
                        f"a backward pre-hook of {type(module).__name__} must return None or a tuple of "
                        f"{len(d_outputs)}, as it was given; it returned {type(replacement).__name__}"
                    )
                d_outputs = replacement
        bound.arguments.update(zip(bound.arguments, d_outputs, strict=True))
        d_inputs = backward(*bound.args, **bound.kwargs)
        for hook in list(hooks.backward.values()):
            replacement = hook(module, d_outputs, d_inputs)
            d_inputs = d_inputs if replacement is None else replacement
    return d_inputs


def _bound(function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> inspect.BoundArguments:
    """The arguments of a call in the function's order, with the defaults of those that were not given."""
    bound = inspect.signature(function).bind(*args, **kwargs)
    bound.apply_defaults()
    return bound
