"""What guessing gives: from word frequencies, and from the word to the left."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from numbert.nn.array import Array
from numbert.nn.functional import IGNORE
from numbert.pretrain.batches import Batch

_TOKENS_AT_A_TIME = 1 << 22


@dataclass(frozen=True)
class Guess:
    """The mean over masked words. Losses are in nats, accuracies from 0 to 1."""

    mlm_loss: float
    mlm_accuracy: float

    @property
    def perplexity(self) -> float:
        """exp(mlm_loss)."""
        return math.exp(self.mlm_loss)


@dataclass(frozen=True)
class WordCounts:
    """How often each word comes in a text, and after each other.

    Attributes:
        words: float64 [v], each counted once more than it comes, so that none is impossible.
        pairs: int64 [different pairs], ascending: left * v + right.
        times: int64 [different pairs], how often each comes. Pairs span the ends of sentences.
    """

    words: Array
    pairs: Array
    times: Array

    @classmethod
    def of(cls, ids: Array, vocab_size: int) -> WordCounts:
        """Counts a text of any size, some of it at a time."""
        words = np.ones(vocab_size)
        pairs = times = np.zeros(0, np.int64)
        for start in range(0, len(ids), _TOKENS_AT_A_TIME):
            piece = ids[start : start + _TOKENS_AT_A_TIME + 1].astype(np.int64)
            words += np.bincount(piece[:_TOKENS_AT_A_TIME], minlength=vocab_size)
            new, count = np.unique(piece[:-1] * vocab_size + piece[1:], return_counts=True)
            pairs, place = np.unique(np.concatenate([pairs, new]), return_inverse=True)
            times = np.bincount(place, np.concatenate([times, count])).astype(np.int64)
        return cls(words, pairs, times)

    def by_frequency(self, batches: Sequence[Batch]) -> Guess:
        """Always the same guess: every word as probable as it is frequent."""
        probabilities = self.words / self.words.sum()
        _, words = _masked(batches)
        return Guess(
            mlm_loss=-float(np.log(probabilities[words]).mean()),
            mlm_accuracy=float((words == probabilities.argmax()).mean()),
        )

    def by_word_to_the_left(self, batches: Sequence[Batch]) -> Guess:
        """Each word as probable as it is after the one to its left, which is as the model sees it.

        With c(l, w) the times of w after l, of which n(l) different ones, and p the frequencies:
        p(w | l) = (c(l, w) + n(l) p(w)) / (c(l) + n(l)) (Witten & Bell 1991). After [MASK], [CLS] and
        [SEP], and after a word that was never seen, it is p(w).
        """
        probabilities = self.words / self.words.sum()
        lefts, words = _masked(batches)
        loss, right = 0.0, 0
        for left in np.unique(lefts).tolist():
            expected = words[lefts == left]
            first, last = np.searchsorted(self.pairs, [left * len(self.words), (left + 1) * len(self.words)])
            after = probabilities * (last - first) if last > first else probabilities.copy()  # [v]
            after[self.pairs[first:last] % len(self.words)] += self.times[first:last]
            after /= after.sum()
            loss -= float(np.log(after[expected]).sum())
            right += int((expected == after.argmax()).sum())
        return Guess(mlm_loss=loss / len(words), mlm_accuracy=right / len(words))


def _masked(batches: Sequence[Batch]) -> tuple[Array, Array]:
    """-> the token to the left of each masked word, and the word; [m] each."""
    lefts, words = [], []
    for batch in batches:
        row, place = np.nonzero(batch.labels != IGNORE)
        lefts.append(batch.input_ids[row, place - 1])
        words.append(batch.labels[row, place])
    return np.concatenate(lefts), np.concatenate(words)
