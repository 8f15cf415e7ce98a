"""Task: what the trainer needs to know of what is learned."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from numbert.nn.array import Array
from numbert.nn.module import Module


@dataclass(frozen=True)
class Evaluation:
    """How good a model is on data that it does not learn from.

    Attributes:
        value: a loss or an accuracy, by which the best checkpoint is chosen.
        metrics: what metrics.jsonl is to have of it, besides the step: a JSON object.
        message: the same for a reader, in one line.
    """

    value: float
    metrics: Mapping[str, Any]
    message: str


class Task:
    """A model, the batches it learns from, and how it is scored: a subclass for each kind of training.

    `Trainer` asks for a batch, has its gradient computed, moves the weights, and asks for another. A batch can be
    anything; only the task looks into it. One batch may be shared by several processes, and each share computed
    in several parts, and the result must not depend on that: so `loss_and_backward` gets the part and the whole
    batch, adds the part's share of the gradient of the *whole* batch's loss, and returns its share of the scores.

    A run can be killed at any moment and goes on to the same bits if everything that a batch and its gradient
    depend on is in the weights, in `position()` and in `rng`. Which parameters are trainable must not change.

    Attributes:
        model: with the parameters that are learned. One whose `trainable` is False stays as it is.
        rng: what is drawn from during training, such as dropout. Checkpoints have its state, and with several
            processes each has its own.
        lower_is_better: whether the best checkpoint is the one with the lowest value of `evaluate`, as for a
            loss, or with the highest, as for an accuracy.
        unit: what `size` counts, for the progress line.
    """

    model: Module
    rng: np.random.Generator
    lower_is_better: bool = True
    unit: str = "tokens"

    # --- batches ----------------------------------------------------------------------------------------------

    def next_batch(self, step: int) -> Any:
        """The batch of update number `step`, from 0; the position moves on. In all processes it is the same."""
        raise NotImplementedError

    def size(self, batch: Any) -> int:
        """How much there is to learn in a batch, in `unit`; for the measure of speed."""
        raise NotImplementedError

    def part(self, batch: Any, index: int, count: int) -> Any:
        """Part number `index`, from 0, of a batch (or of a part) that is cut into `count` parts."""
        raise NotImplementedError

    def position(self) -> dict[str, Any]:
        """Where in its data the task is, as a JSON object: with it `go_to` leads to the same next batch."""
        return {}

    def go_to(self, position: Mapping[str, Any]) -> None:
        """Goes where `position()` was taken.

        Raises:
            TypeError, ValueError, KeyError: it is no position of this task.
        """

    # --- learning ---------------------------------------------------------------------------------------------

    def loss_and_backward(self, part: Any, whole: Any) -> Array:
        """Adds the gradient of the whole batch's loss to every `Parameter.grad`, as far as it comes from a part.

        Args:
            part: what to compute.
            whole: the batch that it is a part of. A mean over its n rows weighs a part of m rows with m / n.

        Returns:
            float64 [scores], likewise the part's share of each score of the whole batch: over the parts they add
            up to the scores. There is at least a loss; what they are, `scores` says.
        """
        raise NotImplementedError

    def scores(self, steps: Sequence[tuple[Array, Any]]) -> dict[str, float]:
        """The scores of one batch or the means over several, with their names; "loss" is one of them.

        Args:
            steps: the sums of `loss_and_backward` over all parts [scores], and the batch that they are of.
        """
        raise NotImplementedError

    def evaluate(self) -> Evaluation | None:
        """Scores the model on data that it does not learn from; None where there are no such data.

        It draws nothing from `rng` and leaves train() or eval() as it was.
        """
        return None

    # --- what is shown and saved ------------------------------------------------------------------------------

    def shown(self, scores: Mapping[str, float]) -> str:
        """Scores in the words of the progress line."""
        return ", ".join(f"{name} {value:.4g}" for name, value in scores.items())

    def first_loss(self, loss: float) -> str:
        """What to say of the first batch's loss: what was to be expected, where that is known."""
        return f"First loss: {loss:.4f}"

    def section(self, parameter: str) -> str:
        """Which part of the model a parameter of this name is in, for the norms of gradients in the metrics."""
        return parameter.partition(".")[0]

    def save(self, folder: Path) -> None:
        """Writes the model, with all that is needed to use it, into a folder; each file whole or not at all."""
        raise NotImplementedError

    def load(self, folder: Path) -> None:
        """Puts the weights that `save` wrote into the model.

        Raises:
            InputError: a file is missing or broken, or is of another model.
        """
        raise NotImplementedError
