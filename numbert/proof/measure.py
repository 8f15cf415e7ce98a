"""Choosing the tensors of one check, and measuring their numeric derivatives by a method that suits each."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np

from numbert.errors import InputError
from numbert.nn.array import Array
from numbert.proof.backward import BackwardRun, is_gradient
from numbert.proof.calls import Inputs
from numbert.proof.numeric import (
    Forward,
    central_difference,
    complex_forward,
    complex_step,
    exact_complex_numbers,
    taylor_slope,
)
from numbert.proof.report import GradcheckReport, TensorResult

TOLERANCE = {"complex step": 1e-10, "central differences": 1e-6, "Taylor slope": np.inf}  # the slope decides
HOLOMORPHIC = 1e-4  # how well the two methods agree where both are right


@dataclass
class Tensor:
    """A parameter or input, backward's gradient of it, and the numeric one where it was computed.

    Attributes:
        name: the name in the report.
        data: the values.
        gradient: backward's gradient; zeros if there is none. Its shape may be wrong.
        missing: what the report says if there is no gradient, else "".
        direction: a random unit vector, of data's shape.
        entries: the flat indices of the entries that are compared one by one.
        method: the method of the numeric derivatives, a key of TOLERANCE.
        derivative: a function of (index, v), the numeric derivative along v at data[index].
        wanted: the numeric derivatives at entries.
        wanted_along: the numeric derivative along direction.
        slope: the slope of the Taylor remainder along direction; None if it was not measured.
    """

    name: str
    data: Array
    gradient: Array
    missing: str
    direction: Array
    entries: Array
    method: str = ""
    derivative: Callable[..., float] = field(default=lambda index, v: 0.0)
    wanted: Array = field(default_factory=lambda: np.zeros(0))
    wanted_along: float = 0.0
    slope: float | None = None

    @property
    def well_shaped(self) -> bool:
        """Whether the gradient has data's shape."""
        return self.gradient.shape == self.data.shape

    @property
    def along(self) -> float:
        """The inner product of gradient and direction."""
        return float((self.gradient * self.direction).sum())

    def at(self, entries: Any) -> Array:
        """Computes the numeric derivatives at flat indices."""
        places = (np.unravel_index(entry, self.data.shape) for entry in entries)
        return np.array([self.derivative(place, 1.0) for place in places])


def choose_tensors(
    run: BackwardRun, constants: frozenset[str], max_entries: int, rng: np.random.Generator
) -> list[Tensor]:
    """Chooses the tensors to be checked and their entries; other tensors get a row in the report that says why."""
    forward, chosen = run.forward, []

    def choose(label: str, data: Array, gradient: Any, missing: str) -> None:
        direction = rng.standard_normal(data.shape)
        direction /= np.linalg.norm(direction)
        if is_gradient(gradient):
            gradient, missing = np.asarray(gradient), ""
        else:
            if gradient is not None:
                missing = f"its gradient is no real array but {type(gradient).__name__}"
            gradient = np.zeros_like(data)
        entries = np.zeros(0, int)
        if gradient.shape == data.shape:
            entries = choose_entries(gradient, max_entries, rng)
        chosen.append(Tensor(label, data, gradient, missing, direction, entries))

    def leave_out(label: str, data: Array, why: str) -> None:
        run.report.rows.append(TensorResult(label, data.shape, result=f"not checked: {why}"))

    no_gradient = "backward returns no gradient for it"
    for key in forward.inputs.floats():
        name, data, gradient = forward.inputs.names[key], forward.inputs.values[key], run.of_inputs.get(key)
        if name in constants:
            leave_out(f"input {name}", data, "a constant")
        elif gradient is None and any(word in name.lower() for word in ("mask", "label")):
            leave_out(f"input {name}", data, no_gradient)
        else:
            choose(f"input {name}", data, gradient, no_gradient)
    for place in run.places:
        data = forward.tensors[place.name]
        if place.name in constants:
            leave_out(place.name, data, "a constant")
        elif not place.trainable:
            leave_out(place.name, data, "not trainable")
        else:
            choose(place.name, data, run.of_parameters[place.name], "never received a gradient")
    return chosen


def choose_entries(gradient: Array, most: int, rng: np.random.Generator) -> Array:
    """Chooses flat indices: all, or `most` at random, half of them where the gradient is not 0.

    In the gradient of a table most entries are 0.
    """
    if gradient.size <= most:
        return np.arange(gradient.size)
    not_zero = np.flatnonzero(gradient)
    first = rng.permutation(not_zero)[: most // 2]
    others = rng.permutation(np.setdiff1d(np.arange(gradient.size), first))
    return np.sort(np.concatenate([first, others[: most - len(first)]]))


def measure(
    tensors: list[Tensor], layer: Any, inputs: Inputs, forward: Forward, method: str, report: GradcheckReport
) -> None:
    """Measures the numeric derivatives of tensors by `method`, "complex", "central", "taylor" or "auto".

    `gradcheck` describes the methods.

    Raises:
        InputError: the method is "complex" and forward cannot take complex numbers.
    """
    left = tensors
    if method in ("complex", "auto"):
        checked = {tensor.name for tensor in tensors}
        keys = [key for key in inputs.floats() if f"input {inputs.names[key]}" in checked]
        twin = complex_forward(layer, inputs, keys, forward)
        if isinstance(twin, Forward):
            with exact_complex_numbers():
                for tensor in tensors:
                    fill(tensor, "complex step", partial(complex_step, twin, tensor.name))
            left = [] if method == "complex" else not_holomorphic(tensors, forward)
            if left:
                names = ", ".join(tensor.name for tensor in left)
                report.notes.append(f"no complex step for {names}: forward is not holomorphic in it (abs? real?)")
        elif method == "complex":
            raise InputError(f"method='complex' is not possible: {twin}")
        else:
            report.notes.append(f"no complex step: {twin}")
    for tensor in left:
        if method == "taylor":
            tensor.entries = tensor.entries[:0]
        fill(tensor, "central differences", partial(central_difference, forward, tensor.name))
        if method != "central" and tensor.well_shaped:
            tensor.slope = taylor_slope(forward, tensor.name, tensor.direction, tensor.along)
        if method == "taylor":
            tensor.method = "Taylor slope"


def fill(tensor: Tensor, method: str, derivative: Callable[..., float]) -> None:
    """Measures the numeric derivatives of one tensor at its entries and along its direction."""
    tensor.method, tensor.derivative = method, derivative
    tensor.wanted = tensor.at(tensor.entries)
    tensor.wanted_along = derivative(..., tensor.direction)


def not_holomorphic(tensors: list[Tensor], forward: Forward) -> list[Tensor]:
    """Returns the tensors whose complex step along direction is not the derivative that central differences find.

    Several steps are tried, because the usual one is too long where forward bends sharply or near a kink.
    """
    floor = 1e-3 * max((abs(tensor.wanted_along) for tensor in tensors), default=0.0)

    def confirmed(tensor: Tensor) -> bool:
        for factor in (1, 1e-1, 1e-2, 1e-3):
            real = central_difference(forward, tensor.name, ..., tensor.direction, factor)
            if abs(tensor.wanted_along - real) <= HOLOMORPHIC * max(abs(tensor.wanted_along), abs(real), floor):
                return True
        return False

    return [tensor for tensor in tensors if not confirmed(tensor)]
