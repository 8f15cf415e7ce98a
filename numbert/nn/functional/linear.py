"""linear: y = x W^T + bias, the product that most of BERT's work consists of.

Derivation: y[n,o] = sum_i x[n,i] W[o,i] + bias[o], so d_x = d_y W, d_W = d_y^T x, and d_bias is the sum of d_y
over n, where n runs over all leading axes.
"""

from __future__ import annotations

import numpy as np

from numbert.nn.array import Array
from numbert.nn.numerics import underflow_is_zero
from numbert.nn.products import matmul
from numbert.nn.switches import inferring
from numbert.nn.workspace import empty

# Below so many rows W x^T is computed in place of x W^T: with AVX-512 in three quarters of the time (a forward
# of 1 x 16 took 43 ms in place of 57), with AVX2 in the same. It rounds otherwise, so training goes without: its
# steps are to give the bits that they gave before, for runs that began with an earlier numbert.
FEW_ROWS = 64


def linear_plain(x: Array, weight: Array, bias: Array | None = None) -> Array:
    """x W^T + bias. [..., in], [out,in], [out] -> [..., out]."""
    product = np.einsum("...i,oi->...o", x, weight)
    return product if bias is None else product + bias


@underflow_is_zero
def linear(x: Array, weight: Array, bias: Array | None = None) -> Array:
    """`linear_plain` as one matrix product.

    Args:
        x: [..., in]
        weight: [out,in], as model folders store it.
        bias: [out], or None for none.

    Returns:
        [..., out].
    """
    # One product over all rows: a stack of matrices would be many small products.
    rows = x.reshape(-1, x.shape[-1])  # [n,in]
    y = empty((len(rows), len(weight)), np.result_type(x, weight))  # [n,out]
    if len(rows) < FEW_ROWS and inferring():
        y[...] = matmul(weight, rows.T).T  # ([out,in] @ [in,n])^T
    else:
        matmul(rows, weight.T, out=y)  # [n,in] @ [in,out]
    if bias is not None:
        y += bias
    return y.reshape(*x.shape[:-1], len(weight))


def linear_backward_plain(d_output: Array, x: Array, weight: Array) -> tuple[Array, Array, Array]:
    """d_output [..., out], x [..., in], weight [out,in] -> d_x [..., in], d_weight [out,in], d_bias [out]."""
    d_x = np.einsum("...o,oi->...i", d_output, weight)
    d_y, x = d_output.reshape(-1, d_output.shape[-1]), x.reshape(-1, x.shape[-1])  # [n,out], [n,in]
    d_weight = np.einsum("no,ni->oi", d_y, x)
    d_bias = d_y.sum(axis=0)
    return d_x, d_weight, d_bias


@underflow_is_zero
def linear_backward(
    d_output: Array, x: Array, weight: Array, learned: bool = True
) -> tuple[Array, Array | None, Array | None]:
    """`linear_backward_plain` as two matrix products.

    Args:
        d_output: [..., out]
        x: [..., in], as in forward.
        weight: [out,in]
        learned: False skips d_weight and d_bias, and the work for them.

    Returns:
        d_x [..., in], d_weight [out,in], d_bias [out]; the last two are None if `learned` is False.
    """
    d_y = d_output.reshape(-1, len(weight))  # [n,out]
    d_weight = d_bias = None
    if learned:  # first, as an array that stays is best made before one that goes
        d_weight = matmul(d_y.T, x.reshape(-1, x.shape[-1]))  # [out,n] @ [n,in] -> [out,in]
        d_bias = d_y.sum(axis=0)
    d_x = matmul(d_y, weight).reshape(x.shape)  # [n,out] @ [out,in] -> [n,in]
    return d_x, d_weight, d_bias
