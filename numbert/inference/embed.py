"""embed: makes a vector of each text."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

import numpy as np

from numbert.bert.model import BertModel
from numbert.bert.pretrained import BertPreTrainedModel
from numbert.errors import InputError, shown
from numbert.inference.batches import as_batch_size, batches
from numbert.inference.models import encoder_of
from numbert.inference.texts import Pair, as_texts_and_pairs, as_tokenizer
from numbert.nn.array import Array
from numbert.nn.switches import no_grad

if TYPE_CHECKING:
    from tokenizers import Encoding, Tokenizer


def embed(
    model: BertPreTrainedModel,
    tokenizer: Tokenizer,
    texts: str | Iterable[str | Pair],
    batch_size: int = 64,
    progress: bool = False,
    on_cut: Callable[[list[int]], None] | None = None,
) -> Array:
    """Returns a vector for each text, the mean of the last hidden states of its tokens.

    Texts are computed in batches of similar length; the vectors are in the order of the texts. A text with more
    tokens than the model has positions, l, is cut: [CLS], its first l - 2 tokens, [SEP] count. A pair of texts is
    one text in two segments, [CLS] first [SEP] second [SEP]; of one that is too long, the longer is cut first.

    Args:
        model: a BertModel, or a model with heads, of which only the BertModel inside is used.
        texts: one text, or a list, tuple, array, Series or generator of texts, each a str or a pair of str.
        batch_size: how many texts are computed at a time.
        progress: whether to show a bar on stderr.
        on_cut: a function that is called with the indices of the texts that are cut, if there are any, before
            anything is computed.

    Returns:
        [len(texts),e] in the model's dtype.

    Raises:
        InputError: there are no texts, one of them is no str or has no token, batch_size is below 1, the model has
            no BertModel in it, or tokenizer is no `tokenizers.Tokenizer`.
    """
    encoder = encoder_of(model, "embed(model, tokenizer, texts)")
    batch_size = as_batch_size(batch_size)
    given = as_texts_and_pairs(texts)
    if not given:
        raise InputError("there is no text to embed")
    encodings, cut = _encodings_and_cut(encoder, tokenizer, given)
    if cut and on_cut is not None:
        on_cut(cut)
    vectors = np.empty((len(given), encoder.config.hidden_size), encoder.dtype)
    for indices, batch in batches(encodings, batch_size, encoder, progress):
        with no_grad():
            hidden_states = encoder(**batch, return_dict=True, unpad=True).last_hidden_state  # [b,l,e]
        mask = batch["attention_mask"][:, None, :].astype(encoder.dtype)  # [b,1,l]
        mean = (mask @ hidden_states)[:, 0] / mask.sum(axis=-1)  # [b,1,l] @ [b,l,e] -> [b,e]
        vectors[indices] = mean
    return vectors


def overlong(model: BertPreTrainedModel, tokenizer: Tokenizer, texts: str | Iterable[str | Pair]) -> list[int]:
    """Returns the indices of the texts that `embed` would cut, because they have too many tokens.

    Raises:
        InputError: `embed` would raise it, except that there may be no texts.
    """
    encoder = encoder_of(model, "overlong(model, tokenizer, texts)")
    return _encodings_and_cut(encoder, tokenizer, as_texts_and_pairs(texts))[1]


def _encodings_and_cut(
    encoder: BertModel, tokenizer: Tokenizer, texts: list[Pair | tuple[str]]
) -> tuple[list[Encoding], list[int]]:
    """Encodes each text or pair with its special tokens, cut to the model's length; and tells which were cut."""
    tokenizer = as_tokenizer(tokenizer)
    pieces = iter(tokenizer.encode_batch([part for text in texts for part in text], add_special_tokens=False))
    encodings: list[Encoding] = []
    cut: list[int] = []
    for index, text in enumerate(texts):
        parts = [next(pieces) for _ in text]
        sizes = [len(encoding) for encoding in parts]
        if 0 in sizes:
            empty = shown(text[sizes.index(0)])
            raise InputError(f"text {index}, {empty}, has nothing in it that the tokenizer keeps")
        # Cut before [CLS] and [SEP] are added, so that these stay. The tokenizer's own truncation would do the
        # same, but it is the user's to set, and may be read by another thread.
        special = tokenizer.num_special_tokens_to_add(len(parts) == 2)
        kept = _kept(sizes, encoder.config.max_position_embeddings - special)
        if kept != sizes:
            cut.append(index)
            for encoding, length in zip(parts, kept, strict=True):
                encoding.truncate(length)
        encodings.append(tokenizer.post_process(parts[0], parts[1] if len(parts) == 2 else None))
    return encodings, cut


def _kept(sizes: list[int], room: int) -> list[int]:
    """How many tokens of a text, or of each of a pair, are kept where there is room for that many in all.

    As in the field's truncation "longest_first", the longer one of a pair is cut until both are equally long, and
    then both are, in turn.
    """
    room = max(0, room)
    if sum(sizes) <= room:
        return sizes
    if len(sizes) == 1:
        return [room]
    shorter = min(*sizes, room // 2)
    return [room - shorter, shorter] if sizes[0] > sizes[1] else [shorter, room - shorter]
