"""softmax: exp(x) divided by its sum along the last axis.

The row's maximum is subtracted first: it cancels in the quotient, and exp cannot overflow.
"""

from __future__ import annotations

import numpy as np

from numbert.nn.array import Array
from numbert.nn.blocks import in_row_blocks
from numbert.nn.numerics import underflow_is_zero
from numbert.nn.workspace import empty


def softmax_plain(x: Array) -> Array:
    """exp(x) / sum(exp(x)) along the last axis. [..., r] -> [..., r]."""
    shifted = x - x.real.max(axis=-1, keepdims=True, initial=-np.inf)  # a row without numbers has a maximum, too
    exp = np.exp(shifted)
    total = exp.sum(axis=-1, keepdims=True)
    return exp / total


@underflow_is_zero
def softmax(x: Array) -> Array:
    """`softmax_plain` in blocks of rows. [..., r] -> [..., r]; each row of the result sums to 1."""
    probs = empty(x.shape, x.dtype)
    if x.size:
        in_row_blocks(_softmax, probs.reshape(-1, x.shape[-1]), x.reshape(-1, x.shape[-1]))
    return probs


def _softmax(probs: Array, x: Array) -> None:
    np.subtract(x, x.real.max(axis=-1, keepdims=True), out=probs)  # shifted
    np.exp(probs, out=probs)  # exp
    probs /= probs.sum(axis=-1, keepdims=True)  # exp / total


def softmax_backward_plain(d_probs: Array, probs: Array) -> Array:
    """d_x = probs * (d_probs - sum(d_probs * probs)). [..., r] -> [..., r].

    The derivation is in docs/derivations.md#softmax.
    """
    total = (d_probs * probs).sum(axis=-1, keepdims=True)
    return probs * (d_probs - total)


@underflow_is_zero
def softmax_backward(d_probs: Array, probs: Array) -> Array:
    """`softmax_backward_plain` in blocks of rows.

    Args:
        d_probs, probs: [..., r]

    Returns:
        d_x [..., r].
    """
    d_x = empty(probs.shape, probs.dtype)
    rows = (-1, probs.shape[-1])
    if probs.size:
        in_row_blocks(_softmax_backward, d_x.reshape(rows), d_probs.reshape(rows), probs.reshape(rows))
    return d_x


def _softmax_backward(d_x: Array, d_probs: Array, probs: Array) -> None:
    np.multiply(d_probs, probs, out=d_x)  # d_probs * probs
    np.subtract(d_probs, d_x.sum(axis=-1, keepdims=True), out=d_x)  # d_probs - total
    d_x *= probs
