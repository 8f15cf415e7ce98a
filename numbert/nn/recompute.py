"""Running a part of a model again in backward: less memory, more time, the same numbers.

Forward runs the part without remembering and keeps only its inputs. Backward runs the part once more, with the
same dropout, this time remembering, and then undoes it: docs/derivations.md#gradient-checkpointing (Chen et al.
2016, arXiv:1604.06174).
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
        rng: the generator that the part draws from.
        state: the state of the generator just before the part ran.
        hooks: the forward hooks within the part when it ran.
    """

    module: Module
    inputs: tuple[Any, ...]
    rng: np.random.Generator
    state: Any
    hooks: list[Any]

    def backward(self, *d_outputs: Any) -> Any:
        """Runs the part again and returns what its backward returns; the generator ends in the state it had.

        Raises:
            RuntimeError: a forward hook was registered or removed since, so it would be another forward.
        """
        if _forward_hooks(self.module) != self.hooks:
            raise RuntimeError(
                f"the forward hooks within {type(self.module).__name__} have changed since its forward; with "
                "gradient checkpointing it runs again in backward, so keep them until backward is done"
            )
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
    """Calls a part without remembering.

    Args:
        rng: the generator that the part draws from.
        inputs: the arguments of the part.

    Returns:
        the output of the part, and what backward needs to run the part again.
    """
    module.forget()  # what is left of an earlier forward would be taken for this one's
    state = rng.bit_generator.state
    with no_grad():
        output = module(*inputs)
    return output, Rerun(module, inputs, rng, state, _forward_hooks(module))


def _forward_hooks(module: Module) -> list[Any]:
    """Every forward hook of a part and of the layers in it, with the layer that it is on."""
    return [
        (id(layer), hook) for layer in module.modules() if layer.hooks for hook in layer.hooks.forward.values()
    ]
