"""relu, sigmoid, silu and tanh: element by element, of any shape.

Each backward is d_x = d_output * f'(x), so only f' has to be derived: docs/derivations.md#activations. NumPy
computes relu and tanh in one or two steps, so their plain form is also the fast one.
"""

from __future__ import annotations

import numpy as np

from numbert.nn.array import Array
from numbert.nn.blocks import mapped
from numbert.nn.numerics import underflow_is_zero
from numbert.nn.workspace import empty


def add_plain(x: Array, y: Array) -> Array:
    """x + y, where either may be broadcast."""
    return x + y


def add(x: Array, y: Array) -> Array:
    """`add_plain` into memory of a workspace, if there is one."""
    return np.add(x, y, out=empty(np.broadcast_shapes(x.shape, y.shape), np.result_type(x, y)))


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
    negative = np.where(x.real < 0, x, x.dtype.type(0))  # x where it is negative, else 0
    small = np.exp(np.where(x.real < 0, x, -x))  # exp(-|x|), at most 1
    return np.exp(negative) / (1 + small)


def silu_plain(x: Array) -> Array:
    """x sigmoid(x), also called swish (Elfwing et al. 2017, arXiv:1702.03118)."""
    return x * sigmoid_plain(x)


@underflow_is_zero
def silu(x: Array) -> Array:
    """`silu_plain` without overflow for large |x|, in blocks of rows where x is real."""
    if x.dtype.kind == "c":
        return x * sigmoid(x)
    return mapped(_silu, x)


def _sigmoid(x: Array) -> Array:
    """Of a block of real numbers."""
    small = np.abs(x)
    np.negative(small, out=small)
    np.exp(small, out=small)  # exp(-|x|)
    small += 1
    s = np.minimum(x, 0)
    np.exp(s, out=s)  # 1, or exp(x) where x is negative
    s /= small  # sigmoid(x)
    return s


def _silu(out: Array, x: Array) -> None:
    np.multiply(x, _sigmoid(x), out=out)


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
    """`silu_backward_plain` without overflow for large |x|, in blocks of rows where x is real."""
    if x.dtype.kind == "c":
        s = sigmoid(x)
        return d_output * (s + x * s * sigmoid(-x))
    return mapped(_silu_backward, d_output, x)


def _silu_backward(out: Array, d_output: Array, x: Array) -> None:
    s = _sigmoid(x)
    np.multiply(x, s, out=out)  # x s
    out *= _sigmoid(-x)  # x s (1 - s)
    out += s  # silu'(x)
    out *= d_output


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
