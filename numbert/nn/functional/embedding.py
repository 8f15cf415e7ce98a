"""embedding: looks up row `id` of a table for each id.

Derivation: y[n] = W[id_n], so the gradient of row i of W is the sum of d_y[n] over all n with id_n = i.
"""

from __future__ import annotations

import numpy as np

from numbert.nn.array import Array


def embedding_plain(ids: Array, weight: Array) -> Array:
    """Row `id` of the table for each id. Integers [...], [v,e] -> [..., e]."""
    output = np.zeros((*ids.shape, weight.shape[1]), weight.dtype)
    for place in np.ndindex(ids.shape):
        output[place] = weight[ids[place]]
    return output


def embedding(ids: Array, weight: Array) -> Array:
    """`embedding_plain` in one step. Integers [...], [v,e] -> [..., e]."""
    return weight[ids]


def embedding_backward_plain(
    d_output: Array, ids: Array, num_embeddings: int, padding_idx: int | None = None
) -> Array:
    """d_output [..., e], integers [...] -> d_weight [v,e].

    A row that is looked up twice gets the sum of both gradients; the row padding_idx gets none.
    """
    d_weight = np.zeros((num_embeddings, d_output.shape[-1]), d_output.dtype)
    for place in np.ndindex(ids.shape):
        if ids[place] != padding_idx:
            d_weight[ids[place]] += d_output[place]
    return d_weight


def embedding_backward(
    d_output: Array, ids: Array, num_embeddings: int, padding_idx: int | None = None, out: Array | None = None
) -> Array:
    """`embedding_backward_plain` with one sum for each distinct id.

    Args:
        d_output: [..., e]
        ids: integers [...]
        num_embeddings: v.
        padding_idx: the row that gets no gradient, or None.
        out: [v,e], an array to which the gradient is added; by default a new one of zeros.

    Returns:
        d_weight [v,e], or out.
    """
    e = d_output.shape[-1]
    ids, d_rows = ids.reshape(-1), d_output.reshape(ids.size, e)  # [n], [n,e]
    if padding_idx is not None:
        looked_up = ids != padding_idx
        ids, d_rows = ids[looked_up], d_rows[looked_up]
    d_weight = np.zeros((num_embeddings, e), d_output.dtype) if out is None else out
    if len(ids):
        # Sorted by id, the rows of one id are neighbours, and reduceat sums each run: np.add.at does the
        # same and takes several times as long.
        order = np.argsort(ids, kind="stable")
        distinct, starts = np.unique(ids[order], return_index=True)
        d_weight[distinct] += np.add.reduceat(d_rows[order], starts, axis=0)
    return d_weight
