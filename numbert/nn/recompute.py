"""Running a part of a model again in backward: less memory, more time, the same numbers.

Forward runs the part without remembering and keeps only its inputs. Backward runs the part once more, with the
same dropout, this time remembering, and then undoes it: docs/derivations.md#gradient-checkpointing (Chen et al.
2016, arXiv:1604.06174). Gradient checkpointing does this with whole layers, `in_chunks` with the chunks of a
sequence.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from numbert.nn.array import Array
from numbert.nn.module import Module
from numbert.nn.switches import keeping_saved, remembering, to_run_again


@dataclass
class Rerun:
    """A call of a part that backward can run again.

    Attributes:
        module: the part.
        inputs: the arguments of its call.
        rng: the generator that the part draws from; None if it draws nothing.
        state: the state of the generator just before the part ran.
        hooks: the forward hooks within the part when it ran.
    """

    module: Module
    inputs: tuple[Any, ...]
    rng: np.random.Generator | None
    state: Any
    hooks: list[Any]

    def backward(self, *d_outputs: Any) -> Any:
        """Runs the part again and returns what its backward returns; the generator ends in the state it had.

        Raises:
            RuntimeError: a forward hook was registered or removed since, so it would be another forward.
        """
        if _forward_hooks(self.module) != self.hooks:
            raise RuntimeError(
                f"the forward hooks within {type(self.module).__name__} have changed since its forward; it runs "
                "again in backward, to save memory, so keep them until backward is done"
            )
        with _as_it_was(self.rng, self.state):
            self.module(*self.inputs)
        d_inputs = self.module.backward(*d_outputs)
        if keeping_saved():
            self.module.forget()  # the next backward runs it again
        return d_inputs


def run_without_remembering(module: Module, rng: np.random.Generator | None, *inputs: Any) -> tuple[Any, Rerun]:
    """Calls a part without remembering.

    Args:
        rng: the generator that the part draws from; None if it draws nothing.
        inputs: the arguments of the part.

    Returns:
        the output of the part, and what backward needs to run the part again.
    """
    module.forget()  # what is left of an earlier forward would be taken for this one's
    state = None if rng is None else rng.bit_generator.state
    with to_run_again():
        output = module(*inputs)
    return output, Rerun(module, inputs, rng, state, _forward_hooks(module))


def in_chunks(module: Module, size: int, *inputs: Array | None) -> tuple[Array, list[Rerun]]:
    """Calls a part for one chunk of the positions after another, so that memory holds one chunk at a time.

    Args:
        module: the part, which treats each position alike and draws nothing.
        size: the number of positions in a chunk; the last chunk has what is left.
        inputs: arrays [b,l,...], of which the part gets slices, or None.

    Returns:
        the output [b,l,...], and for each chunk what backward needs; nothing of that under `no_grad()`.
    """
    first = next(array for array in inputs if array is not None)
    output: Array | None = None
    reruns: list[Rerun] = []
    for start in range(0, first.shape[1], size):
        chunk = slice(start, start + size)
        sliced = tuple(None if array is None else array[:, chunk] for array in inputs)
        if remembering():
            part, rerun = run_without_remembering(module, None, *sliced)
            reruns.append(rerun)
        else:
            part = module(*sliced)
        if output is None:
            output = np.empty((part.shape[0], first.shape[1], *part.shape[2:]), part.dtype)
        output[:, chunk] = part
    assert output is not None  # l is at least 1
    return output, reruns


def in_chunks_backward(d_output: Array, size: int, reruns: list[Rerun]) -> Array:
    """Undoes `in_chunks`. d_output [b,l,...] -> the gradient of the first input, [b,l,...]."""
    d_input: Array | None = None
    for number, rerun in enumerate(reruns):
        chunk = slice(number * size, (number + 1) * size)
        d_part = rerun.backward(d_output[:, chunk])
        if d_input is None:
            d_input = np.empty((d_part.shape[0], d_output.shape[1], *d_part.shape[2:]), d_part.dtype)
        d_input[:, chunk] = d_part
    assert d_input is not None
    return d_input


@contextlib.contextmanager
def _as_it_was(rng: np.random.Generator | None, state: Any) -> Iterator[None]:
    """Within it the generator draws from `state` on; behind it, it goes on from where it was."""
    if rng is None:
        yield
        return
    now = rng.bit_generator.state
    rng.bit_generator.state = state
    try:
        yield
    finally:
        rng.bit_generator.state = now


def _forward_hooks(module: Module) -> list[Any]:
    """Every forward hook of a part and of the layers in it, with the layer that it is on."""
    return [
        (id(layer), hook) for layer in module.modules() if layer.hooks for hook in layer.hooks.forward.values()
    ]
