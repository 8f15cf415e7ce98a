"""Which layer inside a wrong layer is wrong by itself."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from numbert.proof.calls import Inputs, forward_of
from numbert.proof.report import GradcheckReport
from numbert.proof.tensors import copied, walk


def wrong_inside(
    layer: Any, inputs: Inputs, check: Callable[[Any, Inputs], GradcheckReport]
) -> tuple[dict[str, GradcheckReport], int]:
    """Checks each layer inside, from the innermost outwards, with what it got in one forward of the whole.

    Returns:
        Those that fail by themselves though all layers inside them are right, {dotted name: report}; and how many
        are right.
    """
    layer = copied(layer, np.float64)
    calls: dict[str, tuple[Any, Inputs]] = {}
    parts = [(name, part) for name, part in walk(layer) if name and _is_layer(part)]
    for name, part in parts:
        vars(part)["forward"] = _recording(name, part, calls)
    inputs.converted(np.float64, inputs.floats()).call(forward_of(layer))
    for _, part in parts:
        del vars(part)["forward"]

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


def _recording(name: str, part: Any, calls: dict[str, tuple[Any, Inputs]]) -> Callable[..., Any]:
    forward = part.forward

    def record(*args: Any, **kwargs: Any) -> Any:
        calls.setdefault(name, (part, Inputs.of(forward, args, kwargs).copied()))
        return forward(*args, **kwargs)

    return record
