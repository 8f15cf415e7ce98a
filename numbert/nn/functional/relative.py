"""relative_scores: how well each query, and each key, fits the distance between their positions.

(Shaw et al. 2018, arXiv:1803.02155; with both terms Huang et al. 2020, arXiv:2009.13658, method 4.) The table has
a row for each distance from -(p - 1) to p - 1, where p is the longest sequence: row i - j + p - 1 belongs to a
query at position i and a key at position j. The derivation is in docs/derivations.md#relative-positions.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.lib.stride_tricks import as_strided

from numbert.nn.array import Array
from numbert.nn.numerics import underflow_is_zero
from numbert.nn.products import matmul


def relative_rows(query_length: int, key_length: int, table_rows: int) -> Array:
    """The row of the table that belongs to each query and key. Three lengths -> integers [l,r].

    The queries are the last l of the r positions, so query i stands at position r - l + i.

    Args:
        query_length: l
        key_length: r, at least l.
        table_rows: 2p - 1.
    """
    longest = (table_rows + 1) // 2  # p
    position_l = np.arange(key_length - query_length, key_length)  # [l]
    position_r = np.arange(key_length)  # [r]
    return position_l[:, None] - position_r[None, :] + longest - 1


def relative_scores_plain(query: Array, key: Array | None, table: Array, key_length: int) -> Array:
    """(query + key) times the embedding of their distance, over sqrt(d). [b,h,l,d], [b,h,r,d] -> [b,h,l,r]."""
    length, d = query.shape[2:]
    positional_embedding = table[relative_rows(length, key_length, len(table))]  # [l,r,d]
    scores = np.einsum("bhld,lrd->bhlr", query, positional_embedding)
    if key is not None:
        scores = scores + np.einsum("bhrd,lrd->bhlr", key, positional_embedding)
    return scores / math.sqrt(d)


@underflow_is_zero
def relative_scores(query: Array, key: Array | None, table: Array, key_length: int) -> Array:
    """`relative_scores_plain` without [l,r,d]: each vector times the rows in use, then a slanted view.

    Of the table, l + r - 1 rows are in use. In the products of all queries with them the scores of one query are r
    neighbours, which begin one column further left from query to query: a view with a stride of its own.

    Args:
        query: [b,h,l,d]
        key: [b,h,r,d], or None to leave out the key's term (relative_key).
        table: [2p-1,d], the embeddings of the distances.
        key_length: r

    Returns:
        relative_position_scores [b,h,l,r].
    """
    length = query.shape[2]
    return slanted_scores(query, key, rows_in_use(table, key_length - length, length, key_length))


def slanted_scores(query: Array, key: Array | None, rows: Array) -> Array:
    """(query + key) times the row of their distance, over sqrt(d). [b,h,l,d], [b,h,r,d], [l+r-1,d] -> [b,h,l,r].

    Args:
        key: None to leave out the key's term.
        rows: the embeddings of the distances in use, the largest first.
    """
    length, d = query.shape[2:]
    key_length = len(rows) + 1 - length
    rows = np.ascontiguousarray(rows)
    of_query = _of_query(matmul(query, rows.T), key_length)  # [b,h,l,l+r-1] -> [b,h,l,r]
    if key is None:
        return of_query / math.sqrt(d)
    scores = of_query + _of_key(matmul(key, rows.T), length)  # [b,h,r,l+r-1] -> [b,h,l,r]
    scores /= math.sqrt(d)
    return scores


def relative_scores_backward_plain(
    d_scores: Array, query: Array, key: Array | None, table: Array
) -> tuple[Array, Array | None, Array]:
    """d_scores [b,h,l,r] -> d_query [b,h,l,d], d_key [b,h,r,d] or None, d_table [2p-1,d]."""
    length, key_length = d_scores.shape[2:]
    rows = relative_rows(length, key_length, len(table))  # [l,r]
    positional_embedding = table[rows]  # [l,r,d]
    d_products = d_scores / math.sqrt(query.shape[-1])
    d_query = np.einsum("bhlr,lrd->bhld", d_products, positional_embedding)
    d_positional_embedding = np.einsum("bhlr,bhld->lrd", d_products, query)
    d_key = None
    if key is not None:
        d_key = np.einsum("bhlr,lrd->bhrd", d_products, positional_embedding)
        d_positional_embedding = d_positional_embedding + np.einsum("bhlr,bhrd->lrd", d_products, key)
    d_table = np.zeros_like(table)
    for i, j in np.ndindex(length, key_length):
        d_table[rows[i, j]] += d_positional_embedding[i, j]
    return d_query, d_key, d_table


@underflow_is_zero
def relative_scores_backward(
    d_scores: Array, query: Array, key: Array | None, table: Array
) -> tuple[Array, Array | None, Array]:
    """`relative_scores_backward_plain` with the gradient written into the slanted view, then matrix products.

    Around the slanted view are zeros, and 0 times infinity would be NaN where the plain form has no term: if not
    all numbers are finite, the plain form is computed.

    Args:
        d_scores: [b,h,l,r]
        query: [b,h,l,d]
        key: [b,h,r,d], or None if forward had none.
        table: [2p-1,d]

    Returns:
        d_query [b,h,l,d], d_key [b,h,r,d] or None, d_table [2p-1,d].
    """
    length, key_length = d_scores.shape[2:]
    rows = rows_in_use(table, key_length - length, length, key_length)
    if not all(np.isfinite(x).all() for x in (rows, query, key) if x is not None):
        return relative_scores_backward_plain(d_scores, query, key, table)
    d_table = np.zeros_like(table)
    d_query, d_key, d_rows = slanted_scores_backward(d_scores, query, key, rows)
    rows_in_use(d_table, key_length - length, length, key_length)[...] = d_rows
    return d_query, d_key, d_table


def slanted_scores_backward(
    d_scores: Array, query: Array, key: Array | None, rows: Array
) -> tuple[Array, Array | None, Array]:
    """d_scores [b,h,l,r] -> d_query [b,h,l,d], d_key [b,h,r,d] or None, d_rows [l+r-1,d]."""
    b, h, length, key_length = d_scores.shape
    rows = np.ascontiguousarray(rows)
    scale = d_scores.real.dtype.type(1 / math.sqrt(query.shape[-1]))
    # scores = the slanted view of query @ rows^T
    d_products = np.zeros((b, h, length, len(rows)), d_scores.dtype)
    np.multiply(d_scores, scale, out=_of_query(d_products, key_length))
    d_query = matmul(d_products, rows)  # [b,h,l,l+r-1] @ [l+r-1,d] -> [b,h,l,d]
    d_rows = _summed_product(d_products, query)
    if key is None:
        return d_query, None, d_rows
    # scores += the slanted view of key @ rows^T
    d_products = np.zeros((b, h, key_length, len(rows)), d_scores.dtype)
    np.multiply(d_scores, scale, out=_of_key(d_products, length))
    d_key = matmul(d_products, rows)  # [b,h,r,l+r-1] @ [l+r-1,d] -> [b,h,r,d]
    d_rows += _summed_product(d_products, key)
    return d_query, d_key, d_rows


def rows_in_use(table: Array, first: int, length: int, key_length: int) -> Array:
    """The rows for the distances between l queries and r keys, the largest first: a view [l+r-1,d].

    Args:
        table: [2p-1,d]
        first: the position of the first query less that of the first key.
        length, key_length: l and r.
    """
    zero = (len(table) - 1) // 2  # the row of distance 0
    return table[zero + first - key_length + 1 : zero + first + length][::-1]


def _of_query(products: Array, key_length: int) -> Array:
    """Number [i,j] is column l - 1 - i + j of query i's products. [b,h,l,l+r-1] -> a view [b,h,l,r]."""
    b, h, length, _ = products.shape
    row, column = products.strides[2:]
    return as_strided(
        products[..., length - 1 :], (b, h, length, key_length), (*products.strides[:2], row - column, column)
    )


def _of_key(products: Array, length: int) -> Array:
    """Number [i,j] is column l - 1 - i + j of key j's products. [b,h,r,l+r-1] -> a view [b,h,l,r]."""
    b, h, key_length, _ = products.shape
    row, column = products.strides[2:]
    return as_strided(
        products[..., length - 1 :], (b, h, length, key_length), (*products.strides[:2], -column, row + column)
    )


def _summed_product(d_products: Array, vectors: Array) -> Array:
    """The sum over b, h and the positions of d_products^T vectors. [b,h,l,m], [b,h,l,d] -> [m,d]."""
    d_products = d_products.reshape(-1, d_products.shape[-1])
    return matmul(d_products.T, vectors.reshape(-1, vectors.shape[-1]))
