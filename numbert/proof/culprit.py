"""Finding the layers inside a wrong layer that are wrong by themselves."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from numbert.nn.hooks import as_call
from numbert.nn.module import Module
from numbert.proof.calls import Inputs, call_of
from numbert.proof.report import GradcheckReport
from numbert.proof.tensors import copied, walk


def wrong_inside(
    layer: Any, inputs: Inputs, check: Callable[[Any, Inputs], GradcheckReport]
) -> tuple[dict[str, GradcheckReport], int]:
    """Checks each layer inside, from the innermost outwards, with the inputs it had in one forward of the whole.

    Returns:
        the reports of the layers that fail although all layers inside them are right, by dotted name; and how many
        layers are right.
    """
    layer = copied(layer, np.float64)
    calls: dict[str, tuple[Any, Inputs]] = {}
    parts = [(name, part) for name, part in walk(layer) if name and _is_layer(part)]
    with contextlib.ExitStack() as stack:
        for name, part in parts:
            stack.enter_context(_recorded(name, part, calls))
        inputs.converted(np.float64, inputs.floats()).call(call_of(layer))

    wrong: dict[str, GradcheckReport] = {}
    right = 0
    for name in sorted(calls, key=lambda name: -name.count(".")):
        if any(inner.startswith(f"{name}.") for inner in wrong):
            continue
        try:
            report = check(*calls[name])
        except Exception:  # it takes nothing to differentiate, or cannot be called alone
            continue
        if report.ok:
            right += 1
        else:
            wrong[name] = report
    return wrong, right


def _is_layer(part: Any) -> bool:
    methods = (getattr(part, "forward", None), getattr(part, "backward", None))
    return hasattr(part, "__dict__") and not isinstance(part, type) and all(map(callable, methods))


@contextlib.contextmanager
def _recorded(name: str, part: Any, calls: dict[str, tuple[Any, Inputs]]) -> Iterator[None]:
    """Within it, the arguments of the part's first call are kept: by a hook, or of a plain class by a patch."""
    forward = part.forward

    def keep(*args: Any, **kwargs: Any) -> None:
        calls.setdefault(name, (part, Inputs.of(forward, args, kwargs).copied()))

    if isinstance(part, Module):

        def watch(module: Any, inputs: tuple[Any, ...], output: Any) -> None:
            args, kwargs = as_call(forward, inputs)
            keep(*args, **kwargs)

        with part.register_forward_hook(watch):
            yield
        return

    def recording(*args: Any, **kwargs: Any) -> Any:
        keep(*args, **kwargs)
        return forward(*args, **kwargs)

    vars(part)["forward"] = recording
    try:
        yield
    finally:
        del vars(part)["forward"]
