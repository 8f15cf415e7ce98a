"""The pairs of segments that next-sentence prediction is asked about: an endless stream that can be resumed."""

from __future__ import annotations

import sys
from array import array
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from numbert.errors import InputError
from numbert.nn.array import Array
from numbert.randomness import Purpose, generator
from numbert.text.documents import Documents

IS_NEXT, NOT_NEXT = 0, 1
# One in ten examples is made shorter than it could be, so that the model sees short inputs too.
SHORT_PROBABILITY = 0.1
# Documents come in random order, and this many tokens' worth of them are made into pairs at a time, which are then
# shuffled: text of any size takes no more memory, and no step waits long for its pairs.
TOKENS_AT_A_TIME = 1 << 20


@dataclass
class Position:
    """The place of a `PairStream`.

    Attributes:
        epoch: how many epochs are over.
        part: how many parts of this epoch are over.
        pair: how many pairs of this part were taken.
    """

    epoch: int = 0
    part: int = 0
    pair: int = 0


class PairStream:
    """An endless stream of pairs. Each epoch goes through all documents, in a new order and with new pairs.

    The pairs depend on nothing but the documents, max_length, the key and the position.

    Args:
        documents: at least two, as half of the pairs take B from another document.
        max_length: the most tokens of a pair, with its [CLS] and two [SEP].
        key: the seed and purpose of the random numbers.
        position: where to go on; by default at the beginning.
        near: from how near a document a B that does not follow comes (see `make_pairs`).

    Raises:
        InputError: there is no pair, as no document has two sentences, or there is only one document.
    """

    def __init__(
        self,
        documents: Documents,
        max_length: int,
        key: tuple[int, Purpose],
        position: Position | None = None,
        near: int = 0,
    ) -> None:
        if not np.diff(documents.documents).max(initial=0) > 1:
            raise InputError("there is no pair of sentences to learn from: no document has two")
        if len(documents) < 2:
            raise InputError("there is 1 document with text; next-sentence prediction needs another one")
        self.documents, self.max_length, self.key, self.near = documents, max_length, key, near
        self.position = position or Position()
        self._parts: list[Array] | None = None  # the documents of each part of this epoch
        self._pairs: Array | None = None  # of this part

    def take(self, count: int) -> Array:
        """Takes the next pairs, int64 [count,5], as `make_pairs` gives them, and moves the position on."""
        taken: list[Array] = []
        while (missing := count - sum(map(len, taken))) > 0:
            if self._pairs is None:
                self._pairs = self._make_part()
            position = self.position
            more = self._pairs[position.pair : position.pair + missing]
            taken.append(more)
            position.pair += len(more)
            if position.pair == len(self._pairs):
                self._next_part()
        return np.concatenate(taken)

    def one_epoch(self, at_most: int = sys.maxsize) -> Array:
        """The pairs of the first epoch, or the first `at_most` of them: int64 [pairs,5]. The position stays."""
        made: list[Array] = []
        for index, part in enumerate(self._cut(0)):
            if sum(map(len, made)) < at_most:
                made.append(self._make(0, index, part))
        return np.concatenate(made)[:at_most]

    def _make_part(self) -> Array:
        if self._parts is None:
            self._parts = self._cut(self.position.epoch)
        return self._make(self.position.epoch, self.position.part, self._parts[self.position.part])

    def _make(self, epoch: int, index: int, part: Array) -> Array:
        rng = generator(*self.key, epoch, 1 + index)
        return make_pairs(self.documents, self.max_length, rng, part.tolist(), self.near)

    def _cut(self, epoch: int) -> list[Array]:
        order = generator(*self.key, epoch).permutation(len(self.documents))
        ends = np.diff(self.documents.starts())[order].cumsum()
        return np.split(order, np.flatnonzero(np.diff(ends // TOKENS_AT_A_TIME)) + 1)

    def _next_part(self) -> None:
        assert self._parts is not None
        position, self._pairs = self.position, None
        position.part, position.pair = position.part + 1, 0
        if position.part == len(self._parts):
            position.epoch, position.part, self._parts = position.epoch + 1, 0, None


def make_pairs(
    documents: Documents, max_length: int, rng: np.random.Generator, chosen: Iterable[int], near: int = 0
) -> Array:
    """Cuts the chosen documents, from the first sentence to the last, into pairs of segments A and B.

    As in create_pretraining_data.py of google-research/bert, sentences are gathered until they fill the length,
    or with probability 0.1 a shorter one. A random number of them, at least one, is A. With probability 1/2, B is
    the rest. Otherwise B is a run of sentences of about that length in another document, from a random sentence
    on, and the rest is gathered again for the next pair. A pair that is too long loses tokens, the longer segment
    first, each from its front or its back with equal probability.

    Unlike there, at least two sentences are gathered, and a last sentence that is left alone is not used in this
    epoch: so on average exactly one half of the pairs are next sentences.

    Args:
        documents: at least two, as half of the pairs take B from another document.
        max_length: the most tokens of a pair, with its [CLS] and two [SEP].
        rng: what is drawn from.
        chosen: the numbers of the documents to cut, from 0.
        near: a B that does not follow is from one of the `near` documents before A's or after it, the first
            document coming after the last; 0 takes any other document.

    Returns:
        int64 [pairs,5], in random order: where A starts and stops in `documents.ids`, where B does, and the
        next_sentence_label, 0 where B is the text after A and 1 where it is not.
    """
    most = max_length - 3
    pairs = array("q")  # a tenth of the memory of a list of tuples
    for document in chosen:
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
                b, label, sentence = _from_another(documents, document, wanted, rng, near), NOT_NEXT, middle
            pairs.extend((*_truncated(a, b, most, rng), label))
    return rng.permutation(np.array(pairs, np.int64).reshape(-1, 5))


def _gathered(documents: Documents, first: int, stop: int, target: int, at_least: int = 1) -> int:
    """The sentence after a run from `first` that has `target` tokens or ends at `stop`."""
    full = int(np.searchsorted(documents.sentences, documents.sentences[first] + target))
    return min(max(full, first + at_least), stop)


def _from_another(
    documents: Documents, document: int, wanted: int, rng: np.random.Generator, near: int
) -> tuple[int, int]:
    others = len(documents) - 1
    step = 1 + int(rng.integers(min(2 * near, others) if near else others))
    if near and step > near:
        step = near - step  # before it
    other = (document + step) % len(documents)
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
