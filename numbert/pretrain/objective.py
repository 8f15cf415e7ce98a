"""PretrainingTask: what is learned from raw text, masked tokens (MLM) and next sentences (NSP)."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from numbert.bert.tasks.pretraining import BertForPreTraining
from numbert.files.tokenizer import save_tokenizer
from numbert.files.weights import StoredWeights, load_into
from numbert.nn.array import Array
from numbert.pretrain.batches import Batch
from numbert.pretrain.evaluation import Scores, latest_scores, mean_scores, share
from numbert.pretrain.held_out import BatchMaker, HeldOut
from numbert.pretrain.pairs import PairStream, Position
from numbert.pretrain.settings import Settings
from numbert.randomness import Purpose
from numbert.text.prepare import Data
from numbert.train.task import Evaluation, Task


class PretrainingTask(Task):
    """Pairs of segments with masked tokens, scored on documents that are held out.

    Args:
        data: the prepared text.
        settings: the run's.
        model: the model to train, as it is before the first step.

    Attributes:
        held_out: the documents that it is evaluated on.

    Raises:
        InputError: there is too little text for a pair or a masked token.
    """

    model: BertForPreTraining

    def __init__(self, data: Data, settings: Settings, model: BertForPreTraining) -> None:
        self.data, self.settings, self.model = data, settings, model
        self.rng = model.rng
        self.batches = BatchMaker(data, settings)
        self.held_out = HeldOut(data, settings)
        self.go_to(dataclasses.asdict(Position()))

    # --- batches ----------------------------------------------------------------------------------------------

    def next_batch(self, step: int) -> Batch:
        pairs = self.pairs.take(self.settings.batch_size)
        return self.batches.make(self.data.train, pairs, Purpose.MASKS, step)

    def size(self, batch: Batch) -> int:
        return batch.tokens

    def part(self, batch: Batch, index: int, count: int) -> Batch:
        return batch.part(index, count)

    def position(self) -> dict[str, Any]:
        return dataclasses.asdict(self.pairs.position)

    def go_to(self, position: Mapping[str, Any]) -> None:
        settings = self.settings
        key = (settings.seed, Purpose.PAIRS)
        self.pairs = PairStream(self.data.train, settings.length, key, Position(**position), settings.near)

    # --- learning ---------------------------------------------------------------------------------------------

    def loss_and_backward(self, part: Batch, whole: Batch) -> Array:
        """Computes a part, which counts by its share of the batch's masked tokens (MLM) and pairs (NSP).

        Returns:
            float64 [4], the part's share of the batch's mlm_loss, nsp_loss, mlm_accuracy and nsp_accuracy.
        """
        loss = float(self.model(**vars(part), return_logits=False, return_dict=True).loss)
        scores = latest_scores(self.model, loss)
        masked, pairs = part.masked / max(1, whole.masked), part.pairs / whole.pairs
        self.model.backward((masked, pairs))
        return np.array(
            [
                masked * scores.mlm_loss,
                pairs * scores.nsp_loss,
                masked * scores.mlm_accuracy,
                pairs * scores.nsp_accuracy,
            ]
        )

    def scores(self, steps: Sequence[tuple[Array, Batch]]) -> dict[str, float]:
        return mean_scores([(Scores(*sums.tolist()), batch) for sums, batch in steps]).to_dict()

    def evaluate(self) -> Evaluation:
        scores, held_out = self.held_out.scores(self.model), self.held_out
        return Evaluation(
            value=scores.loss,
            metrics={
                "held_out": scores.to_dict() | {"perplexity": scores.perplexity},
                "frequencies": vars(held_out.frequencies),
                "bigrams": vars(held_out.bigrams),
            },
            message=f"held out: loss {scores.loss:.3f}, MLM {scores.mlm_accuracy:.1%} "
            f"(by frequencies {held_out.frequencies.mlm_accuracy:.1%}, by the token to the left "
            f"{held_out.bigrams.mlm_accuracy:.1%}), NSP {share(scores.nsp_accuracy, held_out.pairs)}",
        )

    # --- what is shown and saved ------------------------------------------------------------------------------

    def shown(self, scores: Mapping[str, float]) -> str:
        return f"loss {scores['loss']:.3f}, MLM {scores['mlm_accuracy']:.1%}, NSP {scores['nsp_accuracy']:.1%}"

    def first_loss(self, loss: float) -> str:
        return f"First loss: {loss:.4f}; expected is about ln v + ln 2 = {uniform_loss(self.model):.4f}"

    def section(self, parameter: str) -> str:
        """The part of the model that a parameter belongs to: the embeddings, a layer, the pooler or the heads."""
        path = parameter.removeprefix("bert.").removeprefix("encoder.").split(".")
        return ".".join(path[:2]) if path[0] == "layer" else path[0]

    def save(self, folder: Path) -> None:
        """Writes a model folder, which any command takes as --model: configuration, weights and tokenizer."""
        self.model.save_pretrained(folder)
        save_tokenizer(self.data.tokenizer, folder, max_length=self.model.config.max_position_embeddings)

    def load(self, folder: Path) -> None:
        load_into(self.model, StoredWeights(folder))


def uniform_loss(model: BertForPreTraining) -> float:
    """The loss of holding every piece, and both answers about the pair, equally likely: ln v + ln 2, in nats."""
    return math.log(model.config.vocab_size) + math.log(2)
