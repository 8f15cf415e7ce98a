"""Settings: everything that decides what a run computes, checked, stored with it and compared on resume."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from numbert.config import BertConfig
from numbert.errors import InputError, as_bool, as_integer, as_real, at_least, shown
from numbert.train.schedule import Plan

MASKED = 0.15  # of the tokens are predicted
LARGEST_VOCABULARY = 1_000_000
LARGEST_INTEGER, LARGEST_SEED = 2**31 - 1, 2**128 - 1
BETAS = (0.9, 0.98)


@dataclass(frozen=True)
class Settings:
    """What decides what a run computes.

    Two runs with the same settings and text give the same weights, bit for bit, on the same machine.

    Attributes:
        steps: updates of the weights. The default takes about two minutes on two cores.
        seed: decides the new weights, the pairs, the masks, dropout and which documents are held out.
        vocab_size: the most pieces of the vocabulary; a small text may give fewer.
        hidden_size, layers, heads: the model's sizes e, n and h; the intermediate size f is 4 e.
        length: the most tokens in a pair of segments, with [CLS] and two [SEP].
        positions: the model's max_position_embeddings; 0 stands for `length`. More of them leave room for a later
            run on longer pairs that begins from this one.
        batch_size: pairs in an update, of all processes together.
        accumulate: the number of parts in which a process computes its pairs of an update, one after the other:
            less memory, the same gradient.
        learning_rate: the highest learning rate. It is reached in a straight line over the first part `warmup` of
            the steps (0 to 1), and then falls to 0 in a straight line.
        weight_decay: AdamW's, for matrices and tables; biases and LayerNorm's weights have none.
        max_grad_norm: where the norm of all gradients is above it, they are scaled down to it.
        bias_correction: False gives Adam as in the original BERT (see `AdamW`).
        dropout: the probability of dropping a hidden state or an attention probability.
        whole_words: whether all tokens of a word are masked or none.
        near: a second segment that does not follow is from at most so many documents before or after the first
            one's, in the order of the text; 0 takes it from any other document.

    Raises:
        InputError: a value has another type than the default. NumPy's numbers become Python's.
    """

    steps: int = 1_700
    seed: int = 0
    vocab_size: int = 4_000
    hidden_size: int = 128
    layers: int = 1
    heads: int = 2
    length: int = 32
    positions: int = 0
    batch_size: int = 64
    accumulate: int = 1
    learning_rate: float = 2e-3
    warmup: float = 0.1
    weight_decay: float = 0.01
    max_grad_norm: float = 1.0
    bias_correction: bool = True
    dropout: float = 0.0
    whole_words: bool = False
    near: int = 0

    def __post_init__(self) -> None:
        for name, value in self.typed(vars(self)).items():
            object.__setattr__(self, name, value)

    @classmethod
    def typed(cls, given: Mapping[str, Any]) -> dict[str, Any]:
        """Turns the values of some settings into Python's own integers, floats and bools.

        Raises:
            InputError: a value has another type than the default.
        """
        kinds: dict[type, Any] = {int: as_integer, float: as_real, bool: as_bool}
        defaults = {field.name: field.default for field in dataclasses.fields(cls)}
        return {name: kinds[type(defaults[name])](name, value) for name, value in given.items()}

    def check(self, processes: int = 1) -> None:
        """Checks every value but the model's sizes, which BertConfig checks.

        Args:
            processes: how many processes share a batch.

        Raises:
            InputError: a value is outside its limits.
        """
        for name, least in (
            ("hidden_size", 1),
            ("layers", 1),
            ("length", 8),
            ("batch_size", 1),
            ("warmup", 0),
            ("near", 0),
        ):
            at_least(name, getattr(self, name), least)
        if self.vocab_size > LARGEST_VOCABULARY:
            raise InputError(f"vocab_size is {shown(self.vocab_size)}; it can be up to {LARGEST_VOCABULARY:,}")
        for name, value in vars(self).items():
            most = LARGEST_SEED if name == "seed" else LARGEST_INTEGER
            if isinstance(value, int) and value > most:
                raise InputError(f"{name} is {shown(value)}; it can be up to {most:,}")
        if self.warmup > 1:
            raise InputError(f"warmup is {self.warmup}; it is a part of the steps, at most 1")
        self.plan()  # checks what it is made of
        if self.batch_size < processes * self.accumulate:
            raise InputError(
                f"batch_size is {self.batch_size}; {processes} process{'es' * (processes > 1)} with accumulate "
                f"{self.accumulate} need at least {processes * self.accumulate}"
            )
        if self.positions and self.positions < self.length:
            raise InputError(f"positions is {self.positions}; it must be at least the length, {self.length}")

    def plan(self) -> Plan:
        """The plan of the updates: schedule, optimizer and clipping.

        Raises:
            InputError: a value is outside its limits.
        """
        return Plan(
            steps=self.steps,
            learning_rate=self.learning_rate,
            warmup_steps=math.ceil(self.warmup * self.steps),
            weight_decay=self.weight_decay,
            max_grad_norm=self.max_grad_norm,
            accumulate=self.accumulate,
            seed=self.seed,
            betas=BETAS,
            bias_correction=self.bias_correction,
        )

    @property
    def max_predictions(self) -> int:
        """The most masked tokens in a pair."""
        return math.ceil(MASKED * self.length)

    def config(self, vocab_size: int) -> BertConfig:
        """The configuration of a new model with a vocabulary of this size."""
        return BertConfig(
            vocab_size=vocab_size,
            hidden_size=self.hidden_size,
            num_hidden_layers=self.layers,
            num_attention_heads=self.heads,
            intermediate_size=4 * self.hidden_size,
            max_position_embeddings=self.positions or self.length,
            hidden_dropout_prob=self.dropout,
            attention_probs_dropout_prob=self.dropout,
            # bert-base's 0.02 at the width of 768. With as little in a narrow model all scores start near 0, all
            # attention alike, and for thousands of steps the model learns nothing but piece frequencies.
            initializer_range=0.02 * math.sqrt(768 / self.hidden_size),
        )

    def to_dict(self) -> dict[str, Any]:
        """The settings by name."""
        return dataclasses.asdict(self)
