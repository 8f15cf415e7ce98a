"""BertSelfAttention and BertAttention: every token looks at every other."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from numbert.bert.residual import BertSelfOutput
from numbert.config import BertConfig
from numbert.nn.array import Array
from numbert.nn.functional import attention, attention_backward
from numbert.nn.layers import Dropout, Linear
from numbert.nn.module import Module


class BertSelfAttention(Module):
    """h heads of scaled dot-product attention side by side: seeds' BertSelfAttention. [b,l,e] -> [b,l,e]."""

    def __init__(self, config: BertConfig, *, seed: Any = 0, dtype: DTypeLike = np.float32) -> None:
        seed = np.random.default_rng(seed)
        self.num_attention_heads = config.num_attention_heads
        self.attention_head_size = config.attention_head_size
        self.all_head_size = self.num_attention_heads * self.attention_head_size
        draw: dict[str, Any] = {"std": config.initializer_range, "seed": seed, "dtype": dtype}
        self.query = Linear(config.hidden_size, self.all_head_size, **draw)
        self.key = Linear(config.hidden_size, self.all_head_size, **draw)
        self.value = Linear(config.hidden_size, self.all_head_size, **draw)
        self.dropout = Dropout(config.attention_probs_dropout_prob, seed=seed)

    def transpose_for_scores(self, x: Array) -> Array:
        """[b,l,e] -> [b,h,l,d]: split e into heads, then bring them forward (a reshape alone would mix them)."""
        b, length, _ = x.shape
        return x.reshape(b, length, self.num_attention_heads, self.attention_head_size).transpose(0, 2, 1, 3)

    def transpose_from_scores(self, x: Array) -> Array:
        """[b,h,l,d] -> [b,l,e]: the inverse of `transpose_for_scores`, and so its gradient."""
        b, _, length, _ = x.shape
        return x.transpose(0, 2, 1, 3).reshape(b, length, self.all_head_size)

    def forward(
        self, hidden_states: Array, attention_mask: Array | None = None, output_attentions: bool = False
    ) -> tuple[Array, ...]:
        """-> (context_layer [b,l,e],), with attention_probs [b,h,l,r] behind it on request.

        Args:
            hidden_states: [b,l,e]
            attention_mask: added to the scores, broadcast to [b,h,l,r] (see `extended_attention_mask`).
        """
        query_layer = self.transpose_for_scores(self.query(hidden_states))  # [b,l,e] -> [b,h,l,d]
        key_layer = self.transpose_for_scores(self.key(hidden_states))  # [b,r,e] -> [b,h,r,d]
        value_layer = self.transpose_for_scores(self.value(hidden_states))  # [b,r,e] -> [b,h,r,d]

        b, h, length, _ = query_layer.shape
        keep = self.dropout.draw((b, h, length, key_layer.shape[2]), query_layer.real.dtype)
        context_layer, attention_probs = attention(query_layer, key_layer, value_layer, attention_mask, keep)
        self.remember(
            query_layer=query_layer,
            key_layer=key_layer,
            value_layer=value_layer,
            attention_probs=attention_probs,
            keep=keep,
        )
        context_layer = self.transpose_from_scores(context_layer)  # [b,h,l,d] -> [b,l,e]
        return (context_layer, attention_probs) if output_attentions else (context_layer,)

    def backward(self, d_context_layer: Array) -> Array:
        """d_context_layer [b,l,e] -> d_hidden_states [b,l,e]. (attention_probs are for looking at.)

        Derivation: docs/derivations.md#attention.
        """
        saved = self.recall()
        d_query_layer, d_key_layer, d_value_layer = attention_backward(
            self.transpose_for_scores(d_context_layer),
            saved.query_layer,
            saved.key_layer,
            saved.value_layer,
            saved.attention_probs,
            saved.keep,
        )
        # hidden_states went into query, key and value: the three gradients add up.
        d_hidden_states = self.query.backward(self.transpose_from_scores(d_query_layer))
        d_hidden_states += self.key.backward(self.transpose_from_scores(d_key_layer))
        d_hidden_states += self.value.backward(self.transpose_from_scores(d_value_layer))
        return d_hidden_states


class BertAttention(Module):
    """Self-attention and its output with the residual connection: seeds' BertAttention. [b,l,e] -> [b,l,e]."""

    def __init__(self, config: BertConfig, *, seed: Any = 0, dtype: DTypeLike = np.float32) -> None:
        seed = np.random.default_rng(seed)
        self.self = BertSelfAttention(config, seed=seed, dtype=dtype)
        self.output = BertSelfOutput(config, seed=seed, dtype=dtype)

    def forward(
        self, hidden_states: Array, attention_mask: Array | None = None, output_attentions: bool = False
    ) -> tuple[Array, ...]:
        """-> (attention_output [b,l,e],), with attention_probs [b,h,l,r] behind it on request."""
        self_outputs = self.self(hidden_states, attention_mask, output_attentions)
        attention_output = self.output(self_outputs[0], hidden_states)
        return (attention_output, *self_outputs[1:])

    def backward(self, d_attention_output: Array) -> Array:
        """d_attention_output [b,l,e] -> d_hidden_states [b,l,e]: docs/derivations.md#residual-sums."""
        d_context_layer, d_residual = self.output.backward(d_attention_output)
        d_hidden_states = self.self.backward(d_context_layer)
        d_hidden_states += d_residual
        return d_hidden_states
