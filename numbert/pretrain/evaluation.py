"""What a model has learned: its losses and accuracies, and words filled in."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from tokenizers import Tokenizer

from numbert.bert.tasks.pretraining import BertForPreTraining
from numbert.nn.array import Array
from numbert.nn.functional import IGNORE, softmax
from numbert.nn.switches import no_grad
from numbert.pretrain.batches import Batch
from numbert.text.vocabulary import MASK


@dataclass(frozen=True)
class Scores:
    """Means over all masked tokens (MLM) and all pairs (NSP). Losses are in nats, accuracies from 0 to 1.

    Attributes:
        mlm_top5_accuracy: how often the true piece is among the five most probable; None during training.
    """

    mlm_loss: float
    nsp_loss: float
    mlm_accuracy: float
    nsp_accuracy: float
    mlm_top5_accuracy: float | None = None

    @property
    def loss(self) -> float:
        """The sum of both losses, which is what is minimized."""
        return self.mlm_loss + self.nsp_loss

    @property
    def perplexity(self) -> float:
        """The exponential of mlm_loss, where that is at most 700; beyond, exp(700)."""
        return math.exp(min(self.mlm_loss, 700.0))

    def to_dict(self) -> dict[str, float]:
        """What metrics.jsonl holds of the scores."""
        values = {"loss": self.loss, **vars(self)}
        return {name: value for name, value in values.items() if value is not None}


@dataclass(frozen=True)
class Fill:
    """A sentence with one word masked, and the model's guesses.

    Attributes:
        text: the sentence, with [MASK] in place of the word.
        word: the word that was there, which is one piece.
        guesses: the most probable pieces, each with its probability, from the highest.
    """

    text: str
    word: str
    guesses: list[tuple[str, float]]


def latest_scores(model: BertForPreTraining, loss: float, top5: bool = False) -> Scores:
    """The scores of the latest forward with `return_logits=False`, before its backward.

    Args:
        model: its `saved` holds the probabilities and the labels.
        loss: what that forward gave.
        top5: whether to compute mlm_top5_accuracy.

    Raises:
        RuntimeError: nothing is saved.
    """
    saved = model.saved
    if saved is None:
        raise RuntimeError("latest_scores needs a forward outside no_grad() that no backward has used up")
    return _scores(loss, saved.mlm_probs, saved.nsp_probs, saved.labels, saved.next_sentence_label, top5)


def _scores(
    loss: float, mlm_probs: Array, nsp_probs: Array, labels: Array, next_sentence_label: Array, top5: bool
) -> Scores:
    """The scores of a batch: its loss, the probabilities [m,v] and [b,2], the labels [b,l] and [b]."""
    labels = labels[labels != IGNORE]  # [m], in the order of mlm_probs [m,v]
    nsp_of_label = nsp_probs[np.arange(len(nsp_probs)), next_sentence_label]  # [b]
    with np.errstate(divide="ignore"):  # where the loss is infinite, so is this
        nsp_loss = float(-np.log(nsp_of_label).mean())
    among_five = None
    if top5:
        of_label = mlm_probs[np.arange(len(labels)), labels]  # [m]
        among_five = float(((mlm_probs > of_label[:, None]).sum(axis=-1) < 5).mean())
    return Scores(
        mlm_loss=loss - nsp_loss,
        nsp_loss=nsp_loss,
        mlm_accuracy=float((mlm_probs.argmax(axis=-1) == labels).mean()),
        nsp_accuracy=float((nsp_probs.argmax(axis=-1) == next_sentence_label).mean()),
        mlm_top5_accuracy=among_five,
    )


def evaluate(model: BertForPreTraining, batches: Iterable[Batch]) -> Scores:
    """The scores over several batches, without dropout. Whether the model is in training stays as it was."""
    training = model.training
    model.eval()
    scores = []
    for batch in batches:
        labels, next_sentence_label = batch.labels, batch.next_sentence_label
        with no_grad():
            outputs = model.bert(
                batch.input_ids, batch.attention_mask, batch.token_type_ids, return_dict=True, unpad=True
            )
            heads: Any = model.cls.loss(  # both with labels: neither loss is None
                outputs.last_hidden_state, outputs.pooler_output, labels, next_sentence_label, return_logits=False
            )
        mlm, nsp = heads
        loss = float(mlm.loss + nsp.loss)
        scores.append((_scores(loss, mlm.probs, nsp.probs, labels, next_sentence_label, top5=True), batch))
    model.train(training)
    return mean_scores(scores)


def mean_scores(scores: Sequence[tuple[Scores, Batch]]) -> Scores:
    """The scores of several batches as those of one: each counts by its number of masked tokens, or of pairs."""
    masked = [batch.masked for _, batch in scores]
    masked = masked if any(masked) else [1] * len(masked)
    pairs = [batch.pairs for _, batch in scores]
    top5 = [score.mlm_top5_accuracy for score, _ in scores if score.mlm_top5_accuracy is not None]
    return Scores(
        mlm_loss=float(np.average([score.mlm_loss for score, _ in scores], weights=masked)),
        nsp_loss=float(np.average([score.nsp_loss for score, _ in scores], weights=pairs)),
        mlm_accuracy=float(np.average([score.mlm_accuracy for score, _ in scores], weights=masked)),
        nsp_accuracy=float(np.average([score.nsp_accuracy for score, _ in scores], weights=pairs)),
        mlm_top5_accuracy=float(np.average(top5, weights=masked)) if top5 else None,
    )


FEW = 1_000  # of fewer, a share is off by more than one and a half percent by chance alone


def share(value: float, count: int) -> str:
    """Writes a share of `count` in percent; where `count` is small, with its standard error: "44.4% ± 16.6%".

    The error is sqrt(p (1 - p) / count). For p, one success and one failure are added to those counted: otherwise
    9 of 9 would seem to be exact.
    """
    if count >= FEW:
        return f"{value:.1%}"
    p = (value * count + 1) / (count + 2)
    return f"{value:.1%} ± {math.sqrt(p * (1 - p) / max(1, count)):.1%}"


def fill_masks(
    model: BertForPreTraining,
    tokenizer: Tokenizer,
    sentences: Sequence[str],
    rng: np.random.Generator,
    count: int = 5,
    top: int = 5,
) -> list[Fill]:
    """Masks a word in each of some sentences and has the model guess it.

    Sentences and words are drawn at random; the word is one that is a single token, and the sentence has at least
    8 tokens and no more than the model's positions. The model is left in eval().

    Args:
        count: how many sentences; where fewer are suitable, there are fewer.
        top: how many guesses for each.
    """
    fills: list[Fill] = []
    model.eval()
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
            probs = softmax(model(input_ids, return_dict=True).prediction_logits[0, place])  # [v]
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
