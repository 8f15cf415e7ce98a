"""Scaled dot-product attention as one layer for each step, so that each step can be watched and replaced.

The steps are: attention_scores = query key^T / sqrt(d); the mask is added; softmax; heads are masked; dropout;
context = attention_probs value (Vaswani et al. 2017, arXiv:1706.03762, section 3.2.1). None of these layers has
parameters. The derivations are in docs/derivations.md#attention.
"""

from __future__ import annotations

from numbert.nn.array import Array, given, summed_to
from numbert.nn.functional import (
    Terms,
    add,
    attention_context,
    attention_context_backward,
    attention_in_blocks,
    attention_in_blocks_backward,
    attention_scores,
    attention_scores_backward,
    softmax,
    softmax_backward,
)
from numbert.nn.functional.attention_blocks import BLOCK
from numbert.nn.module import Module


class AttentionScores(Module):
    """Computes query key^T / sqrt(d). [b,h,l,d], [b,h,r,d] -> [b,h,l,r]."""

    listed = False

    def forward(self, query_layer: Array, key_layer: Array) -> Array:
        """[b,h,l,d], [b,h,r,d] -> attention_scores [b,h,l,r]."""
        self.remember(query_layer=query_layer, key_layer=key_layer)
        return attention_scores(query_layer, key_layer)

    def backward(self, d_attention_scores: Array) -> tuple[Array, Array]:
        """d_attention_scores [b,h,l,r] -> d_query_layer [b,h,l,d], d_key_layer [b,h,r,d]."""
        saved = self.recall()
        return attention_scores_backward(d_attention_scores, saved.query_layer, saved.key_layer)


class AttentionMask(Module):
    """Adds the mask to the scores. [b,h,l,r] -> [b,h,l,r]. It runs only if there is a mask."""

    listed = False

    def forward(self, attention_scores: Array, attention_mask: Array) -> Array:
        """Returns the masked scores [b,h,l,r].

        Args:
            attention_scores: [b,h,l,r]
            attention_mask: broadcast to [b,h,l,r]; 0 where the query may look at the key, a huge negative number
                where it may not.
        """
        self.remember()
        return add(attention_scores, attention_mask)

    def backward(self, d_masked_scores: Array) -> Array:
        """d_masked_scores [b,h,l,r] -> d_attention_scores [b,h,l,r], the same numbers; the mask is a constant."""
        self.recall()
        return d_masked_scores.copy()


class AttentionProbs(Module):
    """Applies softmax over the keys. [b,h,l,r] -> [b,h,l,r]."""

    listed = False

    def forward(self, attention_scores: Array) -> Array:
        """[b,h,l,r] -> attention_probs [b,h,l,r], which sum to 1 over r."""
        attention_probs = softmax(attention_scores)
        self.remember(attention_probs=attention_probs)
        return attention_probs

    def backward(self, d_attention_probs: Array) -> Array:
        """d_attention_probs [b,h,l,r] -> d_attention_scores [b,h,l,r]: docs/derivations.md#softmax."""
        return softmax_backward(d_attention_probs, self.recall().attention_probs)


class HeadMask(Module):
    """Multiplies the probabilities of each head by a number. [b,h,l,r] -> [b,h,l,r]. It runs only if there is one.

    The gradient of that number says how much the loss depends on the head (Michel et al. 2019, arXiv:1905.10650).
    """

    listed = False

    def forward(self, attention_probs: Array, head_mask: Array) -> Array:
        """[b,h,l,r], and head_mask broadcast to it, usually [1,h,1,1] -> [b,h,l,r]."""
        self.remember(attention_probs=attention_probs, head_mask=head_mask)
        return attention_probs * head_mask

    def backward(self, d_output: Array) -> tuple[Array, Array]:
        """d_output [b,h,l,r] -> d_attention_probs [b,h,l,r], d_head_mask of head_mask's shape.

        The derivation is in docs/derivations.md#head-masks.
        """
        saved = self.recall()
        d_head_mask = summed_to(d_output * saved.attention_probs, saved.head_mask.shape)
        return d_output * saved.head_mask, d_head_mask


class AttentionContext(Module):
    """Computes for each query the mean of the values, weighted by attention_probs.

    [b,h,l,r], [b,h,r,d] -> [b,h,l,d].
    """

    listed = False

    def forward(self, attention_probs: Array, value_layer: Array) -> Array:
        """[b,h,l,r], [b,h,r,d] -> context_layer [b,h,l,d]."""
        self.remember(attention_probs=attention_probs, value_layer=value_layer)
        return attention_context(attention_probs, value_layer)

    def backward(self, d_context_layer: Array) -> tuple[Array, Array]:
        """d_context_layer [b,h,l,d] -> d_attention_probs [b,h,l,r], d_value_layer [b,h,r,d]."""
        saved = self.recall()
        return attention_context_backward(d_context_layer, saved.attention_probs, saved.value_layer)


class AttentionInBlocks(Module):
    """Does what the other layers do together, without ever holding [b,h,l,r]. [b,h,l,d] -> [b,h,l,d].

    It takes their place where sequences are long. See `attention_in_blocks`.

    Args:
        size: the largest number of queries, and of keys, in a block.
    """

    listed = False

    def __init__(self, size: int = BLOCK) -> None:
        self.size = size

    def forward(
        self,
        query_layer: Array,
        key_layer: Array,
        value_layer: Array,
        attention_mask: Array | None = None,
        head_mask: Array | None = None,
        table: Array | None = None,
        with_key: bool = False,
        p: float = 0.0,
        seed: int | None = None,
    ) -> Array:
        """[b,h,l,d], [b,h,r,d], [b,h,r,d] -> context_layer [b,h,l,d]. The other arguments are those of `Terms`."""
        terms = Terms(attention_mask, head_mask, table, with_key, p, seed)
        context_layer, row_max, log_sum = attention_in_blocks(
            query_layer, key_layer, value_layer, terms, self.size
        )
        self.remember(
            query_layer=query_layer,
            key_layer=key_layer,
            value_layer=value_layer,
            terms=terms,
            context_layer=context_layer,
            row_max=row_max,
            log_sum=log_sum,
        )
        return context_layer

    def backward(self, d_context_layer: Array) -> tuple[Array, ...]:
        """d_context_layer [b,h,l,d] -> the gradients of query_layer, key_layer, value_layer, head_mask and table.

        Of the last two, only those are returned whose inputs were given. The derivation is in
        docs/derivations.md#attention-in-blocks.
        """
        saved = self.recall()
        d_query_layer, d_key_layer, d_value_layer, d_head_mask, d_table = attention_in_blocks_backward(
            d_context_layer,
            saved.query_layer,
            saved.key_layer,
            saved.value_layer,
            saved.terms,
            saved.context_layer,
            saved.row_max,
            saved.log_sum,
            self.size,
        )
        if d_head_mask is not None:
            d_head_mask = summed_to(d_head_mask, saved.terms.head_mask.shape)
        gradients: tuple[Array, ...] = given(d_query_layer, d_key_layer, d_value_layer, d_head_mask, d_table)
        return gradients
