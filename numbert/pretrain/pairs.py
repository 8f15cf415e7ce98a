"""Documents as token ids, and the pairs of segments that next-sentence prediction is asked about."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain

import numpy as np
from tokenizers import Tokenizer

from numbert.nn.module import Array

IS_NEXT, NOT_NEXT = 0, 1
# One in ten examples is made shorter than it could be, so that the model sees short inputs too.
SHORT_PROBABILITY = 0.1


@dataclass(frozen=True)
class Documents:
    """All text as one row of ids: sentence i is ids[sentences[i]:sentences[i + 1]], and document j has the
    sentences documents[j] to documents[j + 1] - 1.

    Attributes:
        ids: int32 [tokens], without special tokens.
        sentences: int64 [number of sentences + 1], where each begins in ids, and the end.
        documents: int64 [number of documents + 1], the first sentence of each, and the end.
    """

    ids: Array
    sentences: Array
    documents: Array

    def __len__(self) -> int:
        return len(self.documents) - 1


def tokenize(tokenizer: Tokenizer, documents: Sequence[Sequence[str]]) -> Documents:
    """Documents of sentences as ids. Sentences that come to no token are left out, then empty documents."""
    tokenizer.encode_special_tokens = True  # "[SEP]" in a text is not the token here
    encodings = tokenizer.encode_batch(list(chain.from_iterable(documents)), add_special_tokens=False)
    tokenizer.encode_special_tokens = False
    lengths = np.array([len(encoding) for encoding in encodings], np.int64)
    owner = np.repeat(np.arange(len(documents)), [len(document) for document in documents])[lengths > 0]
    counts = np.bincount(owner, minlength=len(documents))
    return Documents(
        ids=np.fromiter(chain.from_iterable(encoding.ids for encoding in encodings), np.int32),
        sentences=_starts(lengths[lengths > 0]),
        documents=_starts(counts[counts > 0]),
    )


def make_pairs(documents: Documents, max_length: int, rng: np.random.Generator) -> Array:
    """One pass over all documents as pairs of segments, A and B, in random order.

    As in Google's create_pretraining_data: sentences are gathered until they fill the length; a random number of
    them, at least one, is A. With probability 1/2 B is the rest; else B is as long a run of sentences of another
    document, from a random sentence on, and the rest is gathered anew. What is then too long loses tokens, the
    longer segment first, each from its front or its back with equal probability.

    Unlike there, at least two sentences are gathered, and a last one that stays alone is left out of this pass:
    so exactly one half of the pairs are next sentences, on average.

    Args:
        documents: at least two, so that there is another one.
        max_length: of a pair with its [CLS] and two [SEP].

    Returns:
        int64 [pairs, 5]: where A starts and stops in `documents.ids`, where B starts and stops, and the
        next_sentence_label, 0 is next, 1 is not.
    """
    most = max_length - 3
    pairs = []
    for document in rng.permutation(len(documents)).tolist():
        sentence, stop = documents.documents[document : document + 2].tolist()
        while stop - sentence >= 2:
            target = most if rng.random() >= SHORT_PROBABILITY else int(rng.integers(2, most + 1))
            after = _gathered(documents, sentence, stop, target, at_least=2)
            middle = int(rng.integers(sentence + 1, after))
            a = _tokens(documents, sentence, middle)
            if rng.random() < 0.5:
                b, label, sentence = _tokens(documents, middle, after), IS_NEXT, after
            else:
                wanted = max(1, target - (a[1] - a[0]))
                b, label, sentence = _from_another(documents, document, wanted, rng), NOT_NEXT, middle
            pairs.append((*_truncated(a, b, most, rng), label))
    return rng.permutation(np.array(pairs, np.int64).reshape(-1, 5))


def _gathered(documents: Documents, first: int, stop: int, target: int, at_least: int = 1) -> int:
    """The sentence after a run from `first` that has `target` tokens or ends at `stop`."""
    full = int(np.searchsorted(documents.sentences, documents.sentences[first] + target))
    return min(max(full, first + at_least), stop)


def _from_another(documents: Documents, document: int, wanted: int, rng: np.random.Generator) -> tuple[int, int]:
    other = (document + int(rng.integers(1, len(documents)))) % len(documents)
    first, stop = documents.documents[other : other + 2].tolist()
    start = int(rng.integers(first, stop))
    return _tokens(documents, start, _gathered(documents, start, stop, wanted))


def _tokens(documents: Documents, first: int, after: int) -> tuple[int, int]:
    return int(documents.sentences[first]), int(documents.sentences[after])


def _truncated(
    a: tuple[int, int], b: tuple[int, int], most: int, rng: np.random.Generator
) -> tuple[int, int, int, int]:
    """A and B with no more than `most` tokens together: the longer loses tokens until both are equally long,
    then both in turn. Each lost token is the first or the last that is left: binomially many are first ones."""
    length_a, length_b = a[1] - a[0], b[1] - b[0]
    if length_a + length_b > most:
        kept_b = min(length_b, max(most // 2, most - length_a))
        kept_a = most - kept_b
        front_a = int(rng.binomial(length_a - kept_a, 0.5))
        front_b = int(rng.binomial(length_b - kept_b, 0.5))
        a = (a[0] + front_a, a[0] + front_a + kept_a)
        b = (b[0] + front_b, b[0] + front_b + kept_b)
    return (*a, *b)


def _starts(lengths: Array) -> Array:
    return np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
