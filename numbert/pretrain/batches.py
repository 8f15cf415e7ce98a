"""Pairs and masks as the arrays that the model takes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np

from numbert.nn.array import Array
from numbert.nn.functional import IGNORE
from numbert.pretrain.settings import MASKED
from numbert.text.documents import Documents
from numbert.text.vocabulary import CLS, FIRST_PIECE, MASK, PAD, SEP

# Parts of the tokens that are to be predicted; the rest of these stay as they are.
REPLACED_BY_MASK = 0.8
REPLACED_BY_RANDOM_PIECE = 0.1


@dataclass(frozen=True)
class Batch:
    """What the model learns from in one update, or is scored on at once: pairs of segments with masked tokens.

    The attributes are the keyword arguments of BertForPreTraining.forward, all int64.

    Attributes:
        input_ids: [b,l], [CLS] A [SEP] B [SEP] and then [PAD], with tokens masked.
        token_type_ids: [b,l], 0 from [CLS] to the first [SEP], 1 for B and its [SEP], 0 for [PAD].
        attention_mask: [b,l], 0 for [PAD] and 1 elsewhere.
        labels: [b,l], the true id where a token is to be predicted and -100 elsewhere.
        next_sentence_label: [b], 0 where B is the text after A and 1 where it is not.
    """

    input_ids: Array
    token_type_ids: Array
    attention_mask: Array
    labels: Array
    next_sentence_label: Array

    @property
    def masked(self) -> int:
        """How many tokens are to be predicted."""
        return int((self.labels != IGNORE).sum())

    @property
    def pairs(self) -> int:
        """How many pairs there are, b."""
        return len(self.next_sentence_label)

    @property
    def tokens(self) -> int:
        """How many tokens there are, without [PAD]."""
        return int(self.attention_mask.sum())

    def part(self, index: int, count: int) -> Self:
        """The batch of the pairs number index, index + count, index + 2 count, ..."""
        return type(self)(**{name: array[index::count] for name, array in vars(self).items()})


def assemble(ids: Array, pairs: Array) -> tuple[Array, Array, Array]:
    """Puts pairs into rows: [CLS] A [SEP] B [SEP], and [PAD] up to the length l of the longest pair.

    Args:
        ids: integers [tokens], the text.
        pairs: int64 [b,5], as `make_pairs` gives them.

    Returns:
        input_ids, token_type_ids and attention_mask, int64 [b,l] each.
    """
    a_start, a_stop, b_start, b_stop = pairs[:, :4].T[..., None]  # each [b,1]
    first_sep = 1 + a_stop - a_start  # the place of [SEP] after [CLS] A
    last_sep = first_sep + 1 + b_stop - b_start
    place = np.arange(last_sep.max() + 1)  # [l]

    in_b = (first_sep < place) & (place < last_sep)
    in_a = (place > 0) & (place < first_sep)
    source = np.where(in_b, b_start + place - first_sep - 1, a_start + place - 1)  # where a token stands in ids
    input_ids = np.where(in_a | in_b, ids[np.where(in_a | in_b, source, 0)], PAD).astype(np.int64)
    input_ids[:, 0] = CLS
    input_ids[(place == first_sep) | (place == last_sep)] = SEP
    token_type_ids = ((first_sep < place) & (place <= last_sep)).astype(np.int64)
    return input_ids, token_type_ids, (place <= last_sep).astype(np.int64)


def mask_tokens(
    input_ids: Array,
    vocab_size: int,
    max_predictions: int,
    rng: np.random.Generator,
    goes_on: Array | None = None,
) -> tuple[Array, Array]:
    """Chooses the tokens to predict and masks them.

    Of the n tokens of a row that are not special, 0.15 n are chosen, each with the same probability (0.15 n is
    rounded up or down at random, so that it is the mean), at least 1 and at most max_predictions. A chosen token
    becomes [MASK] with probability 0.8 and a random piece of the vocabulary with 0.1, and stays as it is with
    0.1: the model must not learn that whatever is not [MASK] is right.

    Args:
        input_ids: integers [b,l]. Ids below 5 are special tokens, which are neither chosen nor put in.
        vocab_size: v, from which the random pieces are drawn.
        max_predictions: the most tokens that are chosen in a row.
        rng: what is drawn from.
        goes_on: bool [v], which pieces go on a word (##ing). If it is given, all tokens of a word are chosen or
            none: whole words are drawn, and a word that would make it too many tokens is passed over. In a row
            whose words are all too long, one token is chosen.

    Returns:
        the masked input_ids, and labels: the true id where a token was chosen, -100 elsewhere; int64 [b,l] each.
    """
    ordinary = input_ids >= FIRST_PIECE
    count = ordinary.sum(axis=1)
    wanted = np.floor(MASKED * count + rng.random(len(count)))
    wanted = np.minimum(np.maximum(wanted, 1), max_predictions)
    lottery = np.where(ordinary, rng.random(input_ids.shape), 2.0)
    if goes_on is None:
        # The tokens with the `wanted` lowest of random numbers: rank [b,l] is each one's place in its row's order.
        rank = lottery.argsort(axis=1).argsort(axis=1)
        chosen = ordinary & (rank < wanted[:, None])
    else:
        chosen = _whole_words(ordinary, goes_on[input_ids], lottery, wanted)

    labels = np.where(chosen, input_ids, IGNORE)
    fate = rng.random(input_ids.shape)
    masked = np.where(chosen & (fate < REPLACED_BY_MASK), MASK, input_ids)
    random_piece = chosen & (fate >= 1 - REPLACED_BY_RANDOM_PIECE)
    masked[random_piece] = rng.integers(FIRST_PIECE, vocab_size, random_piece.sum())
    return masked, labels


def _whole_words(ordinary: Array, goes_on: Array, lottery: Array, wanted: Array) -> Array:
    """Chooses words in the order of their first tokens' lottery, as many as fit in `wanted` tokens: bool [b,l]."""
    begins = ordinary.copy()  # a piece after a special token begins a word, although its head was cut off
    begins[:, 1:] &= ~(goes_on[:, 1:] & ordinary[:, :-1])
    chosen = np.zeros_like(ordinary)
    for row in range(len(ordinary)):
        starts = np.flatnonzero(begins[row])
        room = int(wanted[row])
        for start in starts[lottery[row, starts].argsort()].tolist():
            stop = start + 1
            while stop < ordinary.shape[1] and ordinary[row, stop] and not begins[row, stop]:
                stop += 1
            if stop - start <= room:
                chosen[row, start:stop] = True
                room -= stop - start
            if not room:
                break
        if room == wanted[row]:
            first = lottery[row].argmin()
            chosen[row, first] = ordinary[row, first]  # a row may have [UNK] only
    return chosen


def make_batch(
    documents: Documents,
    pairs: Array,
    vocab_size: int,
    max_predictions: int,
    rng: np.random.Generator,
    goes_on: Array | None = None,
) -> Batch:
    """Makes a batch of pairs, int64 [b,5], with new masks; the other arguments are those of `mask_tokens`."""
    input_ids, token_type_ids, attention_mask = assemble(documents.ids, pairs)
    input_ids, labels = mask_tokens(input_ids, vocab_size, max_predictions, rng, goes_on)
    return Batch(input_ids, token_type_ids, attention_mask, labels, next_sentence_label=pairs[:, 4])
