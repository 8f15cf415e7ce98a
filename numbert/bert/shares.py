"""One sequence in several threads: each takes some of the heads, then some of the f numbers between.

The threads meet twice in a layer. The BLAS's own threads meet within each of its six products, and stand still
when another program takes a core (see `numbert.nn.threads`). docs/speed.md has the measurements.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from functools import reduce
from itertools import pairwise

import numpy as np

from numbert.bert.attention import BertSelfAttention
from numbert.bert.layer import BertLayer
from numbert.bert.packing import Pack
from numbert.nn.array import Array
from numbert.nn.functional import add, linear
from numbert.nn.layers import Linear
from numbert.nn.module import Parameter
from numbert.nn.threads import get_num_threads, in_threads
from numbert.nn.workspace import workspace

# Multiplications of a layer below which the meetings cost more than a second thread computes.
FEWEST = 50_000_000


def layer_in_shares(
    layer: BertLayer, hidden_states: Array, attention_mask: Array | Pack | None, head_mask: Array | None
) -> Array:
    """Does what `BertLayer.forward` does in an encoder: [b,l,e] -> layer_output [b,l,e]. Nothing is remembered."""
    attention, dense = layer.attention.self, layer.attention.output.dense
    d = attention.attention_head_size

    def attend(heads: slice) -> Array:
        context = some_heads(attention, heads)(hidden_states, attention_mask, head_mask)[0]  # [b,l,heads*d]
        return linear(context, dense.weight.data[:, heads.start * d : heads.stop * d])  # [b,l,e], of the sum

    attention_output = _sum(attend, attention.num_attention_heads, dense, hidden_states)
    attention_output = layer.attention.output.LayerNorm(attention_output)

    inner, outer = layer.intermediate.dense, layer.output.dense

    def feed_forward(numbers: slice) -> Array:
        assert inner.bias is not None
        part = linear(attention_output, inner.weight.data[numbers], inner.bias.data[numbers])  # [b,l,numbers]
        part = layer.intermediate.intermediate_act_fn(part)
        return linear(part, outer.weight.data[:, numbers])  # [b,l,e], of the sum

    return layer.output.LayerNorm(_sum(feed_forward, len(inner.weight.data), outer, attention_output))


def some_heads(attention: BertSelfAttention, heads: slice) -> BertSelfAttention:
    """Returns an attention that has some of the heads, on views of the same weights."""
    part = copy.copy(attention)
    rows = slice(heads.start * attention.attention_head_size, heads.stop * attention.attention_head_size)
    part.query, part.key, part.value = (
        some_rows(x, rows) for x in (attention.query, attention.key, attention.value)
    )
    numbers = np.arange(attention.configured_heads) if attention.heads_left is None else attention.heads_left
    part.heads_left = numbers[heads]
    part.num_attention_heads = heads.stop - heads.start
    part.all_head_size = rows.stop - rows.start
    return part


def some_rows(dense: Linear, rows: slice) -> Linear:
    """Returns a Linear that has some of the outputs, on views of the same weights."""
    part = copy.copy(dense)
    part.weight, part.out_features = Parameter(dense.weight.data[rows]), rows.stop - rows.start
    part.bias = None if dense.bias is None else Parameter(dense.bias.data[rows])
    return part


def _sum(part: Callable[[slice], Array], size: int, dense: Linear, residual: Array) -> Array:
    """The sum of the parts for slices of range(size), always in one order, and of a bias and the residual."""
    # Twice as many parts as threads: whoever comes late leaves some to the others.
    count = min(size, 2 * get_num_threads())
    slices = [slice(low, high) for low, high in pairwise(size * i // count for i in range(count + 1))]
    parts: dict[int, Array] = {}

    def run(number: int) -> None:
        with workspace():
            parts[number] = part(slices[number])

    in_threads(run, range(count))
    assert dense.bias is not None
    return add(reduce(add, (parts[number] for number in range(count)), dense.bias.data), residual)
