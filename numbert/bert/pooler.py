"""BertPooler: makes one vector of a sequence, from its first token."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from numbert.config import BertConfig
from numbert.nn.activations import Tanh
from numbert.nn.array import Array
from numbert.nn.layers import Linear
from numbert.nn.module import Module


class BertPooler(Module):
    """Computes tanh(dense(first token)). [b,l,e] -> [b,e]."""

    def __init__(self, config: BertConfig, *, seed: Any = 0, dtype: DTypeLike = np.float32) -> None:
        e = config.hidden_size
        self.dense = Linear(e, e, std=config.initializer_range, seed=seed, dtype=dtype)
        self.activation = Tanh()

    def forward(self, hidden_states: Array) -> Array:
        """[b,l,e] -> [b,e]."""
        self.remember(shape=hidden_states.shape)
        first_token_tensor = hidden_states[:, 0]  # [b,e]
        return self.activation(self.dense(first_token_tensor))

    def backward(self, d_output: Array) -> Array:
        """d_output [b,e] -> d_hidden_states [b,l,e], which is 0 except at the first token.

        The derivation is in docs/derivations.md#pooler.
        """
        d_first_token_tensor = self.dense.backward(self.activation.backward(d_output))
        d_hidden_states = np.zeros(self.recall().shape, d_first_token_tensor.dtype)
        d_hidden_states[:, 0] = d_first_token_tensor
        return d_hidden_states
