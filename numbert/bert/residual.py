"""BertSelfOutput and BertOutput: a dense layer, dropout, the residual sum, LayerNorm."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from numbert.config import BertConfig
from numbert.nn.array import Array
from numbert.nn.functional import add
from numbert.nn.layers import Dropout, LayerNorm, Linear
from numbert.nn.module import Module


class BertSelfOutput(Module):
    """Computes LayerNorm(dropout(dense(hidden_states)) + input_tensor).

    [b,l,in], [b,l,e] -> [b,l,e], where `in` is e in this class.
    """

    def __init__(self, config: BertConfig, *, seed: Any = 0, dtype: DTypeLike = np.float32) -> None:
        seed = np.random.default_rng(seed)
        self.dense = Linear(
            self.in_features(config), config.hidden_size, std=config.initializer_range, seed=seed, dtype=dtype
        )
        self.LayerNorm = LayerNorm(config.hidden_size, eps=config.layer_norm_eps, dtype=dtype)
        self.dropout = Dropout(config.hidden_dropout_prob, seed=seed)

    @staticmethod
    def in_features(config: BertConfig) -> int:
        """The size of the last axis of hidden_states."""
        return config.hidden_size

    def forward(self, hidden_states: Array, input_tensor: Array, kept: Array | None = None) -> Array:
        """[b,l,in], [b,l,e] -> [b,l,e].

        Args:
            kept: bool [b,l,e], which numbers dropout keeps, if they are drawn already (see `Dropout.draw`).
        """
        hidden_states = self.dense(hidden_states)
        hidden_states = self.dropout(hidden_states, kept)
        return self.LayerNorm(add(hidden_states, input_tensor))

    def backward(self, d_output: Array) -> tuple[Array, Array]:
        """d_output [b,l,e] -> d_hidden_states [b,l,in], d_input_tensor [b,l,e].

        The derivation is in docs/derivations.md#residual-sums.
        """
        d_sum = self.LayerNorm.backward(d_output)
        # A sum hands its gradient to both terms: one through the layer, one past it.
        d_hidden_states = self.dropout.backward(d_sum)
        return self.dense.backward(d_hidden_states), d_sum


class BertOutput(BertSelfOutput):
    """The same as BertSelfOutput, from the intermediate size. [b,l,f], [b,l,e] -> [b,l,e]."""

    @staticmethod
    def in_features(config: BertConfig) -> int:
        return config.intermediate_size
