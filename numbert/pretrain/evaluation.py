"""What a model has learned: its losses, what word frequencies alone would give, and words filled in."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from tokenizers import Tokenizer

from numbert.bert.pretraining import BertForPreTraining
from numbert.nn.functional import IGNORE, softmax
from numbert.nn.module import Array, no_grad
from numbert.pretrain.batches import Batch
from numbert.pretrain.vocabulary import MASK


@dataclass(frozen=True)
class Scores:
    """Means over all masked words (MLM) and all pairs (NSP). Losses are in nats, accuracies from 0 to 1."""

    mlm_loss: float
    nsp_loss: float
    mlm_accuracy: float
    nsp_accuracy: float

    @property
    def loss(self) -> float:
        return self.mlm_loss + self.nsp_loss


@dataclass(frozen=True)
class Fill:
    """A sentence with one word masked, and what the model takes it for.

    Attributes:
        text: the sentence, with [MASK].
        word: the one that was there.
        guesses: the five most probable ones, each with its probability.
    """

    text: str
    word: str
    guesses: list[tuple[str, float]]


def latest_scores(model: BertForPreTraining, loss: float) -> Scores:
    """The scores of the latest batch: after forward with `return_logits=False` and before backward."""
    saved = model.saved
    if saved is None:
        raise RuntimeError("latest_scores needs a forward outside no_grad() that no backward has used up")
    words = saved.labels[saved.labels != IGNORE]  # [m], in the order of mlm_probs [m,v]
    nsp_of_label = saved.nsp_probs[np.arange(len(saved.nsp_probs)), saved.next_sentence_label]  # [b]
    nsp_loss = float(-np.log(nsp_of_label).mean())
    return Scores(
        mlm_loss=loss - nsp_loss,
        nsp_loss=nsp_loss,
        mlm_accuracy=float((saved.mlm_probs.argmax(axis=-1) == words).mean()),
        nsp_accuracy=float((saved.nsp_probs.argmax(axis=-1) == saved.next_sentence_label).mean()),
    )


def evaluate(model: BertForPreTraining, batches: Sequence[Batch]) -> Scores:
    """The scores over several batches, without dropout; leaves the model in eval()."""
    model.eval()
    scores, words, pairs = [], [], []
    for batch in batches:
        loss = model(**vars(batch), return_logits=False).loss
        scores.append(latest_scores(model, float(loss)))
        model.forget()
        words.append(int((batch.labels != IGNORE).sum()))
        pairs.append(len(batch.next_sentence_label))
    return Scores(
        mlm_loss=_mean([score.mlm_loss for score in scores], words),
        nsp_loss=_mean([score.nsp_loss for score in scores], pairs),
        mlm_accuracy=_mean([score.mlm_accuracy for score in scores], words),
        nsp_accuracy=_mean([score.nsp_accuracy for score in scores], pairs),
    )


def frequency_loss(train_ids: Array, vocab_size: int, batches: Sequence[Batch]) -> float:
    """What always guessing from word frequencies gives on these batches: cross-entropy + ln 2 for NSP.

    The frequencies are those of the training text, each word counted once more than it comes there, so that none
    is impossible. A model below this has learned something of context.
    """
    counts = np.bincount(train_ids, minlength=vocab_size) + 1.0
    words = np.concatenate([batch.labels[batch.labels != IGNORE] for batch in batches])
    return math.log(counts.sum()) - float(np.log(counts[words]).mean()) + math.log(2)


def fill_masks(
    model: BertForPreTraining,
    tokenizer: Tokenizer,
    sentences: Sequence[str],
    rng: np.random.Generator,
    count: int = 5,
    top: int = 5,
) -> list[Fill]:
    """Masks one word, that is one token, in each of `count` sentences drawn at random, and has it guessed."""
    fills: list[Fill] = []
    for index in rng.permutation(len(sentences)):
        if len(fills) == count:
            break
        text = sentences[index]
        encoding = tokenizer.encode(text)
        places = [
            place
            for place, word in enumerate(encoding.word_ids)
            if encoding.tokens[place].isalpha() and encoding.word_ids.count(word) == 1
        ]
        if not places or not 8 <= len(encoding.ids) <= model.config.max_position_embeddings:
            continue
        place = int(rng.choice(places))
        input_ids = np.array([encoding.ids])
        input_ids[0, place] = MASK
        with no_grad():
            probs = softmax(model.eval()(input_ids).prediction_logits[0, place])  # [v]
        best = np.argsort(-probs, kind="stable")[:top]
        start, stop = encoding.offsets[place]
        fills.append(
            Fill(
                text=f"{text[:start]}[MASK]{text[stop:]}",
                word=encoding.tokens[place],
                guesses=[(str(tokenizer.id_to_token(int(i))), float(probs[i])) for i in best],
            )
        )
    return fills


def _mean(values: list[float], weights: list[int]) -> float:
    return float(np.average(values, weights=weights))
