"""What is watched in a model while it trains: the norms of its gradients, and whether all is finite."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from numbert.nn.module import Module


def without_gradient(model: Module) -> list[str]:
    """The names of the trainable parameters that no backward has reached."""
    return [name for name, parameter in model.named_parameters() if parameter.trainable and parameter.grad is None]


def gradient_norms(model: Module, section: Callable[[str], str]) -> dict[str, float]:
    """The Euclidean norm of the gradient of each part of a model, in the order of its parameters.

    Args:
        model: every trainable parameter of it has a gradient.
        section: gives the name of a parameter's part for the parameter's name.
    """
    squares: dict[str, float] = {}
    for name, parameter in model.named_parameters():
        if parameter.trainable:
            part = section(name)
            gradient = np.asarray(parameter.grad, np.float64).reshape(-1)  # the square can be beyond float32
            squares[part] = squares.get(part, 0.0) + float(gradient @ gradient)
    return {part: math.sqrt(square) for part, square in squares.items()}


def is_finite(model: Module) -> bool:
    """Whether no weight is infinite or not a number."""
    return all(np.isfinite(parameter.data).all() for parameter in model.parameters())


def first_not_finite(model: Module) -> str:
    """Names where a model is no longer finite, for a message.

    That is the first parameter, in the order of the model, with a value that is infinite or not a number; else the
    last one with such a gradient, which backward comes to first; else the one with the largest value.
    """
    parameters = list(model.named_parameters())
    for name, parameter in parameters:
        if not np.isfinite(parameter.data).all():
            return name
    for name, parameter in reversed(parameters):
        if parameter.grad is not None and not np.isfinite(parameter.grad).all():
            return f"the gradient of {name}"
    largest, name = max((float(np.abs(parameter.data).max(initial=0.0)), name) for name, parameter in parameters)
    return f"no parameter (the largest value, {largest:.3g}, is in {name})"
