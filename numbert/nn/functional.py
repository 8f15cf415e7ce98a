"""Mathematics without parameters, as pairs of plain functions that work on arrays alone.

`name` computes; `name_backward` takes the gradient of each output and what `name` gave back for it, and
returns the gradient of each input, in order. Longer derivations are in docs/derivations.md.
Letters: b batch, l query length, r key length, h heads, d head size, e hidden size, v vocabulary.
"""

from __future__ import annotations

import math

import numpy as np

from numbert.nn.array import Array
from numbert.nn.blocks import in_row_blocks

IGNORE = -100


def softmax(x: Array) -> Array:
    """exp(x) over its sum along the last axis. [..., r] -> [..., r].

    The row's maximum is taken off first: it cancels, and exp cannot overflow.
    """
    probs = np.empty_like(x, order="C")
    in_row_blocks(_softmax, probs.reshape(-1, x.shape[-1]), x.reshape(-1, x.shape[-1]))
    return probs


def _softmax(probs: Array, x: Array) -> None:
    np.subtract(x, x.real.max(axis=-1, keepdims=True), out=probs)
    np.exp(probs, out=probs)
    probs /= probs.sum(axis=-1, keepdims=True)


def softmax_backward(d_probs: Array, probs: Array) -> Array:
    """d_x = probs * (d_probs - sum(d_probs * probs)): docs/derivations.md#softmax. [..., r] -> [..., r]."""
    d_x = np.empty_like(probs, order="C")
    rows = (-1, probs.shape[-1])
    in_row_blocks(_softmax_backward, d_x.reshape(rows), d_probs.reshape(rows), probs.reshape(rows))
    return d_x


def _softmax_backward(d_x: Array, d_probs: Array, probs: Array) -> None:
    np.multiply(d_probs, probs, out=d_x)
    np.subtract(d_probs, d_x.sum(axis=-1, keepdims=True), out=d_x)
    d_x *= probs


def layer_norm(x: Array, weight: Array, bias: Array, eps: float) -> tuple[Array, Array, Array]:
    """(x - mean) / sqrt(variance + eps) * weight + bias over the last axis (Ba et al. 2016, arXiv:1607.06450).

    The variance is the biased one, the mean of the squares.

    Args:
        x: [..., e]
        weight, bias: [e]

    Returns:
        output [..., e], and for backward: normalized [..., e], inverse_std [..., 1].
    """
    output = np.empty(x.shape, np.result_type(x, weight))
    normalized = np.empty_like(output)
    inverse_std = np.empty((*x.shape[:-1], 1), output.dtype)

    def kernel(x: Array, output: Array, normalized: Array, inverse_std: Array) -> None:
        np.subtract(x, x.mean(axis=-1, keepdims=True), out=normalized)
        variance = _row_dot(normalized, normalized)
        variance /= x.shape[-1]
        variance += eps
        np.divide(1, np.sqrt(variance, out=variance), out=inverse_std)
        normalized *= inverse_std
        np.multiply(normalized, weight, out=output)
        output += bias

    e = x.shape[-1]
    in_row_blocks(
        kernel, x.reshape(-1, e), output.reshape(-1, e), normalized.reshape(-1, e), inverse_std.reshape(-1, 1)
    )
    return output, normalized, inverse_std


def layer_norm_backward(
    d_output: Array, normalized: Array, inverse_std: Array, weight: Array
) -> tuple[Array, Array, Array]:
    """-> d_x [..., e], d_weight [e], d_bias [e]: docs/derivations.md#layernorm.

    With g = d_output * weight: d_x = inverse_std * (g - mean(g) - normalized * mean(g * normalized)).
    """
    e = normalized.shape[-1]
    d_output, normalized = d_output.reshape(-1, e), normalized.reshape(-1, e)
    d_x = np.empty(normalized.shape, np.result_type(d_output, normalized))

    def kernel(d_x: Array, d_output: Array, normalized: Array, inverse_std: Array) -> None:
        np.multiply(d_output, weight, out=d_x)
        mean = d_x.mean(axis=-1, keepdims=True)
        mean_along_normalized = _row_dot(d_x, normalized)
        mean_along_normalized /= e
        d_x -= mean
        d_x -= normalized * mean_along_normalized
        d_x *= inverse_std

    in_row_blocks(kernel, d_x, d_output, normalized, inverse_std.reshape(-1, 1))
    d_weight = np.einsum("ne,ne->e", d_output, normalized)
    return d_x.reshape(*inverse_std.shape[:-1], e), d_weight, d_output.sum(axis=0)


def _row_dot(x: Array, y: Array) -> Array:
    """The sum of x * y along each row, [n,e], [n,e] -> [n,1]; complex numbers are not conjugated."""
    return np.einsum("ne,ne->n", x, y)[:, None]


def attention(
    query: Array, key: Array, value: Array, attention_mask: Array | None = None, keep: Array | None = None
) -> tuple[Array, Array]:
    """softmax(query key^T / sqrt(d) + attention_mask) value (Vaswani et al. 2017, arXiv:1706.03762, 3.2.1).

    Args:
        query: [b,h,l,d]
        key, value: [b,h,r,d]
        attention_mask: added to the scores, broadcast to [b,h,l,r]: 0 to look, a huge negative number not to.
        keep: factors on the probabilities, [b,h,l,r]: 0 where dropout drops, 1 / (1 - p) elsewhere.

    Returns:
        context [b,h,l,d], and for backward: attention_probs [b,h,l,r] (before keep).
    """
    attention_scores = query @ key.swapaxes(-1, -2)  # [b,h,l,d] @ [b,h,d,r] -> [b,h,l,r]
    attention_scores /= math.sqrt(query.shape[-1])
    if attention_mask is not None:
        attention_scores += attention_mask
    attention_probs = softmax(attention_scores)
    kept_probs = attention_probs if keep is None else attention_probs * keep
    return kept_probs @ value, attention_probs  # [b,h,l,r] @ [b,h,r,d] -> [b,h,l,d]


def attention_backward(
    d_context: Array,
    query: Array,
    key: Array,
    value: Array,
    attention_probs: Array,
    keep: Array | None = None,
) -> tuple[Array, Array, Array]:
    """d_context [b,h,l,d] -> d_query [b,h,l,d], d_key, d_value [b,h,r,d]: docs/derivations.md#attention."""
    # context = kept_probs @ value
    kept_probs = attention_probs if keep is None else attention_probs * keep
    d_value = kept_probs.swapaxes(-1, -2) @ d_context  # [b,h,r,l] @ [b,h,l,d] -> [b,h,r,d]
    d_probs = d_context @ value.swapaxes(-1, -2)  # [b,h,l,d] @ [b,h,d,r] -> [b,h,l,r]
    # kept_probs = attention_probs * keep
    if keep is not None:
        d_probs *= keep
    # attention_probs = softmax(attention_scores); the mask is a constant
    d_scores = softmax_backward(d_probs, attention_probs)
    # attention_scores = query @ key^T / sqrt(d)
    d_scores /= math.sqrt(query.shape[-1])
    d_query = d_scores @ key  # [b,h,l,r] @ [b,h,r,d] -> [b,h,l,d]
    d_key = d_scores.swapaxes(-1, -2) @ query  # [b,h,r,l] @ [b,h,l,d] -> [b,h,r,d]
    return d_query, d_key, d_value


def cross_entropy(logits: Array, labels: Array) -> tuple[Array, Array]:
    """The mean of -log softmax(logits)[label] over the rows whose label is not -100.

    With no such row the loss is 0, and so is its gradient.

    Args:
        logits: [n,v]
        labels: integers [n], each 0 to v - 1, or -100 for a row to leave out.

    Returns:
        loss, a scalar; and for backward: probs [n,v].
    """
    labelled = labels != IGNORE
    rows = np.arange(len(labels))
    shifted = logits - logits.real.max(axis=-1, keepdims=True)
    probs = np.exp(shifted)
    total = probs.sum(axis=-1, keepdims=True)
    probs /= total
    # log(total) - shifted is -log(probs), and stays finite where probs underflows to 0.
    row_loss = np.log(total[:, 0]) - shifted[rows, np.where(labelled, labels, 0)]
    loss = row_loss[labelled].sum() / max(1, labelled.sum())
    return np.asarray(loss, logits.dtype), probs


def cross_entropy_backward(d_loss: float | Array, probs: Array, labels: Array) -> Array:
    """d_logits [n,v] = (probs - one_hot(labels)) / count, 0 for -100: docs/derivations.md#cross-entropy."""
    labelled = labels != IGNORE
    rows = np.flatnonzero(labelled)
    d_logits = probs * (labelled[:, None] * (d_loss / max(1, len(rows)))).astype(probs.dtype)
    d_logits[rows, labels[rows]] -= np.asarray(d_loss / max(1, len(rows)), probs.dtype)
    return d_logits
