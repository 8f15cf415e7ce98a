"""embed: a vector for each text."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from numbert.bert.model import BertModel
from numbert.errors import InputError
from numbert.inference.batches import batches
from numbert.nn.array import Array
from numbert.nn.switches import no_grad

if TYPE_CHECKING:
    from tokenizers import Tokenizer


def embed(
    model: BertModel,
    tokenizer: Tokenizer,
    texts: Sequence[str],
    batch_size: int = 32,
    progress: bool = False,
) -> Array:
    """One vector for each text, the mean of its tokens' last hidden states: [len(texts), e], the model's dtype.

    Texts are computed in batches of similar length and come back in their order. Of a text with more tokens
    than the model has positions, only the beginning counts (`overlong` tells which).

    Raises:
        InputError: there are no texts, or batch_size is below 1.
    """
    if batch_size < 1:
        raise InputError(f"batch_size is {batch_size}; it must be at least 1")
    if not texts:
        raise InputError("there is no text to embed")
    encodings = tokenizer.encode_batch(list(texts))
    for encoding in encodings:
        encoding.truncate(model.config.max_position_embeddings)
    vectors = np.empty((len(texts), model.config.hidden_size), model.dtype)
    for indices, batch in batches(encodings, batch_size, model, progress):
        with no_grad():
            hidden_states = model(**batch).last_hidden_state  # [b,l,e]
        mask = batch["attention_mask"][:, None, :].astype(model.dtype)  # [b,1,l]
        mean = (mask @ hidden_states)[:, 0] / mask.sum(axis=-1)  # [b,1,l] @ [b,l,e] -> [b,e]
        vectors[indices] = mean
    return vectors


def overlong(model: BertModel, tokenizer: Tokenizer, texts: Sequence[str]) -> list[int]:
    """Which texts have more tokens than the model has positions."""
    limit = model.config.max_position_embeddings
    return [i for i, encoding in enumerate(tokenizer.encode_batch(list(texts))) if len(encoding.ids) > limit]
