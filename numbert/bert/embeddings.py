"""BertEmbeddings: makes a vector of each token id."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from numbert.config import BertConfig
from numbert.errors import InputError
from numbert.nn.array import Array, summed_to
from numbert.nn.layers import Dropout, Embedding, LayerNorm
from numbert.nn.module import Module


class BertEmbeddings(Module):
    """Adds word, position and token-type embeddings, then applies LayerNorm and dropout.

    input_ids, token_type_ids, position_ids: integers [b,l] -> [b,l,e].
    """

    def __init__(self, config: BertConfig, *, seed: Any = 0, dtype: DTypeLike = np.float32) -> None:
        seed = np.random.default_rng(seed)
        e = config.hidden_size
        draw: dict[str, Any] = {"std": config.initializer_range, "seed": seed, "dtype": dtype}
        self.word_embeddings = Embedding(config.vocab_size, e, padding_idx=config.pad_token_id, **draw)
        self.position_embeddings = Embedding(config.max_position_embeddings, e, **draw)
        # Relative positions are the attention's: then this table is kept as it is read, and nothing learns it.
        self.absolute = config.position_embedding_type == "absolute"
        self.position_embeddings.weight.trainable = self.absolute
        self.token_type_embeddings = Embedding(config.type_vocab_size, e, **draw)
        self.LayerNorm = LayerNorm(e, eps=config.layer_norm_eps, dtype=dtype)
        self.dropout = Dropout(config.hidden_dropout_prob, seed=seed)

    def forward(
        self,
        input_ids: Array | None = None,
        token_type_ids: Array | None = None,
        position_ids: Array | None = None,
        inputs_embeds: Array | None = None,
        past_key_values_length: int = 0,
    ) -> Array:
        """Returns the embeddings [b,l,e].

        Args:
            input_ids: integers [b,l]; they or inputs_embeds must be given.
            token_type_ids: integers, broadcast to [b,l]; default 0.
            position_ids: integers, broadcast to [b,l]; default past_key_values_length, and so on by ones. A model
                with relative positions does not use them.
            inputs_embeds: [b,l,e], which take the place of the word embeddings.
            past_key_values_length: the number of tokens in the cache.

        Raises:
            InputError: an id is outside its table, the sequence with what is in the cache is longer than the
                position table, or neither input_ids nor inputs_embeds is given.
        """
        looked_up = inputs_embeds is None
        if inputs_embeds is None:
            if input_ids is None:
                raise InputError("give input_ids or inputs_embeds")
            inputs_embeds = self.word_embeddings(input_ids, "input_ids")  # [b,l] -> [b,l,e]
        seq_length = inputs_embeds.shape[1]
        if position_ids is None:
            longest, end = self.position_embeddings.num_embeddings, past_key_values_length + seq_length
            if end > longest:
                raise InputError(f"a sequence of {end} tokens; the model has {longest} positions")
            position_ids = np.arange(past_key_values_length, end)[None]  # [1,l]
        if token_type_ids is None:
            token_type_ids = np.zeros((1, seq_length), dtype=np.int64)

        token_type_embeddings = self.token_type_embeddings(token_type_ids, "token_type_ids")
        embeddings = inputs_embeds + token_type_embeddings
        if self.absolute:
            position_embeddings = self.position_embeddings(position_ids, "position_ids")
            embeddings += position_embeddings
        self.remember(
            looked_up=looked_up,
            token_type_shape=token_type_embeddings.shape,
            position_shape=position_embeddings.shape if self.absolute else None,
        )
        return self.dropout(self.LayerNorm(embeddings))

    def backward(self, d_output: Array) -> Array:
        """d_output [b,l,e] -> d_inputs_embeds [b,l,e]; ids have no gradient.

        The derivation is in docs/derivations.md#embeddings.
        """
        saved = self.recall()
        d_embeddings = self.LayerNorm.backward(self.dropout.backward(d_output))
        # embeddings = inputs_embeds + token_type_embeddings + position_embeddings: a sum hands its gradient on.
        if saved.position_shape is not None:
            self.position_embeddings.backward(summed_to(d_embeddings, saved.position_shape))
        self.token_type_embeddings.backward(summed_to(d_embeddings, saved.token_type_shape))
        if saved.looked_up:
            self.word_embeddings.backward(d_embeddings)
        return d_embeddings
