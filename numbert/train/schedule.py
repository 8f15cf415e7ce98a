"""The plan of a training: how many updates there are, and how far each one goes."""

from __future__ import annotations

from dataclasses import dataclass

from numbert.errors import above, at_least
from numbert.nn.module import Module
from numbert.train.optimizer import AdamW, decay_groups


@dataclass(frozen=True)
class Plan:
    """What decides the updates of a run, whatever its task.

    Attributes:
        steps: updates of the weights.
        learning_rate: the highest learning rate (see `warmup_then_linear_decay`).
        warmup_steps: the number of steps in which the rate rises.
        weight_decay: AdamW's, for matrices and tables; biases and LayerNorm's weights have none.
        max_grad_norm: where the norm of all gradients is above it, they are scaled down to it.
        accumulate: the number of parts in which a process computes its share of a batch, one after the other.
        seed: decides what each of several processes draws while it trains.
        betas, bias_correction: AdamW's.

    Raises:
        InputError: a value is outside its limits.
    """

    steps: int
    learning_rate: float
    warmup_steps: int = 0
    weight_decay: float = 0.01
    max_grad_norm: float = 1.0
    accumulate: int = 1
    seed: int = 0
    betas: tuple[float, float] = (0.9, 0.999)
    bias_correction: bool = True

    def __post_init__(self) -> None:
        for name, least in (("steps", 1), ("seed", 0), ("accumulate", 1), ("weight_decay", 0)):
            at_least(name, getattr(self, name), least)
        for name in ("learning_rate", "max_grad_norm"):
            above(name, getattr(self, name), 0)

    def optimizer(self, model: Module) -> AdamW:
        """Makes an AdamW for a model's parameters. Its learning rate is to be set before each step."""
        return AdamW(
            decay_groups(model, self.weight_decay), betas=self.betas, bias_correction=self.bias_correction
        )

    def rate(self, step: int) -> float:
        """The learning rate of step 0, 1, ..., steps - 1."""
        return self.learning_rate * warmup_then_linear_decay(step, self.steps, self.warmup_steps)


def warmup_then_linear_decay(step: int, steps: int, warmup: int) -> float:
    """The factor on the learning rate in step 0, 1, ..., steps - 1.

    In the first `warmup` steps it is 1 / warmup, 2 / warmup, ..., 1. From there it falls in a straight line, so
    that step number `steps` would have 0.
    """
    if step < warmup:
        return (step + 1) / warmup
    return max(0.0, (steps - step) / max(1, steps - warmup))
