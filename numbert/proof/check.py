"""The proof of one layer, from beginning to end."""

from __future__ import annotations

import math
from collections.abc import Collection
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from numbert.errors import InputError
from numbert.proof.backward import BackwardRaised, BackwardRun
from numbert.proof.calls import Inputs, forward_of, gradients_taken, named_outputs
from numbert.proof.culprit import wrong_inside
from numbert.proof.diagnosis import Clues
from numbert.proof.judge import causes, judged
from numbert.proof.measure import choose_tensors, measure
from numbert.proof.numeric import IMMOVABLE, Forward
from numbert.proof.report import FAILED, GradcheckError, GradcheckReport
from numbert.proof.tensors import walk

METHODS = ("auto", "complex", "central", "taylor")


def gradcheck(
    layer: Any,
    *inputs: Any,
    seed: int = 0,
    method: str = "auto",
    max_entries: int = 64,
    constants: Collection[str] = (),
    raise_on_failure: bool = True,
    **keyword_inputs: Any,
) -> GradcheckReport:
    """Proves that `layer.backward` is the derivative of `layer.forward` at these inputs and parameters.

    Everything is computed in float64 and complex128 on copies: the layer itself, its gradients, its generators and
    the inputs stay as they are. The upstream gradient of each output is drawn from normal(0, 1), and L is the sum
    of output * upstream gradient. Backward's gradient of L is compared with the numeric one (see `numeric.py`) for
    every parameter (see `tensors.parameters`) and every floating input: entry by entry, and in one random
    direction over the whole tensor. The relative error of two numbers a and b is

        |a - b| / max(|a|, |b|, 0.001 g),  with g the largest numeric derivative of the whole check,

    so that it also means something where the derivative is 0. It must stay below 1e-10 (complex step) or 1e-6
    (central differences). gradcheck also tests that backward adds to each Parameter.grad, that it returns the same
    after an earlier call, and that it changes neither the upstream gradient nor the inputs nor the parameters.
    What backward returns is the caller's to overwrite: where it is an argument of backward, or two results are one
    array, a note says so.

    Args:
        layer: a numbert layer, or any object with forward (or a call) and backward. Backward takes the gradient
            of each output (see `calls.gradients_taken`) and returns that of each floating input, in forward's
            order (see `calls.match_gradients`).
        inputs, keyword_inputs: the arguments of forward. Floating arrays are differentiated, all else is fixed.
        seed: the seed of the upstream gradients, the directions and the choice of entries.
        method: "complex", "central" or "taylor" uses that method alone. "auto" uses the complex step, and confirms
            it for each tensor by a central difference; if forward cannot take complex numbers or is not
            holomorphic, it uses central differences together with a Taylor slope.
        max_entries: how many entries of a tensor are compared one by one, at most. A larger tensor has this many
            drawn at random, half of them where backward's gradient is not 0.
        constants: names of floating inputs, and of plain arrays in the layer, that are not to be differentiated.
            An input with "mask" or "label" in its name is a constant if backward returns no gradient for it.
        raise_on_failure: False returns the report also if backward is wrong.

    Returns:
        the report, which `print` shows as a table.

    Raises:
        GradcheckError: backward is wrong; the message is the report.
        InputError: there is nothing to check, or gradcheck cannot tell how to; the message says what it needs.
    """
    if method not in METHODS:
        raise InputError(f"method is {method!r}; it can be {', '.join(METHODS)}")
    if seed < 0 or max_entries < 0:
        raise InputError(f"seed is {seed} and max_entries is {max_entries}; neither can be negative")
    global_state = np.random.get_state()  # noqa: NPY002 (a student's layer may draw from it)
    try:
        options = Options(seed, method, max_entries, frozenset(constants))
        report = check(layer, Inputs.of(forward_of(layer), inputs, keyword_inputs), options)
    finally:
        np.random.set_state(global_state)  # noqa: NPY002
    if raise_on_failure and not report.ok:
        raise GradcheckError(report)
    return report


@dataclass(frozen=True)
class Options:
    """The arguments of `gradcheck` that say how to check."""

    seed: int
    method: str
    max_entries: int
    constants: frozenset[str]


def check(layer: Any, inputs: Inputs, options: Options, look_inside: bool = True) -> GradcheckReport:
    """Proves one layer: starts, runs backward, measures and judges; and if it fails, looks for the cause."""
    report = GradcheckReport(type(layer).__name__)
    # Not default_rng(seed) itself: inputs are often drawn from it too, and an upstream gradient equal to an input
    # hides a transposed product.
    rng = np.random.default_rng([options.seed, 1])
    forward = Forward(layer, inputs, np.float64, inputs.floats())
    if not forward.tensors:
        raise InputError(f"{report.layer} has no parameter and got no floating input: there is nothing to check")
    clues = start(forward, report.layer, rng)
    tensors = []
    try:
        run = BackwardRun(forward, report)
        tensors = choose_tensors(run, options.constants, options.max_entries, rng)
        measure(tensors, layer, inputs, forward, options.method, report)
    except BackwardRaised as error:
        report.problems.append(str(error))
    largest = max((abs(number) for t in tensors for number in (*t.wanted, t.wanted_along)), default=0.0)
    rows = [judged(tensor, largest) for tensor in tensors]
    report.rows += rows
    if forward.held:
        report.notes.append(
            f"the [PAD] row of {', '.join(forward.held)} counts as a constant where it is looked up (padding_idx)"
        )
    if look_inside and not report.ok:
        few = replace(options, max_entries=min(options.max_entries, 16))

        def check_part(part: Any, its_inputs: Inputs) -> GradcheckReport:
            return check(part, its_inputs, few, look_inside=False)

        report.inside, right = wrong_inside(layer, inputs, check_part)
        if right and not report.inside:
            report.notes.append(
                f"each of the {right} layers inside is right by itself: the fault is in {report.layer}.backward"
            )
    if not report.inside:
        for row, tensor in zip(rows, tensors, strict=True):
            if row.result == FAILED:
                row.failure += "".join(f"\n    {cause}" for cause in causes(tensor, clues))
    return report


def start(forward: Forward, name: str, rng: np.random.Generator) -> Clues:
    """Runs forward, draws the upstream gradients, and returns the clues for a diagnosis.

    Raises:
        InputError: an output is not finite, is not float64, or differs from one forward to the next.
    """
    result = forward.result()
    outputs = {name: array.copy() for name, array in named_outputs(result).items()}
    again = forward.outputs()
    taken = gradients_taken(forward.layer, result)
    for output, where in taken.items():
        value = outputs[output]
        if not np.isfinite(value).all():
            raise InputError(f"{output} of {name} has NaN or infinity in it: there is nothing to differentiate")
        if value.dtype != np.float64:
            raise InputError(f"{output} of {name} is {value.dtype}, though inputs and parameters are float64")
        if not np.array_equal(value, again[output]):
            raise InputError(
                f"{output} of {name} differs from one forward to the next: keep the random generator in an "
                "attribute of the layer, where gradcheck can replay its draws"
            )
        upstream = 1.0 if where is None else rng.standard_normal(value.shape)
        # What no step can move has no numeric derivative, so it takes no part.
        forward.upstream[output] = np.where(np.abs(value) < IMMOVABLE, upstream, 0.0)
    arrays = [*forward.tensors.values(), *outputs.values()]
    sizes = {size for array in arrays for size in (*array.shape, array.size, math.prod(array.shape[:-1]))}
    sizes |= {value for _, value in walk(forward.layer) if type(value) is int}
    integers = [v for v in forward.inputs.values.values() if isinstance(v, np.ndarray) and v.dtype.kind in "iu"]
    return Clues(None, [*forward.upstream.values()], [outputs[output] for output in taken], integers, sizes)
