"""Checks that a model has what a function needs of it."""

from __future__ import annotations

from typing import Any

from numbert.bert.model import BertModel
from numbert.bert.pretrained import BertPreTrainedModel
from numbert.errors import InputError


def encoder_of(model: Any, call: str) -> BertModel:
    """Returns a BertModel itself, or the one inside a model with heads.

    Args:
        call: how the error message calls the function, such as "embed(model, tokenizer, texts)".

    Raises:
        InputError: the model is neither.
    """
    if isinstance(model, BertPreTrainedModel):
        encoder = getattr(model, model.base_model_prefix, model)
        if isinstance(encoder, BertModel):
            return encoder
    raise InputError(f"{call} needs a BertModel, or a model that has one; model is a {type(model).__name__}")


def require_head(model: Any, classes: tuple[type[BertPreTrainedModel], ...], head: str, call: str) -> None:
    """Raises InputError unless the model belongs to one of the classes, which are those with the head."""
    if not isinstance(model, classes):
        names = " or ".join(cls.__name__ for cls in classes)
        raise InputError(f"{call} needs the head for {head}, as in {names}; model is a {type(model).__name__}")
