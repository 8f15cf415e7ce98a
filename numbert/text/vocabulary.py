"""A WordPiece vocabulary learned from text."""

from __future__ import annotations

import re
import string
from collections import Counter
from collections.abc import Iterable
from itertools import chain

import numpy as np
from tokenizers import Tokenizer
from tokenizers.trainers import WordPieceTrainer

from numbert.errors import InputError
from numbert.files.tokenizer import SPECIAL_TOKENS, bert_tokenizer, vocabulary_size
from numbert.nn.array import Array

# Their ids, 0 to 4; [PAD] is 0 as in every published BERT.
PAD, UNK, CLS, SEP, MASK = range(5)
FIRST_PIECE = 5
# A character rarer than one in this many is left to [UNK]: it would cost one or two pieces of the vocabulary.
RARE = 1_000_000
# The characters that BERT takes for a word each: Chinese ones, also in Japanese and Korean.
CHINESE = re.compile(
    "[\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0002a6df\U0002a700-\U0002ceaf\U0002f800-\U0002fa1f]"
)


def train_tokenizer(sentences: Iterable[str], vocab_size: int) -> Tokenizer:
    """Learns a cased WordPiece vocabulary: the same sentences give the same vocabulary, id for id.

    It starts from the text's characters and joins, again and again, the two pieces that most often stand side by
    side, until there are vocab_size pieces, or no two stand side by side more than once.

    Args:
        sentences: the text; it is read twice, so it must not be an iterator.
        vocab_size: the most pieces, the special tokens included.

    Raises:
        InputError: vocab_size does not hold the special tokens and the text's characters.
    """
    counts = Counter(chain.from_iterable(sentences))
    rare = counts.total() / RARE
    characters = sorted(c for c, count in counts.items() if count > rare and not c.isspace())
    # A punctuation mark or a Chinese character is a word of its own and never goes on another.
    continuations = [f"##{c}" for c in characters if c not in string.punctuation and not CHINESE.match(c)]
    first = [*SPECIAL_TOKENS.values(), *continuations]
    if vocab_size < len(first) + len(characters):
        raise InputError(
            f"vocab_size is {vocab_size}; the special tokens and the characters of this text alone take "
            f"{len(first) + len(characters)}"
        )
    # The trainer numbers "##a" and its like in an order that changes from run to run, and where two pairs are
    # equally frequent it goes by the numbers. Named as special tokens here, they have fixed ones.
    trainer = WordPieceTrainer(
        vocab_size=vocab_size,
        special_tokens=first,
        initial_alphabet=characters,
        limit_alphabet=len(characters),
        show_progress=False,
    )
    learner = _cased({token: index for index, token in enumerate(SPECIAL_TOKENS.values())})
    learner.train_from_iterator(sentences, trainer)
    return _cased(learner.get_vocab())


def pieces_that_go_on(tokenizer: Tokenizer) -> Array:
    """Which pieces go on a word (##ing) and do not begin one: bool [v]."""
    return np.array([str(tokenizer.id_to_token(i)).startswith("##") for i in range(vocabulary_size(tokenizer))])


def _cased(vocab: dict[str, int]) -> Tokenizer:
    return bert_tokenizer(vocab, do_lower_case=False)
