"""Running backward, and testing that it adds gradients, changes no argument, and returns the same twice."""

from __future__ import annotations

import copy
import traceback
from typing import Any

import numpy as np

from numbert.proof.calls import Inputs, call_of, gradients_taken, match_gradients
from numbert.proof.numeric import Forward
from numbert.proof.report import GradcheckReport
from numbert.proof.tensors import Place, parameters, replay


class BackwardRaised(Exception):
    """Backward raised an error; the message says which one, and in which line."""


class BackwardRun:
    """Forward and backward, run twice on one layer.

    Attributes:
        of_inputs: the gradients that the first backward returned, by key; absent or None if it returned none.
        of_parameters: the gradients that the first backward left, by name; None if it left none.

    Raises:
        BackwardRaised: backward raised an error.
    """

    def __init__(self, forward: Forward, report: GradcheckReport) -> None:
        self.forward, self.report = forward, report
        self.layer = copy.deepcopy(forward.layer)
        self.places = parameters(self.layer)
        rewind = replay(self.layer)
        returned = self.run()
        self.of_inputs = copy.deepcopy(returned)
        self.of_parameters = {place.name: copy.deepcopy(place.gradient()) for place in self.places}
        if not report.problems:
            rewind()
            again = self.run()
            self.compare(again)
            self.note_reused(returned, again)

    def run(self) -> dict[int | str, Any]:
        """Runs forward and backward once and returns the gradients of the inputs, by key."""
        inputs = self.forward.inputs.copied()
        before = {place.name: place.data.copy() for place in self.places}
        np.random.set_state(self.forward.global_state)  # noqa: NPY002
        result = inputs.call(call_of(self.layer))
        self.blame_changed_inputs("forward", inputs)
        # An array that forward itself replaces is no parameter: a running mean, or what it keeps for backward.
        self.places = [p for p in self.places if p.adds or (p.now() is p.data and _unchanged(p, before[p.name]))]

        taken = gradients_taken(self.layer, result)
        upstream = {output: self.forward.upstream[output].copy() for output in taken}
        in_order = [upstream[output] for output, where in taken.items() if isinstance(where, int)]
        by_keyword = {where: upstream[output] for output, where in taken.items() if isinstance(where, str)}
        try:
            returned = self.layer.backward(*in_order, **by_keyword)
        except Exception as error:
            frame = traceback.extract_tb(error.__traceback__)[-1]
            where = f"{frame.name}, line {frame.lineno}: {frame.line}"
            raise BackwardRaised(f"backward raises {type(error).__name__}: {error} ({where})") from error

        self.blame_changed_inputs("backward", inputs)
        for output, d_output in upstream.items():
            if not np.array_equal(d_output, self.forward.upstream[output]):
                self.blame(f"backward changes the upstream gradient of {output} that it was handed")
        for place in self.places:
            if not _unchanged(place, before[place.name]):
                self.blame(f"backward changes {place.name} itself, where it should leave a gradient")
        gradients, problem = match_gradients(returned, inputs)
        if problem:
            self.blame(problem)
        self.note_shared(gradients, upstream)
        return gradients

    def note_shared(self, gradients: dict[int | str, Any], upstream: dict[str, Any]) -> None:
        """Notes results that the caller cannot overwrite, since they are an argument of backward or each other."""
        arrays = {key: value for key, value in gradients.items() if isinstance(value, np.ndarray) and value.size}
        names = self.forward.inputs.names
        for key, value in arrays.items():
            others = [f"the gradient of {names[other]}" for other in arrays if other != key]
            shared = [values for other, values in arrays.items() if other != key]
            others += [f"the upstream gradient of {output}" for output in upstream]
            shared += list(upstream.values())
            for other, values in zip(others, shared, strict=True):
                note = f"the gradient of {names[key]} is {other} itself: a caller that adds to it changes both"
                if np.shares_memory(value, values) and note not in self.report.notes:
                    self.report.notes.append(note)

    def note_reused(self, first: dict[int | str, Any], second: dict[int | str, Any]) -> None:
        """Notes results of two backwards that are in one array: the second overwrites what the first returned."""
        for key, value in first.items():
            other = second.get(key)
            both = isinstance(value, np.ndarray) and isinstance(other, np.ndarray)
            if both and value.size and np.shares_memory(value, other):
                name = self.forward.inputs.names[key]
                self.report.notes.append(
                    f"the gradient of {name} is in the same array after each backward: the next one overwrites it"
                )

    def compare(self, of_inputs: dict[int | str, Any]) -> None:
        """Tests that the second backward doubled each Parameter.grad and returned the same gradients of inputs."""
        assigned = []
        for place in self.places:
            once, twice = self.of_parameters[place.name], place.gradient()
            if not is_gradient(once) or np.shape(once) != place.data.shape or not np.any(once):
                continue  # wrong in another way, or nothing to tell from
            if same(twice, 2 * once):
                continue
            if not same(twice, once):
                self.blame(f"{place.name}: the gradient of a second call depends on the first call")
            elif place.adds:
                self.blame(f"{place.name}: after two backwards grad is that of one: assigned, not added")
            else:
                assigned.append(place.name)
        if assigned:
            self.report.notes.append(
                f"assigned by each backward, not added: the gradient of {', '.join(assigned)}"
            )
        for key, once in self.of_inputs.items():
            if is_gradient(once) and not same(of_inputs.get(key), once):
                name = self.forward.inputs.names[key]
                self.blame(f"input {name}: the gradient of a second call depends on the first call")

    def blame_changed_inputs(self, who: str, inputs: Inputs) -> None:
        """Reports each input that `who` ("forward" or "backward") has changed, and sets it back."""
        for key, value in inputs.values.items():
            if isinstance(value, np.ndarray) and not np.array_equal(value, self.forward.inputs.values[key]):
                self.blame(f"{who} changes its input {inputs.names[key]} in place")
                value[...] = self.forward.inputs.values[key]  # one is to blame, not both

    def blame(self, problem: str) -> None:
        """Adds a problem to the report, once."""
        if problem not in self.report.problems:
            self.report.problems.append(problem)


def _unchanged(place: Place, before: Any) -> bool:
    now = place.now()
    return isinstance(now, np.ndarray) and np.array_equal(now, before)


def is_gradient(value: Any) -> bool:
    """Whether a value is a real number or an array of real numbers."""
    return isinstance(value, np.ndarray | np.generic | float) and np.asarray(value).dtype.kind in "fiu"


def same(x: Any, y: Any) -> bool:
    """Whether two gradients are equal up to rounding, 1e-12 of the largest number."""
    return is_gradient(x) and np.shape(x) == np.shape(y) and bool(np.abs(x - y).max() <= 1e-12 * np.abs(y).max())
