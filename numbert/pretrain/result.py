"""PretrainResult: what a run reached, for a reader and for JSON."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from numbert.pretrain.baselines import Baseline
from numbert.pretrain.evaluation import Fill, Scores, share


@dataclass(frozen=True)
class Best:
    """The checkpoint with the lowest held-out loss.

    Attributes:
        step: after how many steps it was written.
        loss: its loss on the held-out documents, MLM + NSP in nats.
        folder: the checkpoint's folder, which is a model folder too.
    """

    step: int
    loss: float
    folder: Path


@dataclass(frozen=True)
class PretrainResult:
    """What a run reached. Losses are MLM + NSP, in nats.

    Attributes:
        folder: where the model and its tokenizer are.
        steps: how many updates there were.
        seconds: the time they took.
        tokens_per_second: how many tokens it learned from in a second, without [PAD].
        data_share: the part of the time, from 0 to 1, that went into making batches.
        uniform_loss: ln v + ln 2, what guessing without any knowledge gives; `first_loss` should be near it.
        first_loss: the loss of the first batch, before the first update.
        final_loss: the mean loss of the last 50 steps.
        held_out: the scores on documents that were not trained on.
        held_out_words, held_out_pairs: how many masked tokens and pairs these scores are means over.
        best: the best checkpoint, where its held-out loss is lower than `held_out.loss`, that of the model in
            `folder` after the last step; else None.
        frequencies: what guessing from piece frequencies gives on the same masks.
        bigrams: what guessing from the token to the left gives on the same masks.
        fills: a few held-out sentences with one word masked, and the model's guesses.
    """

    folder: Path
    steps: int
    seconds: float
    tokens_per_second: float
    data_share: float
    uniform_loss: float
    first_loss: float
    final_loss: float
    held_out: Scores
    held_out_words: int
    held_out_pairs: int
    best: Best | None
    frequencies: Baseline
    bigrams: Baseline
    fills: list[Fill]

    @property
    def frequency_loss(self) -> float:
        """The loss of guessing from piece frequencies, with ln 2 for NSP; `held_out.loss` should be below it."""
        return self.frequencies.mlm_loss + math.log(2)

    @property
    def bigram_loss(self) -> float:
        """The loss of guessing from the token to the left, with ln 2 for NSP."""
        return self.bigrams.mlm_loss + math.log(2)

    def to_dict(self) -> dict[str, Any]:
        """The result as JSON can hold it."""
        values = dataclasses.asdict(self) | {"folder": str(self.folder)}
        if self.best is not None:
            values["best"]["folder"] = str(self.best.folder)
        return values

    def report(self) -> str:
        """The losses, accuracies and fills as text for a reader."""
        scores, masked, pairs = self.held_out, self.held_out_words, self.held_out_pairs
        lines = [
            f"first loss     {self.first_loss:8.4f}   (ln v + ln 2 = {self.uniform_loss:.4f})",
            f"final loss     {self.final_loss:8.4f}   on the text it learned from",
            f"held-out loss  {scores.loss:8.4f}   on documents it has not seen: MLM {scores.mlm_loss:.4f} "
            f"(perplexity {scores.perplexity:.1f}), NSP {scores.nsp_loss:.4f}",
            f"baseline       {self.frequency_loss:8.4f}   always guessing from piece frequencies, same masks",
            f"baseline       {self.bigram_loss:8.4f}   guessing from the token to the left, same masks",
            f"held-out accuracy: MLM {share(scores.mlm_accuracy, masked)} "
            f"(frequencies {self.frequencies.mlm_accuracy:.1%}, "
            f"token to the left {self.bigrams.mlm_accuracy:.1%}), among the first five "
            f"{scores.mlm_top5_accuracy:.1%}; NSP {share(scores.nsp_accuracy, pairs)}",
            f"held out are {masked:,} masked tokens in {pairs:,} pairs",
        ]
        if self.best is not None:
            lines.append(
                f"the best held-out loss was {self.best.loss:.4f}, at step {self.best.step:,}: that model is in "
                f"{self.best.folder}"
            )
        for fill in self.fills:
            guesses = ", ".join(f"{piece} {probability:.0%}" for piece, probability in fill.guesses)
            lines += ["", fill.text, f"  it was {fill.word!r}; guesses: {guesses}"]
        return "\n".join([*lines, "", f"saved in {self.folder}"])
