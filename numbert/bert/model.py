"""BertModel: embeddings, encoder and pooler."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, DTypeLike

from numbert.bert.embeddings import BertEmbeddings
from numbert.bert.encoder import BertEncoder
from numbert.bert.inputs import (
    checked_ids,
    checked_inputs,
    extended_attention_mask,
    refuse_what_is_not_there_yet,
)
from numbert.bert.outputs import BaseModelOutputWithPooling, returns_dict
from numbert.bert.pooler import BertPooler
from numbert.bert.pretrained import BertPreTrainedModel
from numbert.config import BertConfig
from numbert.errors import InputError
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
        if not isinstance(add_pooling_layer, bool | np.bool_):
            raise InputError(f"add_pooling_layer is {add_pooling_layer!r}; it must be True or False")
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
        head_mask: None = None,
        inputs_embeds: ArrayLike | None = None,
        encoder_hidden_states: None = None,
        encoder_attention_mask: None = None,
        past_key_values: None = None,
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
                may not; default 1 everywhere.
            token_type_ids: integers [b,l]; default 0.
            position_ids: integers [b,l]; default 0, 1, 2, ...
            inputs_embeds: [b,l,e], which take the place of the word embeddings.
            output_attentions, output_hidden_states, return_dict: default as in the configuration.
            head_mask, encoder_hidden_states, encoder_attention_mask, past_key_values, use_cache, unpad: reserved
                for parts of BERT that numbert does not have yet.

        Raises:
            InputError: an input has a wrong shape, dtype or value; the message names it and the limit.
            NotYetError: one of the reserved arguments is given.
        """
        refuse_what_is_not_there_yet(
            head_mask=head_mask,
            encoder_hidden_states=encoder_hidden_states,
            encoder_attention_mask=encoder_attention_mask,
            past_key_values=past_key_values,
            use_cache=use_cache,
            unpad=unpad,
        )
        config = self.config
        ids, embeds, shape = checked_inputs(input_ids, inputs_embeds, config.hidden_size, self.dtype)
        if output_attentions is None:
            output_attentions = config.output_attentions
        if output_hidden_states is None:
            output_hidden_states = config.output_hidden_states

        embedding_output = self.embeddings(
            input_ids=ids,
            token_type_ids=checked_ids("token_type_ids", token_type_ids, shape),
            position_ids=checked_ids("position_ids", position_ids, shape),
            inputs_embeds=embeds,
        )  # [b,l] -> [b,l,e]
        encoder_outputs = self.encoder(
            embedding_output,
            attention_mask=extended_attention_mask(attention_mask, shape, self.dtype),
            output_attentions=output_attentions,
            output_hidden_states=output_hidden_states,
        )
        sequence_output = encoder_outputs.last_hidden_state  # [b,l,e]
        pooled_output = None if self.pooler is None else self.pooler(sequence_output)  # [b,e]
        output = BaseModelOutputWithPooling(
            last_hidden_state=sequence_output,
            pooler_output=pooled_output,
            hidden_states=encoder_outputs.hidden_states,
            attentions=encoder_outputs.attentions,
        )
        return output if returns_dict(return_dict, config) else output.to_tuple()

    def backward(
        self, d_last_hidden_state: Array | None, d_pooler_output: Array | None = None
    ) -> dict[str, Array]:
        """Adds to every Parameter.grad and returns {"inputs_embeds": the gradient of the embeddings' sum [b,l,e]}.

        The derivation of the pooler's part is in docs/derivations.md#pooler.

        Args:
            d_last_hidden_state: [b,l,e], or None for zeros.
            d_pooler_output: [b,e], or None for zeros.

        Raises:
            InputError: both are None, or d_pooler_output is given and the model has no pooler.
            RuntimeError: there is no forward to undo.
        """
        if d_pooler_output is not None:
            if self.pooler is None:
                raise InputError("d_pooler_output is given, but the model has no pooler")
            # last_hidden_state is an output itself and the pooler's input: the two gradients add up.
            d_sequence_output = self.pooler.backward(d_pooler_output)
            if d_last_hidden_state is not None:
                d_sequence_output += d_last_hidden_state
        elif d_last_hidden_state is not None:
            if self.pooler is not None:
                self.pooler.use_up()
            d_sequence_output = d_last_hidden_state
        else:
            raise InputError("give d_last_hidden_state, d_pooler_output or both")
        d_embedding_output = self.encoder.backward(d_sequence_output)
        return {"inputs_embeds": self.embeddings.backward(d_embedding_output)}
