"""attention: softmax(query key^T / sqrt(d) + attention_mask) value.

(Vaswani et al. 2017, arXiv:1706.03762, section 3.2.1.) It is here in the three steps that its layers call, namely
scores, probabilities (see `softmax`) and context, and as a whole.
"""

from __future__ import annotations

import math

import numpy as np

from numbert.nn.array import Array
from numbert.nn.functional.softmax import softmax, softmax_backward, softmax_backward_plain, softmax_plain
from numbert.nn.numerics import underflow_is_zero
from numbert.nn.products import matmul

# --- scores ------------------------------------------------------------------------------------------------------


def attention_scores_plain(query: Array, key: Array) -> Array:
    """query key^T / sqrt(d): how well each query fits each key. [b,h,l,d], [b,h,r,d] -> [b,h,l,r]."""
    d = query.shape[-1]
    return np.einsum("bhld,bhrd->bhlr", query, key) / math.sqrt(d)


@underflow_is_zero
def attention_scores(query: Array, key: Array) -> Array:
    """`attention_scores_plain` as matrix products. [b,h,l,d], [b,h,r,d] -> [b,h,l,r]."""
    attention_scores = matmul(query, key.swapaxes(-1, -2))  # [b,h,l,d] @ [b,h,d,r] -> [b,h,l,r]
    attention_scores /= math.sqrt(query.shape[-1])
    return attention_scores


def attention_scores_backward_plain(d_scores: Array, query: Array, key: Array) -> tuple[Array, Array]:
    """d_scores [b,h,l,r] -> d_query [b,h,l,d], d_key [b,h,r,d]."""
    d = query.shape[-1]
    d_query = np.einsum("bhlr,bhrd->bhld", d_scores, key) / math.sqrt(d)
    d_key = np.einsum("bhlr,bhld->bhrd", d_scores, query) / math.sqrt(d)
    return d_query, d_key


@underflow_is_zero
def attention_scores_backward(d_scores: Array, query: Array, key: Array) -> tuple[Array, Array]:
    """`attention_scores_backward_plain` as matrix products.

    Args:
        d_scores: [b,h,l,r]
        query: [b,h,l,d]
        key: [b,h,r,d]

    Returns:
        d_query [b,h,l,d], d_key [b,h,r,d].
    """
    d_products = d_scores / math.sqrt(query.shape[-1])
    d_query = matmul(d_products, key)  # [b,h,l,r] @ [b,h,r,d] -> [b,h,l,d]
    d_key = matmul(d_products.swapaxes(-1, -2), query)  # [b,h,r,l] @ [b,h,l,d] -> [b,h,r,d]
    return d_query, d_key


# --- context -----------------------------------------------------------------------------------------------------


def attention_context_plain(probs: Array, value: Array) -> Array:
    """For each query the mean of the values, weighted by its probabilities. [b,h,l,r], [b,h,r,d] -> [b,h,l,d]."""
    return np.einsum("bhlr,bhrd->bhld", probs, value)


@underflow_is_zero
def attention_context(probs: Array, value: Array) -> Array:
    """`attention_context_plain` as matrix products. [b,h,l,r], [b,h,r,d] -> [b,h,l,d]."""
    return matmul(probs, value)


def attention_context_backward_plain(d_context: Array, probs: Array, value: Array) -> tuple[Array, Array]:
    """d_context [b,h,l,d] -> d_probs [b,h,l,r], d_value [b,h,r,d]."""
    d_probs = np.einsum("bhld,bhrd->bhlr", d_context, value)
    d_value = np.einsum("bhlr,bhld->bhrd", probs, d_context)
    return d_probs, d_value


@underflow_is_zero
def attention_context_backward(d_context: Array, probs: Array, value: Array) -> tuple[Array, Array]:
    """`attention_context_backward_plain` as matrix products.

    Args:
        d_context: [b,h,l,d]
        probs: [b,h,l,r]
        value: [b,h,r,d]

    Returns:
        d_probs [b,h,l,r], d_value [b,h,r,d].
    """
    d_value = matmul(probs.swapaxes(-1, -2), d_context)  # [b,h,r,l] @ [b,h,l,d] -> [b,h,r,d]
    d_probs = matmul(d_context, value.swapaxes(-1, -2))  # [b,h,l,d] @ [b,h,d,r] -> [b,h,l,r]
    return d_probs, d_value


# --- the whole ---------------------------------------------------------------------------------------------------


def attention_plain(
    query: Array, key: Array, value: Array, attention_mask: Array | None = None, keep: Array | None = None
) -> tuple[Array, Array]:
    """The whole attention. [b,h,l,d], [b,h,r,d], [b,h,r,d] -> context [b,h,l,d], attention_probs [b,h,l,r]."""
    scores = attention_scores_plain(query, key)
    masked = scores if attention_mask is None else scores + attention_mask
    probs = softmax_plain(masked)
    kept = probs if keep is None else probs * keep
    return attention_context_plain(kept, value), probs


@underflow_is_zero
def attention(
    query: Array, key: Array, value: Array, attention_mask: Array | None = None, keep: Array | None = None
) -> tuple[Array, Array]:
    """`attention_plain` with the fast form of each step.

    Args:
        query: [b,h,l,d]
        key, value: [b,h,r,d]
        attention_mask: added to the scores and broadcast to [b,h,l,r]; 0 where the query may look at the key, a
            huge negative number where it may not.
        keep: factors on the probabilities, [b,h,l,r]: 0 where dropout drops, 1 / (1 - p) elsewhere.

    Returns:
        context [b,h,l,d]; and attention_probs [b,h,l,r], before keep, which backward needs.
    """
    scores = attention_scores(query, key)  # [b,h,l,r]
    if attention_mask is not None:
        scores += attention_mask
    attention_probs = softmax(scores)
    kept = attention_probs if keep is None else attention_probs * keep
    return attention_context(kept, value), attention_probs


def attention_backward_plain(
    d_context: Array,
    query: Array,
    key: Array,
    value: Array,
    attention_probs: Array,
    keep: Array | None = None,
) -> tuple[Array, Array, Array]:
    """d_context [b,h,l,d] -> d_query [b,h,l,d], d_key [b,h,r,d], d_value [b,h,r,d].

    The derivation is in docs/derivations.md#attention.
    """
    kept = attention_probs if keep is None else attention_probs * keep
    d_kept, d_value = attention_context_backward_plain(d_context, kept, value)
    d_probs = d_kept if keep is None else d_kept * keep
    d_scores = softmax_backward_plain(d_probs, attention_probs)
    d_query, d_key = attention_scores_backward_plain(d_scores, query, key)
    return d_query, d_key, d_value


@underflow_is_zero
def attention_backward(
    d_context: Array,
    query: Array,
    key: Array,
    value: Array,
    attention_probs: Array,
    keep: Array | None = None,
) -> tuple[Array, Array, Array]:
    """`attention_backward_plain` with the fast form of each step.

    Args:
        d_context: [b,h,l,d]
        query: [b,h,l,d]
        key, value: [b,h,r,d]
        attention_probs: [b,h,l,r], as `attention` returned them.
        keep: [b,h,l,r], as in forward.

    Returns:
        d_query [b,h,l,d], d_key [b,h,r,d], d_value [b,h,r,d].
    """
    # context = kept @ value
    kept = attention_probs if keep is None else attention_probs * keep
    d_probs, d_value = attention_context_backward(d_context, kept, value)
    # kept = attention_probs * keep
    if keep is not None:
        d_probs *= keep
    # attention_probs = softmax(scores); the mask is a constant
    d_scores = softmax_backward(d_probs, attention_probs)
    # scores = query @ key^T / sqrt(d)
    d_query, d_key = attention_scores_backward(d_scores, query, key)
    return d_query, d_key, d_value
