"""What guessing gives: from piece frequencies, and from the token to the left."""

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
class Baseline:
    """How good a way of guessing is, as means over masked tokens.

    Attributes:
        mlm_loss: in nats.
        mlm_accuracy: from 0 to 1.
    """

    mlm_loss: float
    mlm_accuracy: float

    @property
    def perplexity(self) -> float:
        """The exponential of mlm_loss."""
        return math.exp(self.mlm_loss)


@dataclass(frozen=True)
class PieceCounts:
    """How often each piece comes in a text, and how often after which other.

    Attributes:
        pieces: float64 [v], the count of each piece and 1 more, so that none is impossible.
        pairs: int64 [different pairs], ascending: left * v + right, where the piece `right` follows the piece
            `left` at least once. Pairs span the ends of sentences.
        times: int64 [different pairs], how often each pair comes.
    """

    pieces: Array
    pairs: Array
    times: Array

    @classmethod
    def of(cls, ids: Array, vocab_size: int) -> PieceCounts:
        """Counts a text of any size, some of it at a time.

        Args:
            ids: integers [tokens], the text.
            vocab_size: v; every id is below it.
        """
        pieces = np.ones(vocab_size)
        pairs = times = np.zeros(0, np.int64)
        for start in range(0, len(ids), _TOKENS_AT_A_TIME):
            part = ids[start : start + _TOKENS_AT_A_TIME + 1].astype(np.int64)
            pieces += np.bincount(part[:_TOKENS_AT_A_TIME], minlength=vocab_size)
            new, count = np.unique(part[:-1] * vocab_size + part[1:], return_counts=True)
            pairs, place = np.unique(np.concatenate([pairs, new]), return_inverse=True)
            times = np.bincount(place, np.concatenate([times, count])).astype(np.int64)
        return cls(pieces, pairs, times)

    def by_frequency(self, batches: Sequence[Batch]) -> Baseline:
        """Guesses at every masked token alike: each piece is as probable as it is frequent."""
        probabilities = self.pieces / self.pieces.sum()
        _, masked = _masked(batches)
        return Baseline(
            mlm_loss=-float(np.log(probabilities[masked]).mean()),
            mlm_accuracy=float((masked == probabilities.argmax()).mean()),
        )

    def by_token_to_the_left(self, batches: Sequence[Batch]) -> Baseline:
        """Guesses from the token to the left, which may be masked itself: it is taken as the model sees it.

        c(l, w) is how often the piece w follows l, c(l) is the sum over w, n(l) is how many different pieces
        follow l, and p(w) is the frequency of w. Then the probability of w after l is
        p(w | l) = (c(l, w) + n(l) p(w)) / (c(l) + n(l)) (Witten & Bell 1991). After [MASK], [CLS] and
        [SEP], and after a piece that was never seen, it is p(w).
        """
        probabilities = self.pieces / self.pieces.sum()
        lefts, masked = _masked(batches)
        loss, right = 0.0, 0
        for left in np.unique(lefts).tolist():
            expected = masked[lefts == left]
            first, last = np.searchsorted(self.pairs, [left * len(self.pieces), (left + 1) * len(self.pieces)])
            after = probabilities * (last - first) if last > first else probabilities.copy()  # [v]
            after[self.pairs[first:last] % len(self.pieces)] += self.times[first:last]
            after /= after.sum()
            loss -= float(np.log(after[expected]).sum())
            right += int((expected == after.argmax()).sum())
        return Baseline(mlm_loss=loss / len(masked), mlm_accuracy=right / len(masked))


def _masked(batches: Sequence[Batch]) -> tuple[Array, Array]:
    """The ids of the token to the left of each masked token, and the true ids of the masked ones; [m] each."""
    lefts, masked = [], []
    for batch in batches:
        row, place = np.nonzero(batch.labels != IGNORE)
        lefts.append(batch.input_ids[row, place - 1])
        masked.append(batch.labels[row, place])
    return np.concatenate(lefts), np.concatenate(masked)
