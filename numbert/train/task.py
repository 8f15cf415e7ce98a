"""Task: the model, the batches and the scores that a trainer works with."""

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
        metrics: what is written into metrics.jsonl beside the step, as a JSON object.
        message: the same in one line for a reader.
    """

    value: float
    metrics: Mapping[str, Any]
    message: str


class Task:
    """A model, the batches it learns from, and how it is scored: a subclass for each kind of training.

    `Trainer` asks for a batch, has its gradient computed, moves the weights, and asks for another. A batch is
    what is learned from in one update; only the task looks into it. A batch may be shared by several processes,
    and each share may be computed in several parts. The result must not depend on that: `loss_and_backward` gets
    the part and the whole batch, adds the part's share of the gradient of the *whole* batch's loss, and returns
    the part's share of the scores.

    A run that was killed goes on to the same bits if a batch and its gradient depend on nothing but the weights,
    `position()` and `rng`. Which parameters are trainable must not change during a run.

    Attributes:
        model: the model that is trained. A parameter whose `trainable` is False stays as it is.
        rng: the generator that is drawn from during training, as by dropout. Checkpoints hold its state, and each
            of several processes has its own.
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
        """Gives the batch of update number `step`, from 0, and moves the position on.

        The batch is the same in all processes.
        """
        raise NotImplementedError

    def size(self, batch: Any) -> int:
        """How much there is to learn from in a batch, counted in `unit`. Speed is measured by it."""
        raise NotImplementedError

    def part(self, batch: Any, index: int, count: int) -> Any:
        """Gives part number `index`, from 0, of a batch, or of a part, that is cut into `count` parts."""
        raise NotImplementedError

    def position(self) -> dict[str, Any]:
        """Where the task is in its data, as a JSON object. After `go_to` with it, the next batch is the same."""
        return {}

    def go_to(self, position: Mapping[str, Any]) -> None:
        """Moves the task to where it was when `position()` gave this position.

        Raises:
            TypeError, ValueError, KeyError: it is not a position of this task.
        """

    # --- learning ---------------------------------------------------------------------------------------------

    def loss_and_backward(self, part: Any, whole: Any) -> Array:
        """Computes a part of a batch and adds its share of the batch's gradient to every `Parameter.grad`.

        The gradient is that of the whole batch's loss: if the loss is a mean over n examples, a part of m examples
        counts by m / n.

        Args:
            part: the part to compute.
            whole: the batch that it is a part of.

        Returns:
            float64 [number of scores], the part's share of each score of the whole batch, so that the sum over all
            parts is the batch's scores. `scores` names them.
        """
        raise NotImplementedError

    def scores(self, steps: Sequence[tuple[Array, Any]]) -> dict[str, float]:
        """The scores of one batch, or their means over several, by name; one of them is "loss".

        Args:
            steps: for each batch, the sum over its parts of what `loss_and_backward` returned, and the batch.
        """
        raise NotImplementedError

    def evaluate(self) -> Evaluation | None:
        """Scores the model on data that it does not learn from, or returns None where there are no such data.

        It draws nothing from `rng`, and whether the model is in training stays as it was.
        """
        return None

    # --- what is shown and saved ------------------------------------------------------------------------------

    def shown(self, scores: Mapping[str, float]) -> str:
        """Writes scores as they stand in the progress line."""
        return ", ".join(f"{name} {value:.4g}" for name, value in scores.items())

    def first_loss(self, loss: float) -> str:
        """Writes the message about the first batch's loss, with what was to be expected where that is known."""
        return f"First loss: {loss:.4f}"

    def section(self, parameter: str) -> str:
        """Names the part of the model that a parameter belongs to; the metrics have a gradient norm for each."""
        return parameter.partition(".")[0]

    def save(self, folder: Path) -> None:
        """Writes the model and all that is needed to use it into a folder, each file whole or not at all."""
        raise NotImplementedError

    def load(self, folder: Path) -> None:
        """Loads the weights that `save` wrote into the model.

        Raises:
            InputError: a file is missing or broken, or is of another model.
        """
        raise NotImplementedError
