"""What the models return: dataclasses that also index like a tuple and like a dict."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from numbert.config import BertConfig
from numbert.nn.array import Array


@dataclass
class ModelOutput:
    """An output whose fields can be had as `out.name`, `out["name"]` and `out[0]`.

    The last two leave out fields that are None.
    """

    def keys(self) -> list[str]:
        """Returns the names of the fields that are not None, in order."""
        return [f.name for f in dataclasses.fields(self) if getattr(self, f.name) is not None]

    def to_tuple(self) -> tuple[Any, ...]:
        """Returns the fields that are not None, in order."""
        return tuple(getattr(self, name) for name in self.keys())

    def items(self) -> list[tuple[str, Any]]:
        """Returns the names and values of the fields that are not None, in order."""
        return list(zip(self.keys(), self.to_tuple(), strict=True))

    def __getitem__(self, key: int | slice | str) -> Any:
        if isinstance(key, str):
            if key not in self.keys():
                raise KeyError(f"{key!r} is not in this {type(self).__name__}; it has {', '.join(self.keys())}")
            return getattr(self, key)
        return self.to_tuple()[key]

    def __contains__(self, key: str) -> bool:
        return key in self.keys()

    def __iter__(self) -> Iterator[Any]:
        return iter(self.to_tuple())

    def __len__(self) -> int:
        return len(self.keys())


@dataclass
class BaseModelOutput(ModelOutput):
    """What BertEncoder returns.

    Attributes:
        last_hidden_state: [b,l,e]
        past_key_values: of a decoder, for each layer the keys and values [b,h,r,d] of self-attention and then of
            cross-attention, 2 or 4 arrays; None unless use_cache is True.
        hidden_states: n + 1 arrays [b,l,e], of which the first is the output of the embeddings; None unless
            output_hidden_states is True.
        attentions: n arrays [b,h,l,r], the probabilities of each layer, after head_mask and before dropout, 0 for
            pruned heads; None unless output_attentions is True.
        cross_attentions: the same of cross-attention; None without encoder_hidden_states.
    """

    last_hidden_state: Array
    past_key_values: Any = None
    hidden_states: tuple[Array, ...] | None = None
    attentions: tuple[Array, ...] | None = None
    cross_attentions: tuple[Array, ...] | None = None


def joined(outputs: list[BaseModelOutput]) -> BaseModelOutput:
    """Returns the outputs of the parts of a batch as that of the whole batch."""
    fields = zip(*(vars(output).values() for output in outputs), strict=True)
    return BaseModelOutput(*map(_concatenated, fields))


def _concatenated(parts: tuple[Any, ...]) -> Any:
    """Joins along b what the parts have in one place: arrays, tuples of such, or None."""
    if isinstance(parts[0], tuple):
        return tuple(map(_concatenated, zip(*parts, strict=True)))
    return None if parts[0] is None else np.concatenate(parts)


@dataclass
class BaseModelOutputWithPooling(ModelOutput):
    """What BertModel returns: the fields of `BaseModelOutput`, with pooler_output [b,e] as the second one."""

    last_hidden_state: Array
    pooler_output: Array | None = None
    past_key_values: Any = None
    hidden_states: tuple[Array, ...] | None = None
    attentions: tuple[Array, ...] | None = None
    cross_attentions: tuple[Array, ...] | None = None


@dataclass
class BertForPreTrainingOutput(ModelOutput):
    """What BertForPreTraining returns.

    Attributes:
        loss: a scalar, the sum of the losses whose labels were given.
        prediction_logits: [b,l,v], or None if labels are given and return_logits is False.
        seq_relationship_logits: [b,2]; class 0 means that the second segment follows the first.
        hidden_states, attentions: as in `BaseModelOutput`.
    """

    loss: Array | None = None
    prediction_logits: Array | None = None
    seq_relationship_logits: Array | None = None
    hidden_states: tuple[Array, ...] | None = None
    attentions: tuple[Array, ...] | None = None


@dataclass
class CausalLMOutput(ModelOutput):
    """What BertLMHeadModel returns.

    Attributes:
        loss: a scalar, or None if no labels were given.
        logits: [b,l,v], the scores of the token that follows each position; None if labels are given and
            return_logits is False.
        past_key_values, hidden_states, attentions, cross_attentions: as in `BaseModelOutput`.
    """

    loss: Array | None = None
    logits: Array | None = None
    past_key_values: Any = None
    hidden_states: tuple[Array, ...] | None = None
    attentions: tuple[Array, ...] | None = None
    cross_attentions: tuple[Array, ...] | None = None


@dataclass
class HeadOutput(ModelOutput):
    """What a model with one task head returns.

    Attributes:
        loss: a scalar, or None if no labels were given.
        logits: a score for each class: [b,l,v] for masked tokens, [b,2] for the next sentence, [b,k] and [b,l,k]
            for k labels of a text or of each token, [b,c] for c choices.
        hidden_states, attentions: as in `BaseModelOutput`.
    """

    loss: Array | None = None
    logits: Array | None = None
    hidden_states: tuple[Array, ...] | None = None
    attentions: tuple[Array, ...] | None = None


@dataclass
class QuestionAnsweringOutput(ModelOutput):
    """What BertForQuestionAnswering returns.

    Attributes:
        loss: a scalar, or None if no positions were given.
        start_logits, end_logits: a score for each token as the answer's first and as its last, [b,l].
        hidden_states, attentions: as in `BaseModelOutput`.
    """

    loss: Array | None = None
    start_logits: Array | None = None
    end_logits: Array | None = None
    hidden_states: tuple[Array, ...] | None = None
    attentions: tuple[Array, ...] | None = None


def returns_dict(return_dict: bool | None, config: BertConfig) -> bool:
    """Returns whether a model is to return an output and not a tuple; by default as in the configuration."""
    return config.return_dict if return_dict is None else return_dict
