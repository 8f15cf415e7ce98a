"""Texts as the arrays that a model takes, those of similar length together."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from numbert.errors import InputError
from numbert.nn.array import Array
from numbert.progress import bar

if TYPE_CHECKING:
    from tokenizers import Encoding, Tokenizer


def encoded(tokenizer: Tokenizer, texts: Sequence[str | tuple[str, str]], model: Any) -> list[Encoding]:
    limit = model.config.max_position_embeddings
    encodings = tokenizer.encode_batch(list(texts))
    for text, encoding in zip(texts, encodings, strict=True):
        if len(encoding.ids) > limit:
            shown = " / ".join(text) if isinstance(text, tuple) else text
            raise InputError(
                f"{shortened(shown)!r} has {len(encoding.ids)} tokens; the model has {limit} positions"
            )
    return encodings


def batches(
    encodings: Sequence[Encoding], batch_size: int, model: Any, progress: bool
) -> Iterator[tuple[Array, dict[str, Array]]]:
    """Texts of similar length together, padded to the longest of them: (their indices, the model's inputs)."""
    pad_id = model.config.pad_token_id or 0
    order = np.argsort([-len(encoding.ids) for encoding in encodings], kind="stable")
    with bar(progress, len(encodings), " texts") as advance:
        for start in range(0, len(order), batch_size):
            indices = order[start : start + batch_size]
            shape = (len(indices), len(encodings[indices[0]].ids))
            batch = {
                "input_ids": np.full(shape, pad_id),
                "attention_mask": np.zeros(shape, dtype=np.int64),
                "token_type_ids": np.zeros(shape, dtype=np.int64),
            }
            for row, index in enumerate(indices):
                length = len(encodings[index].ids)
                batch["input_ids"][row, :length] = encodings[index].ids
                batch["attention_mask"][row, :length] = 1
                batch["token_type_ids"][row, :length] = encodings[index].type_ids
            yield indices, batch
            advance(len(indices))


def shortened(text: str, most: int = 60) -> str:
    return text if len(text) <= most else text[: most - 3] + "..."
