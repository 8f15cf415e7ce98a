"""fill_mask: the most probable words for each [MASK]."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from numbert.bert.tasks.pretraining import BertForMaskedLM, BertForPreTraining
from numbert.errors import InputError
from numbert.inference.batches import batches, encoded, shortened
from numbert.nn.functional import softmax
from numbert.nn.switches import no_grad

if TYPE_CHECKING:
    from tokenizers import Tokenizer


@dataclass
class Guess:
    """A word for a mask, and its probability among all words of the vocabulary."""

    token: str
    probability: float


@dataclass
class FilledMask:
    """One text with, for each of its masks in turn, the best guesses, best first."""

    text: str
    masks: list[list[Guess]]

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def fill_mask(
    model: BertForMaskedLM | BertForPreTraining,
    tokenizer: Tokenizer,
    texts: Sequence[str],
    top_k: int = 5,
    batch_size: int = 32,
    progress: bool = False,
) -> list[FilledMask]:
    """The top_k most probable words for every [MASK] in every text. Only the masked positions are decoded.

    Raises:
        InputError: a text has no [MASK] or more tokens than the model has positions, or top_k is not between
            1 and the size of the vocabulary.
    """
    if not 1 <= top_k <= model.config.vocab_size:
        raise InputError(f"top_k is {top_k}; it can be 1 to {model.config.vocab_size}")
    mask_id = tokenizer.token_to_id("[MASK]")
    encodings = encoded(tokenizer, texts, model)
    for text, encoding in zip(texts, encodings, strict=True):
        if mask_id not in encoding.ids:
            raise InputError(f"there is no [MASK] in {shortened(text)!r}")
    guesses: list[list[list[Guess]]] = [[] for _ in texts]
    for indices, batch in batches(encodings, batch_size, model, progress):
        rows, columns = np.nonzero(batch["input_ids"] == mask_id)
        with no_grad():
            sequence_output = model.bert(**batch).last_hidden_state  # [b,l,e]
            probs = softmax(model.cls.predictions(sequence_output[rows, columns]))  # [m,e] -> [m,v]
        best = np.argsort(-probs, axis=-1, kind="stable")[:, :top_k]  # [m,top_k]
        for row, ids, row_probs in zip(rows, best, probs, strict=True):
            guesses[indices[row]].append(
                [Guess(tokenizer.id_to_token(int(i)) or f"id {i}", float(row_probs[i])) for i in ids]
            )
    return [FilledMask(text, masks) for text, masks in zip(texts, guesses, strict=True)]
