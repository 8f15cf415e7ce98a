"""BertWithOneHead: what the models with one head have in common."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from numbert.bert.heads import HeadLoss
from numbert.bert.model import BertModel
from numbert.bert.outputs import BaseModelOutputWithPooling, HeadOutput, returns_dict
from numbert.bert.pretrained import BertPreTrainedModel
from numbert.nn.array import Array


class BertWithOneHead(BertPreTrainedModel):
    """A BertModel `bert` and one head with a loss: the end of forward, and backward.

    A subclass has a `forward` that ends in `answer`, and a `loss_backward`.
    """

    bert: BertModel

    def answer(
        self,
        outputs: BaseModelOutputWithPooling,
        head: HeadLoss,
        labels: Array | None,
        return_dict: bool | None,
        **saved: Any,
    ) -> Any:
        """Remembers the labels for backward, and returns a HeadOutput, or its tuple if return_dict is False.

        Args:
            outputs: what `bert` returned.
            head: loss and logits of the head.
            labels: the labels as they were checked, or None.
            return_dict: default as in the configuration.
            saved: what else is to be remembered.
        """
        self.remember(labels=labels, probs=head.probs, **saved)
        output = HeadOutput(head.loss, head.logits, outputs.hidden_states, outputs.attentions)
        return output if returns_dict(return_dict, self.config) else output.to_tuple()

    def loss_backward(self, saved: SimpleNamespace, d_loss: float) -> tuple[Array | None, Array | None]:
        """Undoes the head and its loss; each subclass has its own.

        Args:
            saved: what forward remembered.
            d_loss: the number by which the gradient is multiplied.

        Returns:
            d_sequence_output [b,l,e] and d_pooled_output [b,e]; None for the one that the head does not look at.
        """
        raise NotImplementedError(f"{type(self).__name__} has no loss_backward")

    def backward(self, d_loss: float = 1.0) -> dict[str, Array]:
        """Adds the gradient of the latest loss to every Parameter.grad; returns what `BertModel.backward` returns.

        Args:
            d_loss: the number by which the gradient is multiplied.

        Raises:
            RuntimeError: the latest forward had no labels, or there was none.
        """
        saved = self.recall()
        if saved.labels is None:
            raise no_loss(self)
        return self.bert.backward(*self.loss_backward(saved, d_loss))


def no_loss(model: BertPreTrainedModel) -> RuntimeError:
    """Returns the error for a backward whose forward had no labels."""
    return RuntimeError(f"{type(model).__name__}.backward: the latest forward had no labels, so it has no loss")
