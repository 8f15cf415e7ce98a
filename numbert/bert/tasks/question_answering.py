"""BertForQuestionAnswering: where in a text the answer to a question starts, and where it ends."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, DTypeLike

from numbert.bert.heads import HeadLoss
from numbert.bert.inputs import as_array, left_out
from numbert.bert.model import BertModel
from numbert.bert.outputs import QuestionAnsweringOutput, returns_dict
from numbert.bert.tasks.one_head import BertWithOneHead
from numbert.config import BertConfig
from numbert.errors import InputError
from numbert.nn.array import Array
from numbert.nn.functional import IGNORE
from numbert.nn.layers import Linear
from numbert.nn.losses import CrossEntropyLoss


class BertForQuestionAnswering(BertWithOneHead):
    """BertModel without pooler, with a Linear layer that gives each token a score as start and one as end.

    `BertPreTrainedModel` describes the arguments. A text is question and passage in one, as
    "[CLS] question [SEP] passage [SEP]". There is no dropout in this head, as published.

    Raises:
        InputError: `config.num_labels` is not 2, or what `BertPreTrainedModel` refuses.
    """

    draws_missing_head = True

    def __init__(
        self, config: BertConfig, *, seed: int | np.random.Generator = 0, dtype: DTypeLike = np.float32
    ) -> None:
        super().__init__(config, seed, dtype)
        if config.num_labels != 2:
            raise InputError(
                f"num_labels is {config.num_labels}; for a {type(self).__name__} it must be 2, start and end"
            )
        self.bert = BertModel(self.config, add_pooling_layer=False, seed=self.rng, dtype=dtype)
        self.config = self.bert.config  # one for both
        self.qa_outputs = Linear(config.hidden_size, 2, std=config.initializer_range, seed=self.rng, dtype=dtype)
        self.start_loss_fct = CrossEntropyLoss()
        self.end_loss_fct = CrossEntropyLoss()

    def forward(
        self,
        input_ids: ArrayLike | None = None,
        attention_mask: ArrayLike | None = None,
        token_type_ids: ArrayLike | None = None,
        *,
        start_positions: ArrayLike | None = None,
        end_positions: ArrayLike | None = None,
        return_dict: bool | None = None,
        **inputs: Any,
    ) -> Any:
        """Returns a QuestionAnsweringOutput with logits [b,l], or its tuple if return_dict is False.

        The loss is half the sum of two cross-entropies over the l positions, one of starts and one of ends.

        Args:
            start_positions, end_positions: integers [b], the first and the last token of the answer. A position
                of l or more is beyond the text, which has been cut; it is left out of the loss.
            inputs: the other inputs of `BertModel.forward`, which also describes the first three.

        Raises:
            InputError: an input has a wrong shape, dtype or value, or only one of the positions is given; the
                message names it and the limit.
        """
        outputs = self.bert(input_ids, attention_mask, token_type_ids, return_dict=True, **inputs)
        logits = self.qa_outputs(outputs.last_hidden_state)  # [b,l,e] -> [b,l,2]
        start_logits, end_logits = logits[..., 0], logits[..., 1]  # [b,l]
        if (start_positions is None) != (end_positions is None):
            raise InputError("give start_positions and end_positions, or neither")
        padding = left_out(attention_mask, inputs.get("unpad", False))
        starts = checked_positions("start_positions", start_positions, start_logits.shape, padding)
        ends = checked_positions("end_positions", end_positions, end_logits.shape, padding)
        start = HeadLoss.of(self.start_loss_fct, start_logits, starts)
        end = HeadLoss.of(self.end_loss_fct, end_logits, ends)
        loss = None if start.loss is None or end.loss is None else np.asarray((start.loss + end.loss) / 2)
        self.remember(labels=starts)
        output = QuestionAnsweringOutput(loss, start_logits, end_logits, outputs.hidden_states, outputs.attentions)
        return output if returns_dict(return_dict, self.config) else output.to_tuple()

    def loss_backward(self, saved: SimpleNamespace, d_loss: float) -> tuple[Array | None, Array | None]:
        """d_loss (a number) -> d_sequence_output [b,l,e], None."""
        # loss = (start_loss + end_loss) / 2
        d_start_logits = self.start_loss_fct.backward(d_loss / 2)
        d_end_logits = self.end_loss_fct.backward(d_loss / 2)
        return self.qa_outputs.backward(np.stack((d_start_logits, d_end_logits), axis=-1)), None


def checked_positions(
    name: str, positions: ArrayLike | None, shape: tuple[int, ...], padding: Array | None = None
) -> Array | None:
    """Returns positions in texts as labels [b], -100 for those that are beyond the l tokens; None stays None.

    Args:
        padding: bool [b,l], the positions that `unpad` leaves out, or None.

    Raises:
        InputError: they have another shape than [b], are no integers, are negative, or are left out.
    """
    if positions is None:
        return None
    b, length = shape
    array = as_array(name, positions)
    if array.shape != (b,):
        raise InputError(f"{name} has shape {array.shape}; for this batch it must be {(b,)}")
    if not np.issubdtype(array.dtype, np.integer):
        raise InputError(f"{name} must be integers, got an array of {array.dtype}")
    if (array < 0).any():
        place = int(np.argmax(array < 0))
        raise InputError(
            f"{name} has {array[place]} at [{place}]; it can be 0 to {length - 1}, or more if it is to be ignored"
        )
    if padding is not None:
        wrong = (array < length) & padding[np.arange(b), np.minimum(array, length - 1)]
        if wrong.any():
            row = int(np.argmax(wrong))
            raise InputError(f"{name} has {array[row]} at [{row}], which unpad=True leaves out")
    return np.where(array < length, array, IGNORE).astype(np.int64)
