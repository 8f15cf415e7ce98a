"""DistanceEmbedding: relative positions, a score for the distance from each query to each key."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from numbert.config import BertConfig
from numbert.errors import InputError
from numbert.nn.array import Array
from numbert.nn.functional import relative_scores, relative_scores_backward
from numbert.nn.module import Module, Parameter


class DistanceEmbedding(Module):
    """A table with an embedding of each distance, and the scores that it adds to those of query and key.

    [b,h,l,d], [b,h,r,d] -> [b,h,l,r]. With p = max_position_embeddings, row i - j + p - 1 of the table [2p-1,d]
    belongs to a query at position i and a key at position j. With `position_embedding_type="relative_key"` a score
    is query · embedding / sqrt(d), and with "relative_key_query" (query + key) · embedding / sqrt(d).
    """

    def __init__(self, config: BertConfig, *, seed: Any = 0, dtype: DTypeLike = np.float32) -> None:
        shape = (2 * config.max_position_embeddings - 1, config.attention_head_size)
        self.weight = Parameter.normal(shape, config.initializer_range, seed, dtype)
        self.longest = config.max_position_embeddings
        self.with_key = config.position_embedding_type == "relative_key_query"

    def forward(self, query_layer: Array, key_layer: Array) -> Array:
        """[b,h,l,d], [b,h,r,d] -> relative_position_scores [b,h,l,r].

        The queries are the last l of the r positions: those before them come from a cache.

        Raises:
            InputError: r is larger than max_position_embeddings.
        """
        key_length = key_layer.shape[2]
        table = self.checked_table(key_length)
        key = key_layer if self.with_key else None
        self.remember(query_layer=query_layer, key_layer=key, key_shape=key_layer.shape)
        return relative_scores(query_layer, key, table, key_length)

    def checked_table(self, key_length: int) -> Array:
        """Returns the table [2p-1,d], or raises InputError if there are more than p keys."""
        if key_length > self.longest:
            raise InputError(f"a sequence of {key_length} tokens; the model has {self.longest} positions")
        return self.weight.data

    def backward(self, d_relative_position_scores: Array) -> tuple[Array, Array]:
        """d_relative_position_scores [b,h,l,r] -> d_query_layer [b,h,l,d], d_key_layer [b,h,r,d].

        The derivation is in docs/derivations.md#relative-positions.
        """
        saved = self.recall()
        d_query_layer, d_key_layer, d_weight = relative_scores_backward(
            d_relative_position_scores, saved.query_layer, saved.key_layer, self.weight.data
        )
        self.weight.add_grad(d_weight, owned=True)
        if d_key_layer is None:  # relative_key: the scores do not depend on the key
            d_key_layer = np.zeros(saved.key_shape, d_query_layer.dtype)
        return d_query_layer, d_key_layer

    def extra_repr(self) -> str:
        return f"{self.weight.shape[0]}, {self.weight.shape[1]}"
