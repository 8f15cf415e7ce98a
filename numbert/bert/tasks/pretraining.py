"""The models that learn from raw text: BertForPreTraining, BertForMaskedLM, BertForNextSentencePrediction."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, DTypeLike

from numbert.bert.heads import BertOnlyMLMHead, BertOnlyNSPHead, BertPreTrainingHeads
from numbert.bert.inputs import checked_labels, left_out
from numbert.bert.model import BertModel
from numbert.bert.outputs import BertForPreTrainingOutput, returns_dict
from numbert.bert.pretrained import BertPreTrainedModel
from numbert.bert.tasks.one_head import BertWithOneHead, no_loss
from numbert.config import BertConfig
from numbert.nn.array import Array
from numbert.nn.module import Parameter


class BertForPreTraining(BertPreTrainedModel):
    """BertModel with both pretraining heads: masked language modelling (MLM), next-sentence prediction (NSP).

    `BertPreTrainedModel` describes the arguments. With `config.tie_word_embeddings` the decoder's weight and the
    word embeddings are one Parameter, which gets both gradients.
    """

    def __init__(
        self, config: BertConfig, *, seed: int | np.random.Generator = 0, dtype: DTypeLike = np.float32
    ) -> None:
        super().__init__(config, seed, dtype)
        self.bert = BertModel(self.config, seed=self.rng, dtype=dtype)
        self.config = self.bert.config  # one for both
        self.cls = BertPreTrainingHeads(config, tied_weight(self.bert), seed=self.rng, dtype=dtype)

    def forward(
        self,
        input_ids: ArrayLike | None = None,
        attention_mask: ArrayLike | None = None,
        token_type_ids: ArrayLike | None = None,
        *,
        labels: ArrayLike | None = None,
        next_sentence_label: ArrayLike | None = None,
        return_dict: bool | None = None,
        return_logits: bool = True,
        **inputs: Any,
    ) -> Any:
        """Returns a BertForPreTrainingOutput, or its tuple if return_dict is False.

        Args:
            labels: integers [b,l], the true id at each masked position and -100 elsewhere.
            next_sentence_label: integers [b]: 0 if the second segment follows the first, 1 if it does not, -100 to
                leave the pair out.
            return_logits: False leaves out prediction_logits if labels are given, and with them the work of
                decoding the positions without a label.
            inputs: the other inputs of `BertModel.forward`, which also describes the first three.

        Raises:
            InputError: an input has a wrong shape, dtype or value; the message names it and the limit.
        """
        outputs = self.bert(input_ids, attention_mask, token_type_ids, return_dict=True, **inputs)
        sequence_output, pooled_output = outputs.last_hidden_state, outputs.pooler_output
        shape = sequence_output.shape[:2]
        padding = left_out(attention_mask, inputs.get("unpad", False))
        labels = checked_labels("labels", labels, shape, self.config.vocab_size, padding)
        next_sentence_label = checked_labels("next_sentence_label", next_sentence_label, shape[:1], 2)

        masked_lm, next_sentence = self.cls.loss(
            sequence_output, pooled_output, labels, next_sentence_label, return_logits
        )  # [b,l,e] -> [b,l,v], [b,e] -> [b,2]
        losses = [loss for loss in (masked_lm.loss, next_sentence.loss) if loss is not None]
        self.remember(
            labels=labels,
            mlm_probs=masked_lm.probs,
            next_sentence_label=next_sentence_label,
            nsp_probs=next_sentence.probs,
        )
        output = BertForPreTrainingOutput(
            loss=np.sum(losses, axis=0) if losses else None,
            prediction_logits=masked_lm.logits,
            seq_relationship_logits=next_sentence.logits,
            hidden_states=outputs.hidden_states,
            attentions=outputs.attentions,
        )
        return output if returns_dict(return_dict, self.config) else output.to_tuple()

    def backward(self, d_loss: float | tuple[float, float] = 1.0) -> dict[str, Array]:
        """Adds the gradient of the latest loss to every Parameter.grad; returns {"inputs_embeds": [b,l,e]}.

        The derivation is in docs/derivations.md#the-whole-loss.

        Args:
            d_loss: the number by which the gradient is multiplied; or two numbers, one for the mean over masked
                tokens and one for the mean over pairs. If a batch is computed in parts, these are the part's
                shares of the batch's masked tokens and of its pairs.

        Raises:
            RuntimeError: the latest forward had no labels, or there was none.
        """
        saved = self.recall()
        if saved.labels is None and saved.next_sentence_label is None:
            raise no_loss(self)
        # loss = masked_lm_loss + next_sentence_loss
        d_mlm_loss, d_nsp_loss = d_loss if isinstance(d_loss, tuple) else (d_loss, d_loss)
        d_sequence_output, d_pooled_output = self.cls.loss_backward(
            None if saved.labels is None else d_mlm_loss,
            None if saved.next_sentence_label is None else d_nsp_loss,
        )
        return self.bert.backward(d_sequence_output, d_pooled_output)


class BertForMaskedLM(BertWithOneHead):
    """BertModel without pooler, with the head for masked tokens. `BertPreTrainedModel` describes the arguments."""

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
        return_dict: bool | None = None,
        return_logits: bool = True,
        **inputs: Any,
    ) -> Any:
        """Returns a HeadOutput with logits [b,l,v], or its tuple if return_dict is False.

        Arguments and errors are those of `BertForPreTraining.forward`.
        """
        outputs = self.bert(input_ids, attention_mask, token_type_ids, return_dict=True, **inputs)
        sequence_output = outputs.last_hidden_state
        padding = left_out(attention_mask, inputs.get("unpad", False))
        labels = checked_labels("labels", labels, sequence_output.shape[:2], self.config.vocab_size, padding)
        head = self.cls.loss(sequence_output, labels, return_logits)  # [b,l,e] -> [b,l,v]
        return self.answer(outputs, head, labels, return_dict)

    def loss_backward(self, saved: SimpleNamespace, d_loss: float) -> tuple[Array | None, Array | None]:
        """d_loss (a number) -> d_sequence_output [b,l,e], None."""
        return self.cls.loss_backward(d_loss), None


class BertForNextSentencePrediction(BertWithOneHead):
    """BertModel with the head for the next sentence. `BertPreTrainedModel` describes the arguments."""

    def __init__(
        self, config: BertConfig, *, seed: int | np.random.Generator = 0, dtype: DTypeLike = np.float32
    ) -> None:
        super().__init__(config, seed, dtype)
        self.bert = BertModel(self.config, seed=self.rng, dtype=dtype)
        self.config = self.bert.config  # one for both
        self.cls = BertOnlyNSPHead(config, seed=self.rng, dtype=dtype)

    def forward(
        self,
        input_ids: ArrayLike | None = None,
        attention_mask: ArrayLike | None = None,
        token_type_ids: ArrayLike | None = None,
        *,
        labels: ArrayLike | None = None,
        return_dict: bool | None = None,
        **inputs: Any,
    ) -> Any:
        """Returns a HeadOutput with logits [b,2], or its tuple if return_dict is False.

        Args:
            labels: integers [b]: 0 if the second segment follows the first, 1 if it does not, -100 to leave the
                pair out.
            inputs: the other inputs of `BertModel.forward`, which also describes the first three.

        Raises:
            InputError: an input has a wrong shape, dtype or value; the message names it and the limit.
        """
        outputs = self.bert(input_ids, attention_mask, token_type_ids, return_dict=True, **inputs)
        labels = checked_labels("labels", labels, outputs.pooler_output.shape[:1], 2)
        head = self.cls.loss(outputs.pooler_output, labels)  # [b,e] -> [b,2]
        return self.answer(outputs, head, labels, return_dict)

    def loss_backward(self, saved: SimpleNamespace, d_loss: float) -> tuple[Array | None, Array | None]:
        """d_loss (a number) -> None, d_pooled_output [b,e]."""
        return None, self.cls.loss_backward(d_loss)


def tied_weight(bert: BertModel) -> Parameter | None:
    """Returns the word embeddings for the decoder to share if the configuration ties them, else None."""
    return bert.embeddings.word_embeddings.weight if bert.config.tie_word_embeddings else None
