"""dropout: each number is set to 0 with probability p, and the others are divided by 1 - p.

So the expected output equals the input, and no factor is needed when nothing is dropped (Srivastava et al. 2014,
JMLR 15, section 10). Derivation: y = x kept / (1 - p) with random constants kept, which are 0 or 1, so
d_x = d_y kept / (1 - p).
"""

from __future__ import annotations

import numpy as np

from numbert.nn.array import Array
from numbert.nn.numerics import underflow_is_zero


def drawn_kept(shape: tuple[int, ...], p: float, rng: np.random.Generator) -> Array:
    """Draws which numbers are kept: an array of bool of that shape, in which each is False with probability p."""
    kept: Array = rng.random(shape, dtype=np.float32) >= p
    return kept


def dropout_plain(x: Array, kept: Array, p: float) -> Array:
    """x kept / (1 - p), of any shape; 0 if p is 1."""
    scale = 1 / (1 - p) if p < 1 else 0.0
    return x * kept * scale


@underflow_is_zero
def dropout(x: Array, kept: Array, p: float) -> Array:
    """`dropout_plain` with one array less in between.

    Args:
        x: of any shape.
        kept: bool, of x's shape (see `drawn_kept`).
        p: the probability with which a number was dropped.
    """
    y = x * x.real.dtype.type(1 / (1 - p) if p < 1 else 0)
    y *= kept
    return y


def dropout_backward_plain(d_output: Array, kept: Array, p: float) -> Array:
    """d_x = d_output kept / (1 - p)."""
    return dropout_plain(d_output, kept, p)


def dropout_backward(d_output: Array, kept: Array, p: float) -> Array:
    """`dropout_backward_plain`, which is the same product as in forward."""
    return dropout(d_output, kept, p)
