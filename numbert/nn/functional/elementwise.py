"""relu, sigmoid, silu and tanh: element by element, of any shape.

Each backward is d_x = d_output * f'(x), so only f' has to be derived: docs/derivations.md#activations. NumPy
computes relu and tanh in one or two steps, so their plain form is also the fast one.
"""

from __future__ import annotations

import numpy as np

from numbert.nn.array import Array
from numbert.nn.numerics import underflow_is_zero


def relu_plain(x: Array) -> Array:
    """max(x, 0). NaN stays NaN."""
    return np.where(x.real <= 0, x.dtype.type(0), x)


relu = relu_plain


@underflow_is_zero
def relu_backward_plain(d_output: Array, x: Array) -> Array:
    """d_output relu'(x), where relu'(x) is 1 for x > 0 and 0 for x <= 0.

    At 0 itself any value in [0, 1] is a subgradient; PyTorch takes 0, too.
    """
    return d_output * (x.real > 0)


relu_backward = relu_backward_plain


def sigmoid_plain(x: Array) -> Array:
    """1 / (1 + exp(-x))."""
    return 1 / (1 + np.exp(-x))


@underflow_is_zero
def sigmoid(x: Array) -> Array:
    """`sigmoid_plain` without overflow for large |x|."""
    positive = x.real >= 0
    small = np.exp(np.where(positive, -x, x))  # exp(-|x|), at most 1
    return np.where(positive, x.dtype.type(1), small) / (1 + small)


def silu_plain(x: Array) -> Array:
    """x sigmoid(x), also called swish (Elfwing et al. 2017, arXiv:1702.03118)."""
    return x * sigmoid_plain(x)


@underflow_is_zero
def silu(x: Array) -> Array:
    """`silu_plain` without overflow for large |x|."""
    return x * sigmoid(x)


def silu_backward_plain(d_output: Array, x: Array) -> Array:
    """d_output silu'(x), with silu'(x) = s + x s (1 - s) and s = sigmoid(x), because s' = s (1 - s).

    1 - s is computed as sigmoid(-x), which keeps the digits that the difference would lose near s = 1.
    """
    s = sigmoid_plain(x)
    one_less_s = sigmoid_plain(-x)
    slope = s + x * s * one_less_s
    return d_output * slope


@underflow_is_zero
def silu_backward(d_output: Array, x: Array) -> Array:
    """`silu_backward_plain` without overflow for large |x|."""
    s = sigmoid(x)
    return d_output * (s + x * s * sigmoid(-x))


@underflow_is_zero
def tanh_plain(x: Array) -> Array:
    """(exp(x) - exp(-x)) / (exp(x) + exp(-x)), by NumPy's own function."""
    return np.tanh(x)


tanh = tanh_plain


@underflow_is_zero
def tanh_backward_plain(d_output: Array, output: Array) -> Array:
    """d_output (1 - output^2), because tanh' = 1 - tanh^2. Unlike the others it takes the output and not x."""
    return d_output * (1 - output * output)


tanh_backward = tanh_backward_plain
