"""BertModel: embeddings, encoder and pooler."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, DTypeLike

from numbert.bert.cache import checked_past
from numbert.bert.embeddings import BertEmbeddings
from numbert.bert.encoder import BertEncoder
from numbert.bert.inputs import (
    added_mask,
    checked_head_mask,
    checked_ids,
    checked_inputs,
    checked_states,
    left_out,
)
from numbert.bert.layer import no_cross_attention
from numbert.bert.outputs import BaseModelOutputWithPooling, returns_dict
from numbert.bert.pooler import BertPooler
from numbert.bert.pretrained import BertPreTrainedModel
from numbert.config import BertConfig
from numbert.errors import InputError, as_bool
from numbert.nn.array import Array


class BertModel(BertPreTrainedModel):
    """Embeddings, encoder and pooler. `BertPreTrainedModel` describes the other arguments.

    Args:
        add_pooling_layer: False makes a model without pooler, whose pooler_output is None.
    """

    def __init__(
        self,
        config: BertConfig,
        add_pooling_layer: bool = True,
        *,
        seed: int | np.random.Generator = 0,
        dtype: DTypeLike = np.float32,
    ) -> None:
        add_pooling_layer = as_bool("add_pooling_layer", add_pooling_layer)
        super().__init__(config, seed, dtype)
        self.embeddings = BertEmbeddings(config, seed=self.rng, dtype=dtype)
        self.encoder = BertEncoder(config, seed=self.rng, dtype=dtype)
        self.pooler = BertPooler(config, seed=self.rng, dtype=dtype) if add_pooling_layer else None

    def forward(
        self,
        input_ids: ArrayLike | None = None,
        attention_mask: ArrayLike | None = None,
        token_type_ids: ArrayLike | None = None,
        *,
        position_ids: ArrayLike | None = None,
        head_mask: ArrayLike | None = None,
        inputs_embeds: ArrayLike | None = None,
        encoder_hidden_states: ArrayLike | None = None,
        encoder_attention_mask: ArrayLike | None = None,
        past_key_values: Any = None,
        use_cache: bool | None = None,
        output_attentions: bool | None = None,
        output_hidden_states: bool | None = None,
        return_dict: bool | None = None,
        unpad: bool = False,
    ) -> Any:
        """Returns a BaseModelOutputWithPooling, or its tuple if return_dict is False.

        Args:
            input_ids: integers [b,l]; they or inputs_embeds must be given.
            attention_mask: [b,r], or [b,l,r] for a mask of each query; 1 where a key may be looked at, 0 where it
                may not; default 1 everywhere. With a cache r counts the cached tokens, too. A decoder's query
                looks at no key behind it, unless the mask is [b,l,r], which is then all that counts.
            token_type_ids: integers [b,l]; default 0.
            position_ids: integers [b,l]; default 0, 1, 2, ..., behind what is in the cache. They mean nothing to a
                model with relative positions.
            head_mask: [h] or [n,h], what the probabilities of each head are multiplied with, 1 to keep it, 0 to
                leave it out; heads are counted as in the configuration, pruned ones with them.
            inputs_embeds: [b,l,e], which take the place of the word embeddings.
            encoder_hidden_states: [b,r,e], what a decoder's cross-attention looks at.
            encoder_attention_mask: [b,r] or [b,l,r], which of encoder_hidden_states may be looked at; default all.
            past_key_values: the cache that an earlier call returned. Then the other inputs are those of the tokens
                that follow. It is a constant: no gradient reaches what it was made of.
            use_cache: whether a decoder returns past_key_values; default as in the configuration.
            output_attentions, output_hidden_states, return_dict: default as in the configuration.
            unpad: whether positions whose attention_mask [b,r] is 0 are left out: last_hidden_state, hidden_states
                and the rows [l] of attentions are 0 there, and their gradient is ignored. The pooler sees the
                first position as it would without unpad.

        Raises:
            InputError: an input has a wrong shape, dtype or value; the message names it and the limit.
        """
        config = self.config
        ids, embeds, shape = checked_inputs(input_ids, inputs_embeds, config.hidden_size, self.dtype)
        if output_attentions is None:
            output_attentions = config.output_attentions
        if output_hidden_states is None:
            output_hidden_states = config.output_hidden_states
        if use_cache is not None:
            use_cache = as_bool("use_cache", use_cache)
        unpad = as_bool("unpad", unpad)
        if unpad and (past_key_values is not None or use_cache):
            raise InputError("unpad=True does not go with a cache")
        padding = left_out(attention_mask, unpad)
        if padding is not None and padding.ndim == 3:
            raise InputError(f"unpad=True takes a mask [b,r]; attention_mask has shape {padding.shape}")
        encoder_states = encoder_mask = None
        if not config.is_decoder:
            self.refuse_what_a_decoder_takes(
                encoder_hidden_states=encoder_hidden_states,
                encoder_attention_mask=encoder_attention_mask,
                past_key_values=past_key_values,
                use_cache=use_cache or None,
            )
        elif encoder_hidden_states is not None:
            if not config.add_cross_attention:
                raise no_cross_attention()
            encoder_states = checked_states(
                "encoder_hidden_states", encoder_hidden_states, shape[0], config.hidden_size, self.dtype
            )
            encoder_mask = added_mask(
                "encoder_attention_mask", encoder_attention_mask, shape, encoder_states.shape[1], self.dtype
            )
        elif encoder_attention_mask is not None:
            raise InputError("encoder_attention_mask is given without encoder_hidden_states")
        past_length = 0
        if past_key_values is not None:
            past_length = self.checked_past(past_key_values, shape[0], encoder_states)
        if use_cache is None:
            use_cache = config.is_decoder and config.use_cache and not unpad

        embedding_output = self.embeddings(
            input_ids=ids,
            token_type_ids=checked_ids("token_type_ids", token_type_ids, shape),
            position_ids=checked_ids("position_ids", position_ids, shape),
            inputs_embeds=embeds,
            past_key_values_length=past_length,
        )  # [b,l] -> [b,l,e]
        layer_head_mask = checked_head_mask(
            head_mask, config.num_hidden_layers, config.num_attention_heads, self.dtype
        )
        mask = added_mask(
            "attention_mask", attention_mask, shape, past_length + shape[1], self.dtype, config.is_decoder
        )
        packed = padding is not None and self.packs(~padding, encoder_states, output_attentions)
        if packed and padding is not None:
            encoder_outputs = self.encoder.unpadded(
                embedding_output, ~padding, layer_head_mask, output_hidden_states
            )
        else:
            encoder_outputs = self.encoder(
                embedding_output,
                mask,
                layer_head_mask,
                encoder_states,
                encoder_mask,
                past_key_values,
                use_cache,
                output_attentions,
                output_hidden_states,
            )
        sequence_output = encoder_outputs.last_hidden_state  # [b,l,e]
        pooled_output = None if self.pooler is None else self.pooler(sequence_output)  # [b,e]
        self.remember(
            padding=padding,
            head_mask_shape=None if head_mask is None else np.shape(head_mask),
            crossed=encoder_states is not None,
        )
        output = BaseModelOutputWithPooling(
            last_hidden_state=sequence_output,
            pooler_output=pooled_output,
            past_key_values=encoder_outputs.past_key_values,
            hidden_states=encoder_outputs.hidden_states,
            attentions=encoder_outputs.attentions,
            cross_attentions=encoder_outputs.cross_attentions,
        )
        if padding is not None and not packed:
            zero_padding(output, padding)
        return output if returns_dict(return_dict, config) else output.to_tuple()

    def packs(self, tokens: Array, encoder_states: Array | None, output_attentions: bool) -> bool:
        """Returns whether padding, where tokens [b,l] is False, is left out of the work, or computed and set to 0.

        It is computed where somebody is to see it: backward, hooks, output_attentions; or needs it: the pooler,
        if the first position is padding.
        """
        if tokens.all() or output_attentions or encoder_states is not None:
            return False
        return self.encoder.unpads(tokens) and (self.pooler is None or bool(tokens[:, 0].all()))

    def refuse_what_a_decoder_takes(self, **inputs: Any) -> None:
        """Raises InputError if an input is given that only a decoder takes."""
        for name, value in inputs.items():
            if value is not None:
                raise InputError(f"{name} is for a decoder; make the model with is_decoder=True")

    def checked_past(self, past_key_values: Any, b: int, encoder_states: Array | None) -> int:
        """Returns the number of tokens in a cache. See `numbert.bert.cache.checked_past`, also for the errors."""
        layers = self.encoder.layer
        return checked_past(
            past_key_values,
            heads=[layer.attention.self.num_attention_heads for layer in layers],
            cross_heads=[
                0 if layer.crossattention is None else self.config.num_attention_heads for layer in layers
            ],
            cross_length=None if encoder_states is None else encoder_states.shape[1],
            like=np.empty((b, self.config.attention_head_size), self.dtype),
        )

    def backward(
        self, d_last_hidden_state: Array | None, d_pooler_output: Array | None = None
    ) -> dict[str, Array]:
        """Adds to every Parameter.grad and returns the gradients of the inputs by name.

        The derivation of the pooler's part is in docs/derivations.md#pooler.

        Args:
            d_last_hidden_state: [b,l,e], or None for zeros.
            d_pooler_output: [b,e], or None for zeros.

        Returns:
            "inputs_embeds": the gradient of the embeddings' sum [b,l,e]; "head_mask", in head_mask's shape, and
            "encoder_hidden_states" [b,r,e], if these were given.

        Raises:
            InputError: both are None, or d_pooler_output is given and the model has no pooler.
            RuntimeError: there is no forward to undo.
        """
        if d_pooler_output is not None and self.pooler is None:
            raise InputError("d_pooler_output is given, but the model has no pooler")
        if d_last_hidden_state is None and d_pooler_output is None:
            raise InputError("give d_last_hidden_state, d_pooler_output or both")
        saved = self.recall()
        d_sequence_output: Array
        if saved.padding is not None and d_last_hidden_state is not None:
            # It is ignored there, whatever it is, NaN too.
            d_last_hidden_state = np.where(saved.padding[..., None], self.dtype.type(0), d_last_hidden_state)
        if self.pooler is not None and d_pooler_output is not None:
            # last_hidden_state is an output itself and the pooler's input: the two gradients add up.
            d_sequence_output = self.pooler.backward(d_pooler_output)
            if d_last_hidden_state is not None:
                d_sequence_output += d_last_hidden_state
        else:
            if self.pooler is not None:
                self.pooler.use_up()
            assert d_last_hidden_state is not None
            d_sequence_output = d_last_hidden_state
        d_inputs = self.encoder.backward(d_sequence_output)
        d_embedding_output, *others = d_inputs if isinstance(d_inputs, tuple) else (d_inputs,)
        gradients = {"inputs_embeds": self.embeddings.backward(d_embedding_output)}
        if saved.head_mask_shape is not None:
            d_head_mask = others[0][:, 0, :, 0, 0]  # [n,h]
            # A mask [h] was used in every layer: the gradients add up.
            gradients["head_mask"] = d_head_mask.sum(axis=0) if len(saved.head_mask_shape) == 1 else d_head_mask
        if saved.crossed:
            gradients["encoder_hidden_states"] = others[-1]
        return gradients


def zero_padding(output: BaseModelOutputWithPooling, padding: Array) -> None:
    """Puts 0 into hidden states and the rows [l] of attentions where padding, bool [b,l], is True."""
    tokens, rows = ~padding[..., None], ~padding[:, None, :, None]
    output.last_hidden_state = output.last_hidden_state * tokens
    for name, factor in (("hidden_states", tokens), ("attentions", rows), ("cross_attentions", rows)):
        if (arrays := getattr(output, name)) is not None:
            setattr(output, name, tuple(array * factor for array in arrays))
