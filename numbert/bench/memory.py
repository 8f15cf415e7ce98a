"""Measuring the memory of a training step, and of ways to need less of it, each in a fresh process."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from typing import Any, Self

import numpy as np

from numbert.bench.processes import in_a_fresh_process, peak_memory
from numbert.bench.race import aligned, compare
from numbert.bench.workloads import forward_and_backward, make_workload
from numbert.bert.tasks.pretraining import BertForPreTraining
from numbert.config import BertConfig
from numbert.progress import say

MEGABYTE = 1e6
CHUNK = 64  # positions; of a length that it does not divide, the largest of its divisors that does


@dataclass
class Step:
    """One step, forward and backward of BertForPreTraining in train(), in a process of its own.

    Attributes:
        before: the most resident memory that the process had before the step, in bytes.
        peak: the most resident memory that the process had until the end of the step, in bytes.
        gradients: the size of all Parameter.grad, in bytes.
        seconds: the time of the step.
        answer: the loss, and the norm of each parameter's gradient.
    """

    before: int
    peak: int
    gradients: int
    seconds: float
    answer: dict[str, float]

    @classmethod
    def taken(cls, config: BertConfig, batch: int, length: int, padded: bool, seed: int) -> Self:
        """Takes the step in this process."""
        model = BertForPreTraining(config, seed=seed).train()
        workload = make_workload(config, batch, length, padded, seed)
        before = peak_memory()
        start = time.perf_counter()
        loss = forward_and_backward(model, workload)
        seconds = time.perf_counter() - start
        peak = peak_memory()
        gradients = {name: p.grad for name, p in model.named_parameters() if p.grad is not None}
        size = sum(gradient.nbytes for gradient in gradients.values())
        norms = {name: float(np.linalg.norm(gradient)) for name, gradient in gradients.items()}
        return cls(before, peak, size, seconds, {"loss": float(loss), **norms})

    @classmethod
    def in_a_fresh_process(cls, config: BertConfig, *sizes: Any) -> Self:
        """Takes the step in a new process.

        Raises:
            InputError: that process failed; the message ends with the last line of its stderr.
        """
        question = [config.to_dict(), *sizes]
        return cls(**in_a_fresh_process("numbert.bench.memory:step_taken", question, "take a training step"))


def step_taken(sizes: list[Any]) -> dict[str, Any]:
    """Takes a step in this process, which is a fresh one, and returns it as a dict.

    Args:
        sizes: the arguments of `Step.taken`, of the configuration a dict.
    """
    config, *rest = sizes
    return vars(Step.taken(BertConfig.from_dict(config), *rest))


@dataclass
class Memory:
    """A step that remembers everything, and the same step in ways that need less memory.

    Attributes:
        about: what was computed, as a sentence.
        plain: the step that remembers everything.
        checkpointed: the step with gradient checkpointing.
        chunked: the step with a feed-forward network that runs in chunks.
        chunk_size: the number of positions in a chunk.
        difference: the largest absolute difference between an answer and that of plain.
    """

    about: str
    plain: Step
    checkpointed: Step
    chunked: Step
    chunk_size: int
    difference: float

    def to_dict(self) -> dict[str, Any]:
        """Returns the measurements and the ratios as a dict that JSON can hold."""

        def measured(step: Step) -> dict[str, Any]:
            values = {key: value for key, value in vars(step).items() if key != "answer"}
            ratios = {
                "peak_ratio": step.peak / self.plain.peak,
                "seconds_ratio": step.seconds / self.plain.seconds,
            }
            return values if step is self.plain else values | ratios

        return {
            "about": self.about,
            "plain": measured(self.plain),
            "checkpointed": measured(self.checkpointed),
            "chunked": measured(self.chunked) | {"chunk_size_feed_forward": self.chunk_size},
            "largest_difference": self.difference,
        }

    def table(self) -> str:
        """Formats the measurements as a table with notes."""
        steps = {
            "all remembered": self.plain,
            "gradient checkpointing": self.checkpointed,
            f"chunk_size_feed_forward={self.chunk_size}": self.chunked,
        }
        rows = [["", "peak MB", "of it before the step", "seconds", "peak / first", "seconds / first"]]
        for name, step in steps.items():
            row = [name, f"{step.peak / MEGABYTE:.0f}", f"{step.before / MEGABYTE:.0f}", f"{step.seconds:.3g}"]
            if step is not self.plain:
                row += [f"{step.peak / self.plain.peak:.2f}", f"{step.seconds / self.plain.seconds:.2f}"]
            rows.append(row)
        gradients = f"{self.plain.gradients / MEGABYTE:.0f} MB"
        notes = [
            "One step each, in a fresh process. The peak is the whole process's: before the step Python, its",
            f"libraries and the weights; in it the activations, and by its end {gradients} of gradients.",
            "AdamW's two means are not in it: twice the weights more, in either case.",
            f"The loss and the norm of every gradient differ by at most {self.difference:.1e}.",
        ]
        return "\n".join([f"memory: {self.about}", *aligned(rows), *notes])


def measure_memory(
    about: str, config: BertConfig, batch: int, length: int, padded: bool, seed: int, progress: bool
) -> Memory:
    """Takes the steps, one after the other.

    Args:
        about: what is computed, for the table.

    Raises:
        InputError: a process failed, or the system cannot tell how much memory it took.
        RuntimeError: two answers differ by more than float32 rounding.
    """
    chunk_size = math.gcd(length, CHUNK)

    def step(name: str, **changes: Any) -> Step:
        if progress:
            say(f"memory: {name}")
        fields = config.to_dict() | {"gradient_checkpointing": False, "chunk_size_feed_forward": 0} | changes
        return Step.in_a_fresh_process(BertConfig.from_dict(fields), batch, length, padded, seed)

    plain = step("all remembered")
    checkpointed = step("gradient checkpointing", gradient_checkpointing=True)
    chunked = step("the feed-forward network in chunks", chunk_size_feed_forward=chunk_size)

    def difference(name: str, other: Step) -> float:
        answers = [{name: np.array(x) for name, x in one.answer.items()} for one in (plain, other)]
        return compare(f"numbert with {name}", *answers)

    largest = max(difference("gradient checkpointing", checkpointed), difference("chunks", chunked))
    return Memory(about, plain, checkpointed, chunked, chunk_size, largest)
