"""Checkpoints, written and read: what the task saves, AdamW's moments and the run's state."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from numbert.errors import InputError
from numbert.nn.module import Module
from numbert.train.optimizer import AdamW, Moments
from numbert.train.state import State
from numbert.train.task import Task

OPTIMIZER, STATE = "optimizer.safetensors", "state.json"


def write_checkpoint(folder: Path, task: Task, optimizer: AdamW, state: State) -> None:
    """Fills an empty folder with what the task saves, optimizer.safetensors and state.json.

    optimizer.safetensors has the arrays m.NAME and v.NAME for each trainable parameter NAME, and the number of
    updates as "step" in its metadata.

    Raises:
        OSError: a file cannot be written, as where the disk is full.
    """
    task.save(folder)
    arrays = {}
    for name, parameter in task.model.named_parameters():
        if parameter.trainable:
            moments = optimizer.moments[parameter]
            arrays[f"m.{name}"], arrays[f"v.{name}"] = moments.m, moments.v
    try:
        save_file(arrays, folder / OPTIMIZER, metadata={"step": str(state.step)})
    except SafetensorError as error:
        raise OSError(f"{folder / OPTIMIZER} cannot be written: {error}") from error
    state.write(folder / STATE)


def read_checkpoint(folder: Path, task: Task, optimizer: AdamW) -> State:
    """Loads the weights into the model and the moments into the optimizer, and moves the task to its position.

    Returns:
        the state of the run at the checkpoint.

    Raises:
        InputError: a file is missing or broken.
    """
    task.load(folder)
    for parameter in task.model.parameters():
        parameter.data = np.array(parameter.data)  # a copy, as the file may be removed
    state = read_moments(folder, task.model, optimizer)
    try:
        task.go_to(state.position)
    except (ValueError, TypeError, KeyError) as error:
        raise _not_whole(folder, error) from None
    return state


def read_moments(folder: Path, model: Module, optimizer: AdamW) -> State:
    """Loads the moments of a checkpoint into an optimizer.

    Returns:
        the state of the run at the checkpoint.

    Raises:
        InputError: a file is missing or broken, or is of another model.
    """
    try:
        state = State.read(folder / STATE)
        arrays = load_file(folder / OPTIMIZER)
        for name, parameter in model.named_parameters():
            if not parameter.trainable:
                continue
            moments = Moments(state.step, arrays[f"m.{name}"], arrays[f"v.{name}"])
            if not moments.m.shape == moments.v.shape == parameter.shape:
                raise ValueError(f"the moments of {name} have another shape than it has")
            optimizer.moments[parameter] = moments
    except (OSError, ValueError, TypeError, KeyError, SafetensorError) as error:
        raise _not_whole(folder, error) from None
    return state


def _not_whole(folder: Path, error: Exception) -> InputError:
    return InputError(
        f"{folder} is not a whole checkpoint ({error}); without it, the run goes on from the one before"
    )
