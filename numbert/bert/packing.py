"""Packs: the tokens of several sequences in one row, without padding, for what treats each position alike.

All of a layer but attention does: its products then have no rows for padding. Attention runs on groups of
sequences of one length. `unpad=True` computes so.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import groupby

import numpy as np

from numbert.nn.array import Array
from numbert.nn.functional import join_heads
from numbert.nn.workspace import empty


@dataclass
class Group:
    """Sequences of one length, which lie one after the other in a pack.

    Attributes:
        start: where the first begins.
        b, length: how many there are, and of how many tokens each.
        attention_mask: added to their scores and broadcast to [b,h,l,r]; None if every query sees every key.
    """

    start: int
    b: int
    length: int
    attention_mask: Array | None = None

    def of(self, layer: Array) -> Array:
        """The group's part of a pack's queries, keys or values. [1,h,t,d] -> a view [b,h,l,d]."""
        _, h, _, d = layer.shape
        part = layer[0, :, self.start : self.start + self.b * self.length]  # [h,b*l,d]
        return part.reshape(h, self.b, self.length, d).swapaxes(0, 1)


@dataclass
class Pack:
    """Sequences that lie in one row of t tokens, the longest first.

    It stands in the place of attention_mask: each query sees the keys of its own sequence.

    Attributes:
        places: for each token its place in the batch, as a row of b*l, integers [t].
        groups: the sequences by length.
    """

    places: Array
    groups: list[Group]

    def attend(self, attend: Callable[..., Array], query: Array, key: Array, value: Array) -> Array:
        """Calls `attend(query, key, value, attention_mask)` for each group. [1,h,t,d] each -> [1,t,e].

        Args:
            attend: a function that returns context_layer [b,h,l,d].
        """
        _, h, t, d = query.shape
        context = empty((1, t, h * d), query.dtype)
        for group in self.groups:
            stop = group.start + group.b * group.length
            part = attend(group.of(query), group.of(key), group.of(value), group.attention_mask)
            context[0, group.start : stop] = join_heads(part).reshape(stop - group.start, h * d)
        return context


def packs(tokens: Array, most: int, at_least: int, causal_mask: Callable[[int], Array | None]) -> list[Pack]:
    """Divides the sequences of a batch into packs of about as many tokens each.

    Args:
        tokens: bool [b,l], which positions hold tokens.
        most: the number of tokens in a pack, if its sequences are not longer.
        at_least: how many packs there are to be, if there are as many sequences.
        causal_mask: a function that returns a group's attention_mask for its length.

    Returns:
        packs that hold every token once; without tokens none.
    """
    lengths = tokens.sum(axis=-1)  # [b]
    order = [int(row) for row in np.argsort(-lengths, kind="stable") if lengths[row]]
    count = min(len(order), max(at_least, -(-int(lengths.sum()) // most)))
    members: list[list[int]] = [[] for _ in range(count)]
    size = [0] * count
    for row in order:  # the longest first, each to the smallest pack so far
        smallest = min(range(count), key=size.__getitem__)
        members[smallest].append(row)
        size[smallest] += int(lengths[row])
    return [_pack(rows, tokens, lengths, causal_mask) for rows in members]


def _pack(rows: list[int], tokens: Array, lengths: Array, causal_mask: Callable[[int], Array | None]) -> Pack:
    places = np.concatenate([row * tokens.shape[1] + np.flatnonzero(tokens[row]) for row in rows])
    groups: list[Group] = []
    start = 0
    for length, those in groupby(rows, key=lambda row: int(lengths[row])):
        b = len(list(those))
        groups.append(Group(start, b, length, causal_mask(length)))
        start += b * length
    return Pack(places, groups)
