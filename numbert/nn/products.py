"""matmul: the matrix product, on as many threads as `set_num_threads` allows, into memory of a workspace."""

from __future__ import annotations

import numpy as np

from numbert.nn.array import Array
from numbert.nn.threads import blas, get_num_threads, threads_here
from numbert.nn.workspace import empty


def matmul(a: Array, b: Array, out: Array | None = None) -> Array:
    """a b, as `np.matmul` computes it. [..., n, k], [..., k, m] -> [..., n, m].

    The BLAS shares a product between its own threads, which hand over faster than Python's can; within a share of
    `in_threads` it computes on one.
    """
    if out is None:
        shape = (*np.broadcast_shapes(a.shape[:-2], b.shape[:-2]), a.shape[-2], b.shape[-1])
        out = empty(shape, np.result_type(a, b))
    if threads_here() == 1 < get_num_threads():  # a share of in_threads: the BLAS has one thread already
        return np.matmul(a, b, out=out)
    with blas.limited_to(get_num_threads()):
        return np.matmul(a, b, out=out)
