"""A trained model on text: fill masks, judge a next sentence, turn sentences into vectors."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from numbert.bert.model import BertModel
from numbert.bert.pretraining import BertForMaskedLM, BertForNextSentencePrediction, BertForPreTraining
from numbert.errors import InputError
from numbert.nn.functional import softmax
from numbert.nn.module import Array, no_grad

if TYPE_CHECKING:
    from tokenizers import Encoding, Tokenizer


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
    encodings = _encoded(tokenizer, texts, model)
    for text, encoding in zip(texts, encodings, strict=True):
        if mask_id not in encoding.ids:
            raise InputError(f"there is no [MASK] in {_shortened(text)!r}")
    guesses: list[list[list[Guess]]] = [[] for _ in texts]
    for indices, batch in _batches(encodings, batch_size, model, progress):
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


def next_sentence(
    model: BertForNextSentencePrediction | BertForPreTraining,
    tokenizer: Tokenizer,
    first: str,
    second: str,
) -> float:
    """The probability that the second text follows the first.

    Raises:
        InputError: a text is empty, or together they have more tokens than the model has positions.
    """
    if not first.strip() or not second.strip():
        raise InputError("both texts must have words in them")
    encodings = _encoded(tokenizer, [(first, second)], model)
    ((_, batch),) = _batches(encodings, 1, model, progress=False)
    with no_grad():
        outputs = model(**batch)
    logits = outputs.seq_relationship_logits if isinstance(model, BertForPreTraining) else outputs.logits  # [1,2]
    return float(softmax(logits)[0, 0])


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
    for indices, batch in _batches(encodings, batch_size, model, progress):
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


def _encoded(tokenizer: Tokenizer, texts: Sequence[str | tuple[str, str]], model: Any) -> list[Encoding]:
    limit = model.config.max_position_embeddings
    encodings = tokenizer.encode_batch(list(texts))
    for text, encoding in zip(texts, encodings, strict=True):
        if len(encoding.ids) > limit:
            shown = " / ".join(text) if isinstance(text, tuple) else text
            raise InputError(
                f"{_shortened(shown)!r} has {len(encoding.ids)} tokens; the model has {limit} positions"
            )
    return encodings


def _batches(
    encodings: Sequence[Encoding], batch_size: int, model: Any, progress: bool
) -> Iterator[tuple[Array, dict[str, Array]]]:
    """Texts of similar length together, padded to the longest of them: (their indices, the model's inputs)."""
    from tqdm import tqdm

    pad_id = model.config.pad_token_id or 0
    order = np.argsort([-len(encoding.ids) for encoding in encodings], kind="stable")
    with tqdm(total=len(encodings), unit=" texts", disable=not progress, leave=False) as bar:
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
            bar.update(len(indices))


def _shortened(text: str, most: int = 60) -> str:
    return text if len(text) <= most else text[: most - 3] + "..."
