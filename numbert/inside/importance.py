"""How much a model's loss depends on each of its attention heads."""

from __future__ import annotations

import contextlib
import inspect
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np

from numbert.bert.inputs import as_array
from numbert.bert.pretrained import BertPreTrainedModel
from numbert.errors import InputError, shown
from numbert.nn.array import Array
from numbert.progress import Progress

# What a forward of numbert calls the labels of its loss.
LABELS = ("labels", "next_sentence_label", "start_positions", "end_positions")


def head_importance(model: BertPreTrainedModel, batches: Mapping[str, Any] | Iterable[Mapping[str, Any]]) -> Array:
    """Scores each head by how much the loss depends on it (Michel et al. 2019, arXiv:1905.10650, section 4.1).

    The score is the mean over examples of the absolute gradient of the example's loss with respect to the head
    mask, where that is 1. Then each layer's row is divided by its Euclidean norm; a row of zeros stays. Each row
    of a batch is an example and runs by itself, without dropout, so that it does not matter how batches are cut.
    The model is left as it was: its gradients, what its layers have saved, and its mode. See
    docs/derivations.md#head-masks.

    Args:
        model: a model with a loss.
        batches: dicts of the model's inputs with labels, or a single one.

    Returns:
        the scores [n,h], float64, from 0 to 1. A pruned head has 0.

    Raises:
        InputError: the model has no loss; there is no batch; a batch has no labels, a head_mask, a cache, inputs
            of different numbers of rows, or an input that the model refuses; or a gradient is not finite.
    """
    if not isinstance(model, BertPreTrainedModel):
        raise InputError(f"model is {shown(model)}; it must be a model of numbert")
    if not isinstance(batches, Iterable):
        raise InputError(f"batches is {shown(batches)}; it must be dicts of the model's inputs")
    taken = inspect.signature(type(model).forward).parameters
    labels = [name for name in LABELS if name in taken]
    if not labels:
        raise InputError(f"a {type(model).__name__} has no loss; head_importance needs a model with a head")
    options = {"return_logits": False} if "return_logits" in taken else {}
    config = model.config
    ones = np.ones((config.num_hidden_layers, config.num_attention_heads))  # [n,h]
    total, examples = np.zeros_like(ones), 0
    with left_as_it_was(model), Progress(True).bar("Importance of heads", None, " examples") as advance:
        for batch in [batches] if isinstance(batches, Mapping) else batches:
            for example in rows_of(batch, labels):
                output = model(**example | options, head_mask=ones, return_dict=True)
                if output.loss is None:
                    raise no_labels(labels)
                d_head_mask = model.backward()["head_mask"]  # [n,h]
                if not np.isfinite(d_head_mask).all():
                    raise InputError(f"the loss of example {examples}, counted from 0, has no finite gradient")
                total += np.abs(d_head_mask)
                examples += 1
                advance(1)
    if not examples:
        raise InputError("there is no batch; head_importance needs at least one")
    total /= examples
    norms = np.sqrt((total**2).sum(axis=1, keepdims=True))  # [n,1]
    return np.divide(total, norms, out=np.zeros_like(total), where=norms > 0)


def rows_of(batch: Mapping[str, Any], labels: list[str]) -> Iterator[dict[str, Any]]:
    """Yields the inputs of each row of a batch, as a batch of one row.

    Args:
        labels: the names of the labels that the model takes, of which the batch must have one.

    Raises:
        InputError: see `head_importance`.
    """
    if not isinstance(batch, Mapping):
        raise InputError(f"a batch is {shown(batch)}; it must be a dict of the model's inputs")
    for name, instead in (("head_mask", "it is 1 here"), ("past_key_values", "give the whole sequence")):
        if batch.get(name) is not None:
            raise InputError(f"a batch has {name}; {instead}")
    given = {name: value for name, value in batch.items() if value is not None and name != "return_dict"}
    switches = {name: value for name, value in given.items() if isinstance(value, bool | np.bool_)}
    arrays = {name: as_array(name, value) for name, value in given.items() if name not in switches}
    if not any(name in arrays for name in labels):
        raise no_labels(labels)
    main = next((name for name in ("input_ids", "inputs_embeds") if name in arrays), None)
    if main is None:
        raise InputError("a batch has neither input_ids nor inputs_embeds")
    if not arrays[main].ndim:
        raise InputError(f"{main} has shape (); it must have a row for each example")
    b = len(arrays[main])
    for name, array in arrays.items():
        # One row of these is every example's, as for the model.
        rows = (1, b) if name in ("token_type_ids", "position_ids") else (b,)
        if not array.ndim or len(array) not in rows:
            raise InputError(f"{name} has shape {array.shape}; the batch has {b} rows of {main}")
    for row in range(b):
        one = {name: array[row : row + 1] if len(array) == b else array for name, array in arrays.items()}
        yield switches | one


def no_labels(labels: list[str]) -> InputError:
    """Returns the error for a batch without a loss."""
    return InputError(f"a batch has no {' and no '.join(labels)}; head_importance needs the loss")


@contextlib.contextmanager
def left_as_it_was(model: BertPreTrainedModel) -> Iterator[None]:
    """Within it the model is in eval() and adds to no grad. Afterwards it is as before, with all that it saved."""
    modules = [(module, module.training, module.saved) for module in model.modules()]
    parameters = [(parameter, parameter.trainable) for parameter in model.parameters()]
    try:
        for parameter, _ in parameters:
            parameter.trainable = False
        model.eval()
        yield
    finally:
        for parameter, trainable in parameters:
            parameter.trainable = trainable
        for module, training, saved in modules:
            module.training, module.saved = training, saved
