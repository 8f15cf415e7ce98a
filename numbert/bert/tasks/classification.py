"""The models that choose: a class for a text, one for each token, or one text of several."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, DTypeLike

from numbert.bert.heads import HeadLoss
from numbert.bert.inputs import as_array, checked_labels, checked_numbers, left_out
from numbert.bert.model import BertModel
from numbert.bert.tasks.one_head import BertWithOneHead
from numbert.config import BertConfig
from numbert.errors import InputError
from numbert.nn.array import Array
from numbert.nn.layers import Dropout, Linear
from numbert.nn.losses import BCEWithLogitsLoss, CrossEntropyLoss, MSELoss


class BertForSequenceClassification(BertWithOneHead):
    """BertModel with a dropout and a Linear layer on the pooled output. `BertPreTrainedModel` has the arguments.

    What the labels are, and so which loss is computed, `config.problem_type` says. If it is None, as published:
    with one label the problem is a regression; else integers are a class for each text, and floating numbers are
    answers to a question of yes or no for each label.
    """

    draws_missing_head = True

    def __init__(
        self, config: BertConfig, *, seed: int | np.random.Generator = 0, dtype: DTypeLike = np.float32
    ) -> None:
        super().__init__(config, seed, dtype)
        self.bert = BertModel(self.config, seed=self.rng, dtype=dtype)
        self.config = self.bert.config  # one for both
        self.dropout = classifier_dropout(config, self.rng)
        self.classifier = classifier(config, config.num_labels, self.rng, dtype)
        # A loss for each problem type, by its name.
        self.regression = MSELoss()
        self.single_label_classification = CrossEntropyLoss()
        self.multi_label_classification = BCEWithLogitsLoss()

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
        """Returns a HeadOutput with logits [b,k] for k labels, or its tuple if return_dict is False.

        Args:
            labels: by the problem type: for "regression" numbers [b,k], or [b] if k is 1; for
                "single_label_classification" integers [b] from 0 to k - 1, -100 to leave a text out; for
                "multi_label_classification" numbers [b,k] from 0 (no) to 1 (yes). Numbers are floating.
            inputs: the other inputs of `BertModel.forward`, which also describes the first three.

        Raises:
            InputError: an input has a wrong shape, dtype or value; the message names it and the limit.
        """
        outputs = self.bert(input_ids, attention_mask, token_type_ids, return_dict=True, **inputs)
        logits = self.classifier(self.dropout(outputs.pooler_output))  # [b,e] -> [b,k]
        problem_type, checked = self._checked(labels, logits.shape)
        head = HeadLoss.of(getattr(self, problem_type), logits, checked)
        return self.answer(outputs, head, checked, return_dict, problem_type=problem_type)

    def _checked(self, labels: ArrayLike | None, shape: tuple[int, ...]) -> tuple[str, Array | None]:
        """The problem type, and the labels as its loss takes them: [b], or [b,k]."""
        problem_type = self.config.problem_type
        if labels is None:
            return problem_type or "regression", None
        if problem_type is None and self.config.num_labels == 1:
            problem_type = "regression"
        elif problem_type is None and np.issubdtype(as_array("labels", labels).dtype, np.integer):
            problem_type = "single_label_classification"
        elif problem_type is None:
            problem_type = "multi_label_classification"
        if problem_type == "single_label_classification":
            return problem_type, checked_labels("labels", labels, shape[:1], shape[1])
        limits = (0, 1) if problem_type == "multi_label_classification" else None
        return problem_type, checked_numbers("labels", labels, shape, self.dtype, problem_type, limits)

    def loss_backward(self, saved: SimpleNamespace, d_loss: float) -> tuple[Array | None, Array | None]:
        """d_loss (a number) -> None, d_pooled_output [b,e]."""
        d_logits = getattr(self, saved.problem_type).backward(d_loss)  # [b,k]
        return None, self.dropout.backward(self.classifier.backward(d_logits))


class BertForTokenClassification(BertWithOneHead):
    """BertModel without pooler, with a dropout and a Linear layer on each token.

    `BertPreTrainedModel` describes the arguments.
    """

    draws_missing_head = True

    def __init__(
        self, config: BertConfig, *, seed: int | np.random.Generator = 0, dtype: DTypeLike = np.float32
    ) -> None:
        super().__init__(config, seed, dtype)
        self.bert = BertModel(self.config, add_pooling_layer=False, seed=self.rng, dtype=dtype)
        self.config = self.bert.config  # one for both
        self.dropout = classifier_dropout(config, self.rng)
        self.classifier = classifier(config, config.num_labels, self.rng, dtype)
        self.loss_fct = CrossEntropyLoss()

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
        """Returns a HeadOutput with logits [b,l,k] for k labels, or its tuple if return_dict is False.

        Args:
            labels: integers [b,l] from 0 to k - 1, -100 to leave a token out.
            inputs: the other inputs of `BertModel.forward`, which also describes the first three.

        Raises:
            InputError: an input has a wrong shape, dtype or value; the message names it and the limit.
        """
        outputs = self.bert(input_ids, attention_mask, token_type_ids, return_dict=True, **inputs)
        logits = self.classifier(self.dropout(outputs.last_hidden_state))  # [b,l,e] -> [b,l,k]
        padding = left_out(attention_mask, inputs.get("unpad", False))
        checked = checked_labels("labels", labels, logits.shape[:2], self.config.num_labels, padding)
        return self.answer(outputs, HeadLoss.of(self.loss_fct, logits, checked), checked, return_dict)

    def loss_backward(self, saved: SimpleNamespace, d_loss: float) -> tuple[Array | None, Array | None]:
        """d_loss (a number) -> d_sequence_output [b,l,e], None."""
        d_logits = self.loss_fct.backward(d_loss)  # [b,l,k]
        return self.dropout.backward(self.classifier.backward(d_logits)), None


class BertForMultipleChoice(BertWithOneHead):
    """BertModel with a dropout and a Linear layer that gives each of several texts a score.

    `BertPreTrainedModel` describes the arguments. Each of the c choices of a question is a text of its own, as
    "[CLS] question [SEP] choice [SEP]".
    """

    draws_missing_head = True

    def __init__(
        self, config: BertConfig, *, seed: int | np.random.Generator = 0, dtype: DTypeLike = np.float32
    ) -> None:
        super().__init__(config, seed, dtype)
        self.bert = BertModel(self.config, seed=self.rng, dtype=dtype)
        self.config = self.bert.config  # one for both
        self.dropout = classifier_dropout(config, self.rng)
        self.classifier = classifier(config, 1, self.rng, dtype)
        self.loss_fct = CrossEntropyLoss()

    def forward(
        self,
        input_ids: ArrayLike | None = None,
        attention_mask: ArrayLike | None = None,
        token_type_ids: ArrayLike | None = None,
        *,
        position_ids: ArrayLike | None = None,
        inputs_embeds: ArrayLike | None = None,
        labels: ArrayLike | None = None,
        return_dict: bool | None = None,
        **inputs: Any,
    ) -> Any:
        """Returns a HeadOutput with logits [b,c], or its tuple if return_dict is False.

        `BertModel` sees b·c texts, so hidden_states and attentions are [b·c,l,e] and [b·c,h,l,r].

        Args:
            input_ids, token_type_ids, position_ids: integers [b,c,l].
            attention_mask: [b,c,r], or [b,c,l,r] for a mask of each query.
            inputs_embeds: [b,c,l,e], in the place of input_ids.
            labels: integers [b] from 0 to c - 1, the right choice; -100 to leave a question out.
            inputs: the other inputs of `BertModel.forward`, which also says what these are.

        Raises:
            InputError: an input has a wrong shape, dtype or value; the message names it and the limit.
        """
        if (input_ids is None) == (inputs_embeds is None):
            raise InputError("give input_ids or inputs_embeds, and not both")
        given = "input_ids" if inputs_embeds is None else "inputs_embeds"
        sized = as_array(given, input_ids if inputs_embeds is None else inputs_embeds)
        letters = "[b,choices,l]" if inputs_embeds is None else "[b,choices,l,e]"
        if sized.ndim != letters.count(",") + 1:
            raise InputError(f"{given} has shape {sized.shape}; it must be {letters}")
        b, choices, length = sized.shape[:3]
        shape = (b, choices, length)
        outputs = self.bert(
            texts_of("input_ids", input_ids, shape),
            texts_of("attention_mask", attention_mask, shape, (*shape, length)),
            texts_of("token_type_ids", token_type_ids, shape),
            position_ids=texts_of("position_ids", position_ids, shape),
            inputs_embeds=texts_of("inputs_embeds", inputs_embeds, (*shape, sized.shape[-1])),
            return_dict=True,
            **inputs,
        )
        logits = self.classifier(self.dropout(outputs.pooler_output)).reshape(b, choices)  # [b·c,e] -> [b,c]
        checked = checked_labels("labels", labels, (b,), choices)
        return self.answer(outputs, HeadLoss.of(self.loss_fct, logits, checked), checked, return_dict)

    def loss_backward(self, saved: SimpleNamespace, d_loss: float) -> tuple[Array | None, Array | None]:
        """d_loss (a number) -> None, d_pooled_output [b·c,e]."""
        d_logits = self.loss_fct.backward(d_loss).reshape(-1, 1)  # [b,c] -> [b·c,1]
        return None, self.dropout.backward(self.classifier.backward(d_logits))

    def backward(self, d_loss: float = 1.0) -> dict[str, Array]:
        """Does what `BertWithOneHead.backward` does; "inputs_embeds" is [b,c,l,e]."""
        b = 0 if self.saved is None or self.saved.labels is None else len(self.saved.labels)
        d_inputs = super().backward(d_loss)
        d_embeds = d_inputs["inputs_embeds"]  # [b·c,l,e]
        return {**d_inputs, "inputs_embeds": d_embeds.reshape(b, -1, *d_embeds.shape[1:])}


def classifier_dropout(config: BertConfig, rng: np.random.Generator) -> Dropout:
    """Returns the dropout before a classifier, at its own rate if there is one, else at that of all layers."""
    own = config.classifier_dropout
    return Dropout(config.hidden_dropout_prob if own is None else own, seed=rng)


def classifier(config: BertConfig, labels: int, rng: np.random.Generator, dtype: DTypeLike) -> Linear:
    """Returns the layer that makes a score for each label. [...,e] -> [...,labels]."""
    return Linear(config.hidden_size, labels, std=config.initializer_range, seed=rng, dtype=dtype)


def texts_of(name: str, value: ArrayLike | None, *shapes: tuple[int, ...]) -> Array | None:
    """Returns an input [b,c,...] as that of b·c texts, [b·c,...]; None stays None.

    Raises:
        InputError: it has none of the shapes.
    """
    if value is None:
        return None
    array = as_array(name, value)
    if array.shape not in shapes:
        wanted = " or ".join(map(str, shapes))
        raise InputError(f"{name} has shape {array.shape}; for this batch it must be {wanted}")
    return array.reshape(-1, *array.shape[2:])
