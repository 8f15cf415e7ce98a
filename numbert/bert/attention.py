"""BertSelfAttention and BertAttention: every token looks at every token of its sequence."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from numbert.bert.residual import BertSelfOutput
from numbert.config import BertConfig
from numbert.nn.array import Array
from numbert.nn.attention import AttentionContext, AttentionMask, AttentionProbs, AttentionScores
from numbert.nn.functional import join_heads, join_heads_backward, split_heads, split_heads_backward
from numbert.nn.layers import Dropout, Linear
from numbert.nn.module import Module


class BertSelfAttention(Module):
    """h heads of scaled dot-product attention side by side (Vaswani et al. 2017, 3.2.2). [b,l,e] -> [b,l,e].

    Each step is a layer, which hooks can watch and replace: `scores`, `mask` (if there is one), `probs`, `dropout`
    and `context`.
    """

    def __init__(self, config: BertConfig, *, seed: Any = 0, dtype: DTypeLike = np.float32) -> None:
        seed = np.random.default_rng(seed)
        self.num_attention_heads = config.num_attention_heads
        self.attention_head_size = config.attention_head_size
        self.all_head_size = self.num_attention_heads * self.attention_head_size
        draw: dict[str, Any] = {"std": config.initializer_range, "seed": seed, "dtype": dtype}
        self.query = Linear(config.hidden_size, self.all_head_size, **draw)
        self.key = Linear(config.hidden_size, self.all_head_size, **draw)
        self.value = Linear(config.hidden_size, self.all_head_size, **draw)
        self.scores = AttentionScores()
        self.mask = AttentionMask()
        self.probs = AttentionProbs()
        self.dropout = Dropout(config.attention_probs_dropout_prob, seed=seed)
        self.context = AttentionContext()

    def transpose_for_scores(self, x: Array) -> Array:
        """Splits e into heads. [b,l,e] -> [b,h,l,d]. See `split_heads`."""
        return split_heads(x, self.num_attention_heads)

    def forward(
        self, hidden_states: Array, attention_mask: Array | None = None, output_attentions: bool = False
    ) -> tuple[Array, ...]:
        """Returns the tuple (context_layer [b,l,e],), or (context_layer, attention_probs [b,h,l,r]).

        Args:
            hidden_states: [b,l,e]
            attention_mask: added to the scores and broadcast to [b,h,l,r] (see `extended_attention_mask`).
            output_attentions: whether to return attention_probs, the probabilities before dropout.
        """
        query_layer = self.transpose_for_scores(self.query(hidden_states))  # [b,l,e] -> [b,h,l,d]
        key_layer = self.transpose_for_scores(self.key(hidden_states))  # [b,r,e] -> [b,h,r,d]
        value_layer = self.transpose_for_scores(self.value(hidden_states))  # [b,r,e] -> [b,h,r,d]

        attention_scores = self.scores(query_layer, key_layer)  # [b,h,l,r]
        if attention_mask is not None:
            attention_scores = self.mask(attention_scores, attention_mask)
        attention_probs = self.probs(attention_scores)
        context_layer = self.context(self.dropout(attention_probs), value_layer)  # [b,h,l,d]

        # For readers: the steps hold the same arrays, and each undoes itself.
        self.remember(
            query_layer=query_layer,
            key_layer=key_layer,
            value_layer=value_layer,
            attention_probs=attention_probs,
            masked=attention_mask is not None,
        )
        context_layer = join_heads(context_layer)  # [b,h,l,d] -> [b,l,e]
        return (context_layer, attention_probs) if output_attentions else (context_layer,)

    def backward(self, d_context_layer: Array) -> Array:
        """d_context_layer [b,l,e] -> d_hidden_states [b,l,e]. (attention_probs carry no gradient.)

        The derivation is in docs/derivations.md#attention.
        """
        masked = self.recall().masked
        # context_layer = join_heads(context_layer)
        d_context_layer = join_heads_backward(d_context_layer, self.num_attention_heads)  # [b,l,e] -> [b,h,l,d]
        d_attention_probs, d_value_layer = self.context.backward(d_context_layer)
        d_attention_probs = self.dropout.backward(d_attention_probs)
        d_attention_scores = self.probs.backward(d_attention_probs)
        if masked:
            d_attention_scores = self.mask.backward(d_attention_scores)
        d_query_layer, d_key_layer = self.scores.backward(d_attention_scores)
        # hidden_states went into query, key and value: the three gradients add up.
        d_hidden_states = self.query.backward(split_heads_backward(d_query_layer))
        d_hidden_states += self.key.backward(split_heads_backward(d_key_layer))
        d_hidden_states += self.value.backward(split_heads_backward(d_value_layer))
        return d_hidden_states


class BertAttention(Module):
    """Self-attention and its output with the residual connection. [b,l,e] -> [b,l,e]."""

    def __init__(self, config: BertConfig, *, seed: Any = 0, dtype: DTypeLike = np.float32) -> None:
        seed = np.random.default_rng(seed)
        self.self = BertSelfAttention(config, seed=seed, dtype=dtype)
        self.output = BertSelfOutput(config, seed=seed, dtype=dtype)

    def forward(
        self, hidden_states: Array, attention_mask: Array | None = None, output_attentions: bool = False
    ) -> tuple[Array, ...]:
        """Returns the tuple (attention_output [b,l,e],), or (attention_output, attention_probs [b,h,l,r]).

        The arguments are those of `BertSelfAttention.forward`.
        """
        self_outputs = self.self(hidden_states, attention_mask, output_attentions)
        attention_output = self.output(self_outputs[0], hidden_states)
        return (attention_output, *self_outputs[1:])

    def backward(self, d_attention_output: Array) -> Array:
        """d_attention_output [b,l,e] -> d_hidden_states [b,l,e]: docs/derivations.md#residual-sums."""
        d_context_layer, d_residual = self.output.backward(d_attention_output)
        d_hidden_states = self.self.backward(d_context_layer)
        d_hidden_states += d_residual
        return d_hidden_states
