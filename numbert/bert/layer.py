"""BertIntermediate and BertLayer: attention, then the feed-forward network."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from numbert.bert.attention import BertAttention
from numbert.bert.residual import BertOutput
from numbert.config import BertConfig
from numbert.nn.activations import ACT2FN
from numbert.nn.array import Array
from numbert.nn.layers import Linear
from numbert.nn.module import Module


class BertIntermediate(Module):
    """Computes act(dense(hidden_states)). [b,l,e] -> [b,l,f]."""

    def __init__(self, config: BertConfig, *, seed: Any = 0, dtype: DTypeLike = np.float32) -> None:
        self.dense = Linear(
            config.hidden_size, config.intermediate_size, std=config.initializer_range, seed=seed, dtype=dtype
        )
        self.intermediate_act_fn = ACT2FN[config.hidden_act]()

    def forward(self, hidden_states: Array) -> Array:
        """[b,l,e] -> [b,l,f]."""
        hidden_states = self.dense(hidden_states)
        return self.intermediate_act_fn(hidden_states)

    def backward(self, d_output: Array) -> Array:
        """d_output [b,l,f] -> d_hidden_states [b,l,e].

        The derivation is in docs/derivations.md#layers-in-a-row.
        """
        return self.dense.backward(self.intermediate_act_fn.backward(d_output))


class BertLayer(Module):
    """Attention, then the feed-forward network. [b,l,e] -> [b,l,e]."""

    def __init__(self, config: BertConfig, *, seed: Any = 0, dtype: DTypeLike = np.float32) -> None:
        seed = np.random.default_rng(seed)
        self.attention = BertAttention(config, seed=seed, dtype=dtype)
        self.intermediate = BertIntermediate(config, seed=seed, dtype=dtype)
        self.output = BertOutput(config, seed=seed, dtype=dtype)

    def forward(
        self, hidden_states: Array, attention_mask: Array | None = None, output_attentions: bool = False
    ) -> tuple[Array, ...]:
        """Returns the tuple (layer_output [b,l,e],), or (layer_output, attention_probs [b,h,l,r]).

        The arguments are those of `BertSelfAttention.forward`.
        """
        attention_outputs = self.attention(hidden_states, attention_mask, output_attentions)
        layer_output = self.feed_forward(attention_outputs[0])
        return (layer_output, *attention_outputs[1:])

    def feed_forward(self, attention_output: Array) -> Array:
        """Runs the feed-forward network with its residual sum. [b,l,e] -> [b,l,f] -> [b,l,e]."""
        intermediate_output = self.intermediate(attention_output)
        return self.output(intermediate_output, attention_output)

    def backward(self, d_layer_output: Array) -> Array:
        """d_layer_output [b,l,e] -> d_hidden_states [b,l,e].

        The derivation is in docs/derivations.md#residual-sums.
        """
        d_intermediate_output, d_residual = self.output.backward(d_layer_output)
        d_attention_output = self.intermediate.backward(d_intermediate_output)
        d_attention_output += d_residual
        return self.attention.backward(d_attention_output)
