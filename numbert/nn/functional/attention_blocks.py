"""attention_in_blocks: `attention` without [b,h,l,r], so that memory grows with l and not with its square.

The scores are computed for a block of queries and a block of keys at a time. A row's softmax needs its largest
score and the sum over all its keys, which are not known yet: they run along, and when a larger score comes, what
is summed so far is scaled down (Milakov & Gimelshein 2018, arXiv:1805.02867; for attention Rabe & Staats 2021,
arXiv:2112.05682). Backward computes each block once more (Dao et al. 2022, arXiv:2205.14135). The derivation is in
docs/derivations.md#attention-in-blocks.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from numbert.nn.array import Array
from numbert.nn.functional.dropout import drawn_kept, dropout
from numbert.nn.functional.relative import rows_in_use, slanted_scores, slanted_scores_backward
from numbert.nn.numerics import underflow_is_zero
from numbert.nn.threads import in_threads
from numbert.nn.workspace import empty

# Queries and keys in a block. Smaller ones stay in a core's L2 cache, but leave more to the interpreter: 12 heads
# of 1,024 positions took 159 ms in blocks of 128, 113 ms in 256 and 88 ms in 512; the whole matrix took 112 ms.
BLOCK = 512


@dataclass
class Terms:
    """What else goes into an attention, beside query, key and value. All of it may be left out.

    Attributes:
        attention_mask: added to the scores and broadcast to [b,h,l,r].
        head_mask: multiplied with the probabilities and broadcast to [b,h,1,1].
        table: [2p-1,d], the embeddings of the distances, for scores that `relative_scores` adds.
        with_key: whether the key's term is among these.
        p: the probability with which dropout sets a probability to 0.
        seed: what the generator of each block starts from, an integer; None for no dropout.
    """

    attention_mask: Array | None = None
    head_mask: Array | None = None
    table: Array | None = None
    with_key: bool = False
    p: float = 0.0
    seed: int | None = None


@underflow_is_zero
def attention_in_blocks(
    query: Array, key: Array, value: Array, terms: Terms, size: int = BLOCK
) -> tuple[Array, Array, Array]:
    """softmax(scores) value, where scores are those of `attention_scores` and of the terms.

    Args:
        query: [b,h,l,d]
        key, value: [b,h,r,d]
        size: the largest number of queries, and of keys, in a block.

    Returns:
        context [b,h,l,d]; and for backward of each row its largest score, row_max [b,h,l,1] (real), and the
        logarithm of the sum of exp(score - row_max), log_sum [b,h,l,1].
    """
    b, h, length, d = query.shape
    context = empty(query.shape, np.result_type(query, key, value))
    log_sum = np.empty((b, h, length, 1), context.dtype)
    row_max = np.empty(log_sum.shape, context.real.dtype)
    # Not -inf, so that keys whose scores are all -inf add exp(-inf) and not NaN.
    lowest = np.finfo(row_max.dtype).min

    def one_head(head: tuple[int, ...]) -> None:
        block = _Blocks(query, key, head, terms, size)
        for rows in block.rows():
            running_max = np.full((rows.stop - rows.start, 1), lowest, row_max.dtype)
            total = np.zeros(running_max.shape, context.dtype)  # the sum of exp(score - running_max)
            weighted = np.zeros((len(total), d), context.dtype)  # that of exp(score - running_max) value
            for columns in block.columns():
                scores = block.scores(rows, columns)
                larger_max = np.maximum(running_max, scores.real.max(axis=-1, keepdims=True))
                scores -= larger_max
                exp = np.exp(scores, out=scores)
                scale = np.exp(running_max - larger_max)
                total *= scale
                total += exp.sum(axis=-1, keepdims=True)
                weighted *= scale
                weighted += block.dropped(exp, block.kept(rows, columns)) @ value[head][columns]
                running_max = larger_max
            weighted /= total
            context[head][rows] = block.masked(weighted)
            row_max[head][rows], log_sum[head][rows] = running_max, np.log(total)

    in_threads(one_head, np.ndindex(b, h))
    return context, row_max, log_sum


@underflow_is_zero
def attention_in_blocks_backward(
    d_context: Array,
    query: Array,
    key: Array,
    value: Array,
    terms: Terms,
    context: Array,
    row_max: Array,
    log_sum: Array,
    size: int = BLOCK,
) -> tuple[Array, Array, Array, Array | None, Array | None]:
    """d_context [b,h,l,d] -> d_query [b,h,l,d], d_key and d_value [b,h,r,d], and those of two terms.

    These are d_head_mask [b,h,1,1] and d_table [2p-1,d], each None without its term.

    Args:
        query, key, value, terms, size: as in forward.
        context, row_max, log_sum: what forward returned.
    """
    b, h, _, d = query.shape
    scale = 1 / math.sqrt(d)
    d_query = np.zeros(query.shape, context.dtype)
    d_key, d_value = np.zeros(key.shape, context.dtype), np.zeros(value.shape, context.dtype)
    d_head_mask = np.zeros((b, h, 1, 1), context.dtype)
    # A table for each head: the threads may not write into one.
    d_tables = None if terms.table is None else np.zeros((b, h, *terms.table.shape), context.dtype)

    def one_head(head: tuple[int, ...]) -> None:
        block = _Blocks(query, key, head, terms, size)
        for rows in block.rows():
            d_rows = d_context[head][rows]  # [L,d]
            # The sum over a row of probs * d_probs, which softmax's backward subtracts.
            total = np.einsum("ld,ld->l", d_rows, context[head][rows])[:, None]
            for columns in block.columns():
                probs = block.scores(rows, columns)
                probs -= row_max[head][rows]
                probs -= log_sum[head][rows]
                np.exp(probs, out=probs)
                d_probs = d_rows @ value[head][columns].T  # [L,d] @ [d,R] -> [L,R]
                # context = dropped(probs) * head_mask @ value
                kept = block.kept(rows, columns)
                d_value[head][columns] += block.masked(block.dropped(probs, kept)).T @ d_rows
                d_probs = block.dropped(d_probs, kept)
                d_head_mask[head] += np.einsum("lr,lr->", d_probs, probs)
                d_scores = block.masked(d_probs)
                d_scores -= total
                d_scores *= probs
                # scores = query key^T / sqrt(d) + the distances' + mask
                if d_tables is not None:
                    block.distances_backward(
                        d_scores, rows, columns, d_query[head][rows], d_key[head][columns], d_tables[head]
                    )
                d_scores *= d_scores.real.dtype.type(scale)
                d_query[head][rows] += d_scores @ key[head][columns]
                d_key[head][columns] += d_scores.T @ query[head][rows]

    in_threads(one_head, np.ndindex(b, h))
    return (
        d_query,
        d_key,
        d_value,
        None if terms.head_mask is None else d_head_mask,
        None if d_tables is None else d_tables.sum(axis=(0, 1)),
    )


class _Blocks:
    """The blocks of one sequence and head: of l queries [l,d] and r keys [r,d]."""

    def __init__(self, query: Array, key: Array, head: tuple[int, ...], terms: Terms, size: int) -> None:
        shape = (*query.shape[:3], key.shape[2])  # [b,h,l,r]
        self.query, self.key, self.head, self.terms, self.size = query[head], key[head], head, terms, size
        self.scale = query.real.dtype.type(1 / math.sqrt(query.shape[-1]))
        self.mask = self.head_mask = None
        if terms.attention_mask is not None:
            self.mask = np.broadcast_to(terms.attention_mask, shape)[head]  # [l,r]
        if terms.head_mask is not None:
            self.head_mask = np.broadcast_to(terms.head_mask, (*shape[:2], 1, 1))[head]  # [1,1]

    def rows(self) -> Iterator[slice]:
        """The blocks of queries."""
        return self.slices(len(self.query))

    def columns(self) -> Iterator[slice]:
        """The blocks of keys."""
        return self.slices(len(self.key))

    def slices(self, length: int) -> Iterator[slice]:
        """0 to length in blocks."""
        return (slice(start, min(start + self.size, length)) for start in range(0, length, self.size))

    def scores(self, rows: slice, columns: slice) -> Array:
        """The scores of a block [L,R], a new array."""
        scores = (self.query[rows] * self.scale) @ self.key[columns].T  # [L,d] @ [d,R] -> [L,R]
        if self.terms.table is not None:
            query, key = self.query[None, None, rows], self.key[None, None, columns]
            distances = self.distances(self.terms.table, rows, columns)
            scores += slanted_scores(query, key if self.terms.with_key else None, distances)[0, 0]
        if self.mask is not None:
            scores += self.mask[rows, columns]
        return scores

    def distances(self, table: Array, rows: slice, columns: slice) -> Array:
        """The rows of a table [2p-1,d] that a block uses, the largest distance first, a view [L+R-1,d]."""
        first = len(self.key) - len(self.query) + rows.start - columns.start  # of the first query to the first key
        return rows_in_use(table, first, rows.stop - rows.start, columns.stop - columns.start)

    def distances_backward(
        self, d_scores: Array, rows: slice, columns: slice, d_query: Array, d_key: Array, d_table: Array
    ) -> None:
        """Adds to the gradients of a block's queries [L,d] and keys [R,d], and to that of the table."""
        assert self.terms.table is not None
        query, key = self.query[None, None, rows], self.key[None, None, columns]
        distances = self.distances(self.terms.table, rows, columns)
        d_query_block, d_key_block, d_distances = slanted_scores_backward(
            d_scores[None, None], query, key if self.terms.with_key else None, distances
        )
        d_query += d_query_block[0, 0]
        if d_key_block is not None:
            d_key += d_key_block[0, 0]
        d_rows = self.distances(d_table, rows, columns)
        d_rows += d_distances

    def kept(self, rows: slice, columns: slice) -> Array | None:
        """Which probabilities of a block dropout keeps, bool [L,R]. Each block has a generator of its own."""
        if self.terms.seed is None:
            return None
        rng = np.random.default_rng((self.terms.seed, *self.head, rows.start, columns.start))
        return drawn_kept((rows.stop - rows.start, columns.stop - columns.start), self.terms.p, rng)

    def dropped(self, probs: Array, kept: Array | None) -> Array:
        """Dropout of a block [L,R]: a new array, or probs itself without dropout."""
        return probs if kept is None else dropout(probs, kept, self.terms.p)

    def masked(self, probs: Array) -> Array:
        """The product with the head's mask: a new array, or probs itself without a mask."""
        return probs if self.head_mask is None else probs * self.head_mask
