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
    """Two runs with the same settings and text give the same weights, bit for bit, on the same machine.

    Attributes:
        steps: updates of the weights. By default about two minutes' worth on two cores.
        seed: of the weights, the pairs, the masks, dropout and what is held out.
        vocab_size: at most; the text may have fewer pieces.
        hidden_size, layers, heads: the model's; the intermediate size is four times the hidden size.
        length: tokens in a pair of segments, with [CLS] and [SEP], at most.
        positions: the model's max_position_embeddings; 0 for as many as `length`. More leave room for a later
            run on longer pairs that starts `init` from this one.
        batch_size: pairs in an update, of all processes together.
        accumulate: in how many parts, one after the other, a process computes its pairs of an update: less
            memory, the same gradient.
        learning_rate: the highest. It rises in a straight line over the first `warmup` of the steps and then
            falls to 0.
        weight_decay: of matrices and tables; biases and LayerNorm's weights have none.
        max_grad_norm: above it, gradients are scaled down to it.
        bias_correction: False for Adam as the original BERT had it.
        dropout: of hidden states and attention.
        whole_words: mask all pieces of a word or none.

    Raises:
        InputError: a value is of another type than the default's. NumPy's numbers become Python's.
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

    def __post_init__(self) -> None:
        for name, value in self.typed(vars(self)).items():
            object.__setattr__(self, name, value)

    @classmethod
    def typed(cls, given: Mapping[str, Any]) -> dict[str, Any]:
        """Some of the settings as Python's own integers, numbers and bools.

        Raises:
            InputError: a value is of another type than the default's.
        """
        kinds: dict[type, Any] = {int: as_integer, float: as_real, bool: as_bool}
        defaults = {field.name: field.default for field in dataclasses.fields(cls)}
        return {name: kinds[type(defaults[name])](name, value) for name, value in given.items()}

    def check(self, processes: int = 1) -> None:
        """Raises InputError where a value is outside its limits. The model's sizes are BertConfig's to check.

        Args:
            processes: how many share a batch.
        """
        for name, least in (("hidden_size", 1), ("layers", 1), ("length", 8), ("batch_size", 1), ("warmup", 0)):
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
        """How far each update goes.

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
        """The configuration of a new model."""
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
        return dataclasses.asdict(self)
