"""What a checkpoint holds: a model's folder, AdamW's moments, and the run's state."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file
from tokenizers import Tokenizer

from numbert.bert.tasks.pretraining import BertForPreTraining
from numbert.errors import InputError
from numbert.files.tokenizer import save_tokenizer
from numbert.files.weights import Checkpoint, load_into
from numbert.pretrain.runs import State
from numbert.train.optimizer import AdamW, Moments

OPTIMIZER, STATE = "optimizer.safetensors", "state.json"


def save_model_folder(model: BertForPreTraining, tokenizer: Tokenizer, folder: Path) -> None:
    """config.json, model.safetensors and the tokenizer's files: what any command takes as --model."""
    model.save_pretrained(folder)
    save_tokenizer(tokenizer, folder, max_length=model.config.max_position_embeddings)


def write_checkpoint(
    folder: Path, model: BertForPreTraining, tokenizer: Tokenizer, optimizer: AdamW, state: State
) -> None:
    """Fills an empty folder: a model's, and optimizer.safetensors and state.json.

    optimizer.safetensors has for each parameter NAME the arrays m.NAME and v.NAME, and in its metadata the number
    of updates, "step".

    Raises:
        OSError: the disk is full, or another failure of the machine's.
    """
    save_model_folder(model, tokenizer, folder)
    arrays = {}
    for name, parameter in model.named_parameters():
        moments = optimizer.moments[parameter]
        arrays[f"m.{name}"], arrays[f"v.{name}"] = moments.m, moments.v
    try:
        save_file(arrays, folder / OPTIMIZER, metadata={"step": str(state.step)})
    except SafetensorError as error:
        raise OSError(f"{folder / OPTIMIZER} cannot be written: {error}") from error
    state.write(folder / STATE)


def read_checkpoint(folder: Path, model: BertForPreTraining, optimizer: AdamW) -> State:
    """Puts the weights and moments of a checkpoint in place -> its state.

    Raises:
        InputError: a file is missing or broken.
    """
    load_into(model, Checkpoint(folder))
    try:
        state = State.read(folder / STATE)
        arrays = load_file(folder / OPTIMIZER)
        for name, parameter in model.named_parameters():
            parameter.data = np.array(parameter.data)  # a copy, as the file may be removed
            moments = Moments(state.step, arrays[f"m.{name}"], arrays[f"v.{name}"])
            if not moments.m.shape == moments.v.shape == parameter.shape:
                raise ValueError(f"the moments of {name} have another shape than it has")
            optimizer.moments[parameter] = moments
    except (OSError, ValueError, TypeError, KeyError, SafetensorError) as error:
        raise InputError(
            f"{folder} is not a whole checkpoint ({error}); without it, the run goes on from the one before"
        ) from None
    return state
