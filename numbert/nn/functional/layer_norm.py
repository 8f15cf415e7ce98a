"""layer_norm: brings each row to mean 0 and variance 1, then multiplies by weight and adds bias.

The variance is the biased one, the mean of the squares (Ba et al. 2016, arXiv:1607.06450).
"""

from __future__ import annotations

import numpy as np

from numbert.nn.array import Array
from numbert.nn.blocks import in_row_blocks
from numbert.nn.numerics import underflow_is_zero
from numbert.nn.workspace import empty


def layer_norm_plain(x: Array, weight: Array, bias: Array, eps: float) -> tuple[Array, Array, Array]:
    """[..., e], [e], [e] -> output [..., e], normalized [..., e], inverse_std [..., 1]."""
    mean = x.mean(axis=-1, keepdims=True)
    centred = x - mean
    variance = (centred * centred).mean(axis=-1, keepdims=True)
    inverse_std = 1 / np.sqrt(variance + eps)
    normalized = centred * inverse_std
    output = normalized * weight + bias
    return output, normalized, inverse_std


@underflow_is_zero
def layer_norm(x: Array, weight: Array, bias: Array, eps: float) -> tuple[Array, Array, Array]:
    """`layer_norm_plain` in blocks of rows.

    Args:
        x: [..., e]
        weight, bias: [e]
        eps: added to the variance.

    Returns:
        output [..., e]; and normalized [..., e] and inverse_std [..., 1], which backward needs.
    """
    output = empty(x.shape, np.result_type(x, weight))
    normalized = empty(output.shape, output.dtype)
    inverse_std = np.empty((*x.shape[:-1], 1), output.dtype)

    def kernel(x: Array, output: Array, normalized: Array, inverse_std: Array) -> None:
        np.subtract(x, x.mean(axis=-1, keepdims=True), out=normalized)  # centred
        variance = _row_dot(normalized, normalized)  # the sum of centred * centred
        variance /= x.shape[-1]  # variance
        variance += eps  # variance + eps
        np.divide(1, np.sqrt(variance, out=variance), out=inverse_std)  # inverse_std
        normalized *= inverse_std  # normalized
        np.multiply(normalized, weight, out=output)  # normalized * weight
        output += bias  # output

    e = x.shape[-1]
    if x.size:
        in_row_blocks(
            kernel, x.reshape(-1, e), output.reshape(-1, e), normalized.reshape(-1, e), inverse_std.reshape(-1, 1)
        )
    return output, normalized, inverse_std


def layer_norm_backward_plain(
    d_output: Array, normalized: Array, inverse_std: Array, weight: Array
) -> tuple[Array, Array, Array]:
    """d_output [..., e] -> d_x [..., e], d_weight [e], d_bias [e].

    The derivation is in docs/derivations.md#layernorm.
    """
    g = d_output * weight
    mean = g.mean(axis=-1, keepdims=True)
    mean_along_normalized = (g * normalized).mean(axis=-1, keepdims=True)
    d_x = inverse_std * (g - mean - normalized * mean_along_normalized)
    rows = tuple(range(d_output.ndim - 1))
    d_weight = (d_output * normalized).sum(axis=rows)
    d_bias = d_output.sum(axis=rows)
    return d_x, d_weight, d_bias


@underflow_is_zero
def layer_norm_backward(
    d_output: Array, normalized: Array, inverse_std: Array, weight: Array
) -> tuple[Array, Array, Array]:
    """`layer_norm_backward_plain` in blocks of rows.

    Args:
        d_output, normalized: [..., e]
        inverse_std: [..., 1]
        weight: [e]

    Returns:
        d_x [..., e], d_weight [e], d_bias [e].
    """
    e = normalized.shape[-1]
    d_output, normalized = d_output.reshape(-1, e), normalized.reshape(-1, e)
    d_x = empty(normalized.shape, np.result_type(d_output, normalized))

    def kernel(d_x: Array, d_output: Array, normalized: Array, inverse_std: Array) -> None:
        np.multiply(d_output, weight, out=d_x)  # g
        mean = d_x.mean(axis=-1, keepdims=True)  # the mean of g
        mean_along_normalized = _row_dot(d_x, normalized)  # the sum of g * normalized
        mean_along_normalized /= e  # its mean
        d_x -= mean  # g - mean
        d_x -= normalized * mean_along_normalized  # g - mean - normalized * mean_along_normalized
        d_x *= inverse_std  # d_x

    if d_x.size:
        in_row_blocks(kernel, d_x, d_output, normalized, inverse_std.reshape(-1, 1))
    d_weight = np.einsum("ne,ne->e", d_output, normalized)
    return d_x.reshape(*inverse_std.shape[:-1], e), d_weight, d_output.sum(axis=0)


def _row_dot(x: Array, y: Array) -> Array:
    """The sum of x * y along each row, [n,e], [n,e] -> [n,1]; complex numbers are not conjugated."""
    return np.einsum("ne,ne->n", x, y)[:, None]
