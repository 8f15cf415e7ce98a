"""Making the arrays that a model takes of texts; texts of similar length go together."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from numbert.bert.pretrained import BertPreTrainedModel
from numbert.errors import InputError, as_integer, shown
from numbert.nn.array import Array
from numbert.progress import bar

if TYPE_CHECKING:
    from tokenizers import Encoding


def as_batch_size(value: Any) -> int:
    """Returns the number of texts that are computed at a time.

    Raises:
        InputError: the value is no integer, or is below 1.
    """
    batch_size = as_integer("batch_size", value)
    if batch_size < 1:
        raise InputError(f"batch_size is {shown(batch_size)}; it must be at least 1")
    return batch_size


def batches(
    encodings: Sequence[Encoding], batch_size: int, model: BertPreTrainedModel, progress: bool
) -> Iterator[tuple[Array, dict[str, Array]]]:
    """Puts texts of similar length together, padded to the longest of them.

    Args:
        encodings: the texts, as the tokenizer encodes them.
        batch_size: the largest b.
        progress: whether to show a bar on stderr.

    Yields:
        the indices of b texts, [b]; and the model's inputs, integers [b,l]: input_ids, attention_mask,
        token_type_ids.
    """
    pad_id = model.config.pad_token_id or 0
    order = np.argsort([-len(encoding) for encoding in encodings], kind="stable")
    with bar(progress, len(encodings), " texts") as advance:
        for start in range(0, len(order), batch_size):
            indices = order[start : start + batch_size]
            shape = (len(indices), len(encodings[indices[0]]))
            batch = {
                "input_ids": np.full(shape, pad_id),
                "attention_mask": np.zeros(shape, dtype=np.int64),
                "token_type_ids": np.zeros(shape, dtype=np.int64),
            }
            for row, index in enumerate(indices):
                length = len(encodings[index])
                batch["input_ids"][row, :length] = encodings[index].ids
                batch["attention_mask"][row, :length] = 1
                batch["token_type_ids"][row, :length] = encodings[index].type_ids
            yield indices, batch
            advance(len(indices))


def refuse_overlong(encoding: Encoding, text: str, model: BertPreTrainedModel) -> None:
    """Raises InputError if a text has more tokens than the model has positions."""
    limit = model.config.max_position_embeddings
    if len(encoding) > limit:
        raise InputError(f"{shown(text)} has {len(encoding)} tokens; the model has {limit} positions")
