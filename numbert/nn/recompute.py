"""Run a part again in backward: memory for time, the same numbers.

Forward runs the part without remembering and keeps its inputs alone. Backward runs it once more, dropout too, so
that it remembers, and then undoes it: docs/derivations.md#checkpointing (Chen et al. 2016, arXiv:1604.06174).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from numbert.nn.module import Module
from numbert.nn.switches import keeping_saved, no_grad


@dataclass
class Rerun:
    """A call of a part that backward can run again.

    Attributes:
        module: the part.
        inputs: the arguments of its call.
        rng: the generator that it draws from.
        state: of the generator when it ran.
    """

    module: Module
    inputs: tuple[Any, ...]
    rng: np.random.Generator
    state: Any

    def backward(self, *d_outputs: Any) -> Any:
        """Runs the part again and gives what its backward returns. The generator stays where it is."""
        now = self.rng.bit_generator.state
        self.rng.bit_generator.state = self.state
        try:
            self.module(*self.inputs)
        finally:
            self.rng.bit_generator.state = now
        d_inputs = self.module.backward(*d_outputs)
        if keeping_saved():
            self.module.forget()  # the next backward runs it again
        return d_inputs


def run_without_remembering(module: Module, rng: np.random.Generator, *inputs: Any) -> tuple[Any, Rerun]:
    """Calls a part -> its output, and what backward needs to run it again.

    Args:
        rng: the generator that the part draws from.
        inputs: of the part.
    """
    module.forget()  # what is left of an earlier forward would be taken for this one's
    state = rng.bit_generator.state
    with no_grad():
        output = module(*inputs)
    return output, Rerun(module, inputs, rng, state)
