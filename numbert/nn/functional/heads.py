"""split_heads and join_heads: they split the hidden size e into h heads of size d, and join the heads again.

Number k of head i is number i * d + k of the whole: y[b,i,l,k] = x[b,l,i*d+k]. A reshape of [b,l,e] to [b,h,l,d]
alone would mix positions and heads. Each function is the inverse of the other and moves every number to exactly
one place, so each is also the backward of the other.
"""

from __future__ import annotations

import numpy as np

from numbert.nn.array import Array
from numbert.nn.workspace import empty


def split_heads_plain(x: Array, heads: int) -> Array:
    """Splits e into heads. [b,l,e] -> [b,h,l,d]."""
    b, length, e = x.shape
    d = e // heads
    y = np.empty((b, heads, length, d), x.dtype)
    for i in range(heads):
        y[:, i] = x[:, :, i * d : (i + 1) * d]
    return y


def split_heads(x: Array, heads: int) -> Array:
    """`split_heads_plain` as a view. [b,l,e] -> [b,h,l,d]."""
    b, length, e = x.shape
    return x.reshape(b, length, heads, e // heads).transpose(0, 2, 1, 3)


def split_heads_backward(d_output: Array) -> Array:
    """d_output [b,h,l,d] -> d_x [b,l,e]."""
    return join_heads(d_output)


def join_heads_plain(x: Array) -> Array:
    """Joins the heads to e. [b,h,l,d] -> [b,l,e]."""
    return np.concatenate([x[:, i] for i in range(x.shape[1])], axis=-1)


def join_heads(x: Array) -> Array:
    """`join_heads_plain` as one copy. [b,h,l,d] -> [b,l,e]."""
    b, heads, length, d = x.shape
    y = empty((b, length, heads, d), x.dtype)
    y[...] = x.transpose(0, 2, 1, 3)
    return y.reshape(b, length, heads * d)


def join_heads_backward(d_output: Array, heads: int) -> Array:
    """d_output [b,l,e] -> d_x [b,h,l,d], a view."""
    return split_heads(d_output, heads)
