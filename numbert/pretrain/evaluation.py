"""What a model has learned: its losses and accuracies, and words filled in."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from tokenizers import Tokenizer

from numbert.bert.tasks.pretraining import BertForPreTraining
from numbert.nn.functional import IGNORE, softmax
from numbert.nn.switches import no_grad
from numbert.pretrain.batches import Batch
from numbert.text.vocabulary import MASK


@dataclass(frozen=True)
class Scores:
    """Means over all masked words (MLM) and all pairs (NSP). Losses are in nats, accuracies from 0 to 1."""

    mlm_loss: float
    nsp_loss: float
    mlm_accuracy: float
    nsp_accuracy: float
    mlm_top5_accuracy: float | None = None  # in evaluation only

    @property
    def loss(self) -> float:
        return self.mlm_loss + self.nsp_loss

    @property
    def perplexity(self) -> float:
        """Of the masked words: exp(mlm_loss)."""
        return math.exp(min(self.mlm_loss, 700.0))

    def to_dict(self) -> dict[str, float]:
        """For the metrics."""
        values = {"loss": self.loss, **vars(self)}
        return {name: value for name, value in values.items() if value is not None}


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


def latest_scores(model: BertForPreTraining, loss: float, top5: bool = False) -> Scores:
    """The scores of the latest batch: after forward with `return_logits=False` and before backward."""
    saved = model.saved
    if saved is None:
        raise RuntimeError("latest_scores needs a forward outside no_grad() that no backward has used up")
    words = saved.labels[saved.labels != IGNORE]  # [m], in the order of mlm_probs [m,v]
    nsp_of_label = saved.nsp_probs[np.arange(len(saved.nsp_probs)), saved.next_sentence_label]  # [b]
    with np.errstate(divide="ignore"):  # where the loss is infinite, so is this
        nsp_loss = float(-np.log(nsp_of_label).mean())
    among_five = None
    if top5:
        of_word = saved.mlm_probs[np.arange(len(words)), words]  # [m]
        among_five = float(((saved.mlm_probs > of_word[:, None]).sum(axis=-1) < 5).mean())
    return Scores(
        mlm_loss=loss - nsp_loss,
        nsp_loss=nsp_loss,
        mlm_accuracy=float((saved.mlm_probs.argmax(axis=-1) == words).mean()),
        nsp_accuracy=float((saved.nsp_probs.argmax(axis=-1) == saved.next_sentence_label).mean()),
        mlm_top5_accuracy=among_five,
    )


def evaluate(model: BertForPreTraining, batches: Iterable[Batch]) -> Scores:
    """The scores over several batches, without dropout; train() or eval() is afterwards as it was."""
    training = model.training
    model.eval()
    scores = []
    for batch in batches:
        loss = model(**vars(batch), return_logits=False, return_dict=True).loss
        scores.append((latest_scores(model, float(loss), top5=True), batch))
        model.forget()
    model.train(training)
    return mean_scores(scores)


def mean_scores(scores: Sequence[tuple[Scores, Batch]]) -> Scores:
    """The scores of several batches as those of one: each counts as much as it has words, or pairs."""
    words = [batch.words for _, batch in scores]
    words = words if any(words) else [1] * len(words)
    pairs = [batch.pairs for _, batch in scores]
    top5 = [score.mlm_top5_accuracy for score, _ in scores if score.mlm_top5_accuracy is not None]
    return Scores(
        mlm_loss=float(np.average([score.mlm_loss for score, _ in scores], weights=words)),
        nsp_loss=float(np.average([score.nsp_loss for score, _ in scores], weights=pairs)),
        mlm_accuracy=float(np.average([score.mlm_accuracy for score, _ in scores], weights=words)),
        nsp_accuracy=float(np.average([score.nsp_accuracy for score, _ in scores], weights=pairs)),
        mlm_top5_accuracy=float(np.average(top5, weights=words)) if top5 else None,
    )


FEW = 1_000  # of fewer, a share is off by more than one and a half percent by chance alone


def share(value: float, count: int) -> str:
    """A share of `count` in percent for a reader; of few, with its standard error: "44.4% ± 16.6%".

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
    """Masks one word, that is one token, in each of `count` sentences drawn at random, and has it guessed."""
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
