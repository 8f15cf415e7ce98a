"""What the models return: dataclasses that also index like a tuple and like a dict."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from numbert.config import BertConfig
from numbert.nn.array import Array


@dataclass
class ModelOutput:
    """`out.name`, `out["name"]` and `out[0]`; a field that is None is left out of the last two."""

    def keys(self) -> list[str]:
        return [f.name for f in dataclasses.fields(self) if getattr(self, f.name) is not None]

    def to_tuple(self) -> tuple[Any, ...]:
        return tuple(getattr(self, name) for name in self.keys())

    def items(self) -> list[tuple[str, Any]]:
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
        past_key_values: None; its place is kept for the decoder.
        hidden_states: n + 1 arrays [b,l,e], the embeddings' output first; on request.
        attentions: n arrays [b,h,l,r], the probabilities of each layer before dropout; on request.
        cross_attentions: None; its place is kept for the decoder.
    """

    last_hidden_state: Array
    past_key_values: Any = None
    hidden_states: tuple[Array, ...] | None = None
    attentions: tuple[Array, ...] | None = None
    cross_attentions: tuple[Array, ...] | None = None


@dataclass
class BaseModelOutputWithPooling(ModelOutput):
    """What BertModel returns: `BaseModelOutput` with pooler_output [b,e] in the second place."""

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
        prediction_logits: [b,l,v], or None where `return_logits=False`.
        seq_relationship_logits: [b,2]; 0 is "the second segment is the next".
        hidden_states, attentions: as in `BaseModelOutput`.
    """

    loss: Array | None = None
    prediction_logits: Array | None = None
    seq_relationship_logits: Array | None = None
    hidden_states: tuple[Array, ...] | None = None
    attentions: tuple[Array, ...] | None = None


@dataclass
class HeadOutput(ModelOutput):
    """What a model with one head returns: loss (a scalar), logits, hidden_states, attentions."""

    loss: Array | None = None
    logits: Array | None = None
    hidden_states: tuple[Array, ...] | None = None
    attentions: tuple[Array, ...] | None = None


def returns_dict(return_dict: bool | None, config: BertConfig) -> bool:
    return config.return_dict if return_dict is None else return_dict
