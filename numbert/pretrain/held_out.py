"""HeldOut: the documents that are held out, with masks, and what guessing reaches on them."""

from __future__ import annotations

from numbert.bert.tasks.pretraining import BertForPreTraining
from numbert.errors import InputError
from numbert.files.tokenizer import vocabulary_size
from numbert.nn.array import Array
from numbert.pretrain.baselines import PieceCounts
from numbert.pretrain.batches import Batch, make_batch
from numbert.pretrain.evaluation import Scores, evaluate
from numbert.pretrain.pairs import PairStream
from numbert.pretrain.settings import Settings
from numbert.randomness import Purpose, generator
from numbert.text.documents import Documents
from numbert.text.prepare import Data
from numbert.text.vocabulary import pieces_that_go_on

PAIRS_AT_MOST = 4_000  # are looked at in every evaluation
TOKENS_AT_MOST = 50_000_000  # of the text are counted for guessing


class BatchMaker:
    """Makes batches whose masks depend on nothing but the run's seed, a purpose and a number."""

    def __init__(self, data: Data, settings: Settings) -> None:
        self.settings = settings
        self.vocab_size = vocabulary_size(data.tokenizer)
        self.goes_on = pieces_that_go_on(data.tokenizer) if settings.whole_words else None

    def make(self, documents: Documents, pairs: Array, purpose: Purpose, number: int) -> Batch:
        """Makes the batch of pairs, int64 [b,5], of the documents."""
        return make_batch(
            documents,
            pairs,
            self.vocab_size,
            self.settings.max_predictions,
            generator(self.settings.seed, purpose, number),
            self.goes_on,
        )


class HeldOut:
    """Pairs of the held-out documents with masks that are always the same.

    Args:
        data: the prepared text.
        settings: the run's.
        pairs_at_most: how many pairs are looked at; fewer where the documents do not have as many.

    Attributes:
        batches: the pairs, in batches of the run's size.
        masked, pairs: how many masked tokens and pairs there are in all.
        frequencies, bigrams: what guessing from piece frequencies, and from the token to the left, gives on them.

    Raises:
        InputError: there is no pair, or no token to mask.
    """

    def __init__(self, data: Data, settings: Settings, pairs_at_most: int = PAIRS_AT_MOST) -> None:
        maker, size = BatchMaker(data, settings), settings.batch_size
        key = (settings.seed, Purpose.HELD_OUT)
        stream = PairStream(data.held_out, settings.length, key, near=settings.near)
        pairs = stream.one_epoch(pairs_at_most)
        self.batches = [
            maker.make(data.held_out, pairs[start : start + size], Purpose.HELD_OUT_MASKS, start)
            for start in range(0, len(pairs), size)
        ]
        self.masked = sum(batch.masked for batch in self.batches)
        self.pairs = sum(batch.pairs for batch in self.batches)
        if not self.masked:
            raise InputError("no word of the held-out documents is in the vocabulary; there is too little text")
        counts = PieceCounts.of(data.train.ids[:TOKENS_AT_MOST], maker.vocab_size)
        self.frequencies = counts.by_frequency(self.batches)
        self.bigrams = counts.by_token_to_the_left(self.batches)

    def scores(self, model: BertForPreTraining) -> Scores:
        """The model's scores on the batches, without dropout. Whether it is in training stays as it was."""
        return evaluate(model, self.batches)
