"""What is computed: the inputs and labels, how much work they are, and numbert's way of doing it."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import Any

import numpy as np

from numbert.bench.race import Contestant
from numbert.bert.model import BertModel
from numbert.bert.tasks.pretraining import BertForPreTraining
from numbert.config import BertConfig
from numbert.errors import InputError
from numbert.nn.array import Array
from numbert.nn.functional import IGNORE
from numbert.nn.switches import no_grad

MASKED = 0.15
MAX_NORM = 1.0  # to which the gradient is clipped
ADAMW: dict[str, Any] = {"lr": 1e-4, "betas": (0.9, 0.999), "eps": 1e-8, "weight_decay": 0.01}


@dataclass
class Workload:
    """Random ids and labels for pretraining, which all contestants compute with.

    Attributes:
        inputs: input_ids, integers [b,l]; if lengths differ, also attention_mask, 0 and 1 [b,l].
        lengths: how many tokens each sequence has, integers [b].
        labels: [b,l], the id at 15% of the tokens and -100 elsewhere.
        next_sentence_label: [b], 0 or 1.
    """

    inputs: dict[str, Array]
    lengths: Array
    labels: Array
    next_sentence_label: Array

    @property
    def masked(self) -> int:
        """How many tokens have a label."""
        return int((self.labels != IGNORE).sum())

    @property
    def there(self) -> Array:
        """An array of bool [b,l], True for a token and False for padding."""
        return np.arange(self.labels.shape[1]) < self.lengths[:, None]

    def __str__(self) -> str:
        b, length = self.labels.shape
        if "attention_mask" not in self.inputs:
            return f"{b} x {length} tokens"
        return f"{b} x {length} places, {self.there.mean():.0%} of them tokens"


def make_workload(config: BertConfig, batch: int, length: int, padded: bool, seed: int) -> Workload:
    """Draws b sequences of l tokens; if padded, their lengths fall from l to l/8 in equal ratios.

    Args:
        batch, length: b and l.

    Raises:
        InputError: a size is below 1, the length is above the model's positions, or no memory can hold the batch.
    """
    if batch < 1:
        raise InputError(f"batch is {batch}; it must be at least 1")
    if not 1 <= length <= config.max_position_embeddings:
        raise InputError(f"length is {length}; it can be 1 to {config.max_position_embeddings}")
    if 8 * batch * length > sys.maxsize:
        raise InputError(f"batch is {batch}; no memory holds so many sequences")
    lengths = np.full(batch, length)
    if padded:
        lengths = np.geomspace(length, max(1, length / 8), batch).round().astype(np.int64)
    return workload_of(config, lengths, seed)


def ragged_lengths(batch: int, length: int) -> Array:
    """Returns b lengths, the first l and the others evenly spread below half of it: integers [b]."""
    short = np.linspace(length / 2 - 1, length / 16, batch - 1).round().astype(np.int64)
    return np.maximum(1, np.concatenate([[length], short]))


def workload_of(config: BertConfig, lengths: Array, seed: int) -> Workload:
    """Draws sequences of these lengths, integers [b]; l is the largest of them."""
    rng = np.random.default_rng(seed)
    batch, length = len(lengths), int(lengths.max())
    there = np.arange(length) < lengths[:, None]  # [b,l]
    ids = np.where(there, rng.integers(0, config.vocab_size, (batch, length)), 0)
    places = rng.permutation(np.flatnonzero(there))[: max(1, round(MASKED * there.sum()))]
    labels = np.full((batch, length), IGNORE)
    labels.flat[places] = ids.flat[places]
    inputs = {"input_ids": ids}
    if not there.all():
        inputs["attention_mask"] = there.astype(np.int64)
    return Workload(inputs, lengths, labels, rng.integers(0, 2, batch))


def forward_gflop(config: BertConfig, lengths: Array) -> float:
    """Counts the operations in BertModel's products, in 10^9, two for each multiply-add, without padding.

    Args:
        lengths: how many tokens each sequence has, integers [b].
    """
    e, f, n = config.hidden_size, config.intermediate_size, config.num_hidden_layers
    tokens, pairs = int(lengths.sum()), int((lengths**2).sum())
    linear = 4 * e * e + 2 * e * f  # query, key, value and attention output; intermediate and output
    attention = 2 * e  # for each pair of tokens: a score, and a share of the context, over d and over h heads
    return 2e-9 * (n * (tokens * linear + pairs * attention) + len(lengths) * e * e)


def train_gflop(config: BertConfig, lengths: Array, masked: int) -> float:
    """Counts the operations in a training step's products, in 10^9: three times those of forward with the heads.

    Only the masked tokens are decoded. A product y = x W^T has two in its backward, d_x = d_y W and d_W = d_y^T x.
    """
    e, v = config.hidden_size, config.vocab_size
    heads = 2e-9 * (masked * (e * e + e * v) + len(lengths) * 2 * e)
    return 3 * (forward_gflop(config, lengths) + heads)


# --- numbert's way -----------------------------------------------------------------------------------------------


def forward_answer(workload: Workload, last_hidden_state: Array, pooler_output: Array) -> dict[str, Array]:
    """Returns what is compared of BertModel's outputs, which is all but the hidden states of padding."""
    return {"last_hidden_state": last_hidden_state[workload.there], "pooler_output": pooler_output}


def numbert_forward(model: BertModel, workload: Workload) -> Contestant:
    """Makes a contestant of BertModel under no_grad(), which leaves padding out if there is any."""
    model.eval()
    unpad = "attention_mask" in workload.inputs

    def run() -> Any:
        with no_grad():
            return model(**workload.inputs, unpad=unpad)

    def answer() -> dict[str, Array]:
        outputs = run()
        return forward_answer(workload, outputs.last_hidden_state, outputs.pooler_output)

    return Contestant("numbert", answer, run)


def forward_and_backward(model: BertForPreTraining, workload: Workload) -> Array:
    """Returns the loss, a scalar, and adds its gradient to every Parameter.grad."""
    outputs = model(
        **workload.inputs,
        labels=workload.labels,
        next_sentence_label=workload.next_sentence_label,
        return_logits=False,
    )
    model.backward()
    return outputs.loss


def numbert_train(model: BertForPreTraining, workload: Workload) -> Contestant:
    """Makes a contestant of a step as numbert's trainer takes it, in which only masked positions are decoded."""
    from numbert.train.optimizer import AdamW, clip_factor, grad_norm

    optimizer = AdamW(model.parameters(), **ADAMW)
    model.train()

    def answer() -> dict[str, Array]:
        model.eval()
        answer = {"loss": forward_and_backward(model, workload)}
        model.train()
        for name, parameter in model.named_parameters():
            assert parameter.grad is not None
            answer[name] = parameter.grad
        model.zero_grad()
        return answer

    def run() -> None:
        forward_and_backward(model, workload)
        optimizer.step(clip_factor(grad_norm(model.parameters()), MAX_NORM))
        model.zero_grad()

    return Contestant("numbert", answer, run)
