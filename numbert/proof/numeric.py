"""Derivatives of forward from forward alone: by a complex step, by central differences, by a Taylor slope.

All three differentiate L, the sum over outputs of <output, upstream gradient>, along a direction v.

- Complex step: f(x + ihv) = f(x) + ih f'(x) v - h^2 ..., so Im f(x + ihv) / h is the derivative up to h^2, and
  with h = 1e-20 right to the last digits: nothing is subtracted, so nothing cancels (Squire & Trapp 1998,
  doi:10.1137/S003614459631241X). It needs a forward that is holomorphic: abs or real in it give a wrong answer.
- Central differences: (f(x + hv) - f(x - hv)) / 2h, with errors of h^2 and of the rounding of f divided by h:
  about eight digits are right.
- Taylor slope: with the right gradient g the remainder |f(x + hv) - f(x) - h <g,v>| falls as h^2, with a wrong one
  as h. The slope of its logarithm tells which.
"""

from __future__ import annotations

import copy
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from numbert.nn.array import Array
from numbert.proof.calls import Inputs, call_of, named_outputs
from numbert.proof.tensors import copied, hold_padding_rows, parameters

COMPLEX_STEP = 1e-20
CENTRAL_STEP = 6e-6  # the cube root of the rounding error, where both errors are least
IMMOVABLE = 1e30  # in float64 no step of a moderate size moves such a number, a masked score for one
TAYLOR_STEPS = np.logspace(-3, -5, 9)


class Forward:
    """L as a function of the parameters and inputs of a layer.

    Every evaluation runs on a fresh copy of the layer with its generators in their first state: dropout repeats
    its draws, and nothing is left over from the evaluation before.

    Attributes:
        tensors: the tensors that can be moved, by name: every parameter, and the inputs in `keys` as
            "input NAME".
        upstream: the gradient of L with respect to each output, by name.
        held: names of the embeddings whose [PAD] row is a constant (see `hold_padding_rows`).
    """

    def __init__(self, layer: Any, inputs: Inputs, dtype: DTypeLike, keys: list[int | str]) -> None:
        self.layer = copied(layer, dtype)
        self.inputs = inputs.converted(dtype, keys)
        places = parameters(self.layer)
        self.tensors = {f"input {inputs.names[key]}": self.inputs.values[key] for key in keys}
        self.tensors |= {place.name: place.data for place in places}
        self.upstream: dict[str, Array] = {}
        self.held = hold_padding_rows(self.layer)
        # Parameters need no copy: that forward leaves them alone is checked.
        self.shared = {id(place.data): place.data for place in places}
        self.global_state = np.random.get_state()  # noqa: NPY002 (a student's layer may draw from it)

    def fresh_layer(self) -> Any:
        """Returns a new copy of the layer, which shares the parameters' arrays."""
        np.random.set_state(self.global_state)  # noqa: NPY002
        return copy.deepcopy(self.layer, dict(self.shared))

    def result(self) -> Any:
        """Runs forward and returns what it returns."""
        return self.inputs.copied().call(call_of(self.fresh_layer()))

    def outputs(self) -> dict[str, Array]:
        """Runs forward and returns copies of its outputs, because a layer may reuse one array for them."""
        return {name: array.copy() for name, array in named_outputs(self.result()).items()}

    def moved(self, name: str, index: Any, step: Any) -> dict[str, Array]:
        """Returns the outputs with `step` added to tensor[index]."""
        tensor = self.tensors[name]
        before = tensor[index].copy()
        tensor[index] = before + step
        try:
            return self.outputs()
        finally:
            tensor[index] = before

    def sum_of(self, terms: dict[str, Array]) -> float:
        """Returns the sum over outputs of <term, upstream gradient>."""
        return float(sum((terms[name] * upstream).sum() for name, upstream in self.upstream.items()))


def complex_step(forward: Forward, name: str, index: Any = ..., v: Any = 1.0) -> float:
    """Computes the derivative of L along v at tensor[index] by a complex step; forward is in complex128."""
    outputs = forward.moved(name, index, 1j * COMPLEX_STEP * v)
    return forward.sum_of({name: output.imag for name, output in outputs.items()}) / COMPLEX_STEP


def central_difference(forward: Forward, name: str, index: Any = ..., v: Any = 1.0, factor: float = 1.0) -> float:
    """Computes the derivative of L along v at tensor[index] by a central difference; forward is in float64.

    Args:
        factor: the step is the usual one times this.
    """
    # In proportion to the numbers it moves, but not to the smallest, whose derivative may be moderate, nor to
    # those that no step moves.
    tensor = forward.tensors[name]
    moderate = tensor[np.abs(tensor) < IMMOVABLE]
    h = factor * CENTRAL_STEP * max(0.1, float(np.sqrt(np.mean(moderate**2))) if moderate.size else 0.0)
    above, below = forward.moved(name, index, h * v), forward.moved(name, index, -h * v)
    # The difference first, then the sum: large outputs cancel before they are added up.
    return forward.sum_of({name: above[name] - below[name] for name in forward.upstream}) / (2 * h)


def taylor_slope(forward: Forward, name: str, v: Array, along: float) -> float:
    """Computes the slope of log(remainder) against log(h): 2 for a right gradient, 1 for a wrong one.

    It is infinite if nothing but rounding is left of the remainder.

    Args:
        v: a direction over the whole tensor.
        along: <g,v>, where g is the gradient to judge.
    """
    start = forward.outputs()
    size = max(float(np.abs(start[output] * d_output).sum()) for output, d_output in forward.upstream.items())
    points = []
    for h in TAYLOR_STEPS:
        moved = forward.moved(name, ..., h * v)
        change = forward.sum_of({output: moved[output] - start[output] for output in forward.upstream})
        remainder = abs(change - h * along)
        if remainder > 1e-13 * max(size, abs(along)):  # above what rounding leaves
            points.append((np.log(h), np.log(remainder)))
    if len(points) < 3:
        return np.inf
    log_h, log_remainder = zip(*points, strict=True)
    return float(np.polyfit(log_h, log_remainder, 1)[0])


def complex_forward(layer: Any, inputs: Inputs, keys: list[int | str], real: Forward) -> Forward | str:
    """Makes the complex128 twin of a float64 forward, or says why there is none."""
    expected = real.outputs()
    try:
        with exact_complex_numbers():
            forward = Forward(layer, inputs, np.complex128, keys)
            forward.upstream = real.upstream
            outputs = forward.outputs()
    except Exception as error:
        return f"forward raises {type(error).__name__}: {error}"
    taken = list(real.upstream)
    if not all(np.iscomplexobj(outputs[name]) for name in taken):
        return "forward gives real numbers for complex ones"
    if not all(np.allclose(outputs[name].real, expected[name], rtol=1e-8, atol=1e-10) for name in taken):
        return "forward gives other numbers in complex arithmetic"
    return forward


@contextmanager
def exact_complex_numbers() -> Iterator[None]:
    """Within it, discarding an imaginary part is an error, and warnings of floating-point arithmetic are off."""
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("error", np.exceptions.ComplexWarning)
        yield
