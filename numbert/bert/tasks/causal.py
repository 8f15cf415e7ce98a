"""BertLMHeadModel: the causal language model, which predicts each next token."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, DTypeLike

from numbert.bert.heads import BertOnlyMLMHead
from numbert.bert.inputs import checked_labels, left_out
from numbert.bert.model import BertModel
from numbert.bert.outputs import CausalLMOutput, returns_dict
from numbert.bert.tasks.generation import GenerationMixin
from numbert.bert.tasks.one_head import BertWithOneHead
from numbert.bert.tasks.pretraining import tied_weight
from numbert.config import BertConfig
from numbert.errors import InputError
from numbert.nn.array import Array
from numbert.nn.functional import IGNORE


class BertLMHeadModel(GenerationMixin, BertWithOneHead):
    """BertModel without pooler, with the head for masked tokens, which here predicts the token that follows.

    `BertPreTrainedModel` describes the arguments. With `is_decoder=True` a token sees only those before it,
    and the model can write on after a text: `GenerationMixin.generate`.
    """

    draws_missing_head = True

    def __init__(
        self, config: BertConfig, *, seed: int | np.random.Generator = 0, dtype: DTypeLike = np.float32
    ) -> None:
        super().__init__(config, seed, dtype)
        self.bert = BertModel(self.config, add_pooling_layer=False, seed=self.rng, dtype=dtype)
        self.config = self.bert.config  # one for both
        self.cls = BertOnlyMLMHead(config, tied_weight(self.bert), seed=self.rng, dtype=dtype)

    def forward(
        self,
        input_ids: ArrayLike | None = None,
        attention_mask: ArrayLike | None = None,
        token_type_ids: ArrayLike | None = None,
        *,
        labels: ArrayLike | None = None,
        use_cache: bool | None = None,
        return_dict: bool | None = None,
        return_logits: bool = True,
        **inputs: Any,
    ) -> Any:
        """Returns a CausalLMOutput with logits [b,l,v], or its tuple if return_dict is False.

        Args:
            labels: integers [b,l], usually input_ids themselves, with -100 where there is nothing to predict. The
                loss is shifted by one: the scores at position i are compared with the label at i + 1. So with
                `unpad` a label may neither stand nor be predicted where attention_mask is 0.
            use_cache: as `BertModel.forward` takes it; with labels the default is False.
            return_logits: as `BertForPreTraining.forward` takes it.
            inputs: the other inputs of `BertModel.forward`, which also describes the first three.

        Raises:
            InputError: an input has a wrong shape, dtype or value; the message names it and the limit.
        """
        if labels is not None and use_cache is None:
            use_cache = False
        outputs = self.bert(
            input_ids, attention_mask, token_type_ids, use_cache=use_cache, return_dict=True, **inputs
        )
        sequence_output = outputs.last_hidden_state
        padding = left_out(attention_mask, inputs.get("unpad", False))
        labels = checked_labels("labels", labels, sequence_output.shape[:2], self.config.vocab_size, padding)
        following = None
        if labels is not None:
            following = np.full(labels.shape, IGNORE)  # nothing follows the last token
            following[:, :-1] = labels[:, 1:]
            if padding is not None and (wrong := (following != IGNORE) & padding).any():
                row, place = np.argwhere(wrong)[0].tolist()
                raise InputError(
                    f"labels has {following[row, place]} at [{row}, {place + 1}], predicted at {place}, where "
                    f"attention_mask is 0; with unpad=True it must be {IGNORE}"
                )
        head = self.cls.loss(sequence_output, following, return_logits)  # [b,l,e] -> [b,l,v]
        self.remember(labels=labels, probs=head.probs)
        output = CausalLMOutput(
            loss=head.loss,
            logits=head.logits,
            past_key_values=outputs.past_key_values,
            hidden_states=outputs.hidden_states,
            attentions=outputs.attentions,
            cross_attentions=outputs.cross_attentions,
        )
        return output if returns_dict(return_dict, self.config) else output.to_tuple()

    def loss_backward(self, saved: SimpleNamespace, d_loss: float) -> tuple[Array | None, Array | None]:
        """d_loss (a number) -> d_sequence_output [b,l,e], None: docs/derivations.md#causal-language-model."""
        return self.cls.loss_backward(d_loss), None
