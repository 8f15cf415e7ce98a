"""The documents that are held out: how well a model knows them, and what guessing would reach."""

from __future__ import annotations

from numbert.bert.tasks.pretraining import BertForPreTraining
from numbert.errors import InputError
from numbert.files.tokenizer import vocabulary_size
from numbert.nn.array import Array
from numbert.pretrain.baselines import WordCounts
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
    """Makes batches whose masks depend on the run's seed, a purpose and a number alone."""

    def __init__(self, data: Data, settings: Settings) -> None:
        self.settings = settings
        self.vocab_size = vocabulary_size(data.tokenizer)
        self.goes_on = pieces_that_go_on(data.tokenizer) if settings.whole_words else None

    def make(self, documents: Documents, pairs: Array, purpose: Purpose, number: int) -> Batch:
        """Of pairs [b,5] in the documents."""
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
        pairs_at_most: how many.

    Attributes:
        batches: of the run's batch size.
        words, pairs: how many masked words and pairs there are in all.
        frequencies, bigrams: what guessing gives on them.
    """

    def __init__(self, data: Data, settings: Settings, pairs_at_most: int = PAIRS_AT_MOST) -> None:
        maker, size = BatchMaker(data, settings), settings.batch_size
        pairs = PairStream(data.held_out, settings.length, (settings.seed, Purpose.HELD_OUT)).one_epoch(
            pairs_at_most
        )
        self.batches = [
            maker.make(data.held_out, pairs[start : start + size], Purpose.HELD_OUT_MASKS, start)
            for start in range(0, len(pairs), size)
        ]
        self.words = sum(batch.words for batch in self.batches)
        self.pairs = sum(batch.pairs for batch in self.batches)
        if not self.words:
            raise InputError("no word of the held-out documents is in the vocabulary; there is too little text")
        counts = WordCounts.of(data.train.ids[:TOKENS_AT_MOST], maker.vocab_size)
        self.frequencies = counts.by_frequency(self.batches)
        self.bigrams = counts.by_word_to_the_left(self.batches)

    def scores(self, model: BertForPreTraining) -> Scores:
        """Without dropout; train() or eval() is afterwards as it was."""
        return evaluate(model, self.batches)
