"""fill_mask: finds the most probable pieces for each [MASK]."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from numbert.bert.tasks.decoding import largest
from numbert.bert.tasks.pretraining import BertForMaskedLM, BertForPreTraining
from numbert.errors import InputError, as_integer, shown
from numbert.inference.batches import as_batch_size, batches, refuse_overlong
from numbert.inference.models import require_head
from numbert.inference.texts import as_texts, as_tokenizer
from numbert.nn.functional import softmax
from numbert.nn.switches import no_grad

if TYPE_CHECKING:
    from tokenizers import Tokenizer


@dataclass
class Guess:
    """A piece that is offered for a mask.

    Attributes:
        token: the piece, or "id N" if the tokenizer has none for that id.
        probability: its probability among all pieces of the vocabulary, from 0 to 1.
    """

    token: str
    probability: float


@dataclass
class FilledMask:
    """One text and the guesses for its masks.

    Attributes:
        text: the text, as it was given.
        masks: for each [MASK] in the text, in order, the best guesses, best first.
    """

    text: str
    masks: list[list[Guess]]

    def to_dict(self) -> dict[str, Any]:
        """Returns the fields as a dict that JSON can hold."""
        return asdict(self)


def fill_mask(
    model: BertForMaskedLM | BertForPreTraining,
    tokenizer: Tokenizer,
    texts: str | Iterable[str],
    top_k: int = 5,
    batch_size: int = 64,
    progress: bool = False,
) -> list[FilledMask]:
    """Finds the top_k most probable pieces for every [MASK] in every text. Only masked positions are decoded.

    Args:
        texts: one text, or a list, tuple, array, Series or generator of texts.
        top_k: the number of guesses for each mask.
        batch_size: how many texts are computed at a time.
        progress: whether to show a bar on stderr.

    Returns:
        a FilledMask for each text, in order; for a single text a list of one.

    Raises:
        InputError: a text has no [MASK], has more tokens than the model has positions, or is no str; top_k is not
            between 1 and the size of the vocabulary; batch_size is below 1; or the model has no head for masked
            tokens.
    """
    require_head(
        model, (BertForMaskedLM, BertForPreTraining), "masked tokens", "fill_mask(model, tokenizer, texts)"
    )
    tokenizer = as_tokenizer(tokenizer)
    batch_size = as_batch_size(batch_size)
    top_k = as_integer("top_k", top_k)
    if not 1 <= top_k <= model.config.vocab_size:
        raise InputError(f"top_k is {shown(top_k)}; it can be 1 to {model.config.vocab_size}")
    texts = as_texts(texts)
    mask_id = tokenizer.token_to_id("[MASK]")
    encodings = tokenizer.encode_batch(texts)
    for text, encoding in zip(texts, encodings, strict=True):
        refuse_overlong(encoding, text, model)
        if mask_id not in encoding.ids:
            raise InputError(f"there is no [MASK] in {shown(text)}")
    guesses: list[list[list[Guess]]] = [[] for _ in texts]
    for indices, batch in batches(encodings, batch_size, model, progress):
        rows, columns = np.nonzero(batch["input_ids"] == mask_id)
        with no_grad():
            sequence_output = model.bert(**batch, return_dict=True, unpad=True).last_hidden_state  # [b,l,e]
            probs = softmax(model.cls.predictions(sequence_output[rows, columns]))  # [m,e] -> [m,v]
        best = largest(probs, top_k)  # [m,top_k]
        for row, ids, row_probs in zip(rows, best, probs, strict=True):
            guesses[indices[row]].append(
                [Guess(tokenizer.id_to_token(int(i)) or f"id {i}", float(row_probs[i])) for i in ids]
            )
    return [FilledMask(text, masks) for text, masks in zip(texts, guesses, strict=True)]
