"""Losses as layers: logits and labels to a scalar, from which backward starts."""

from __future__ import annotations

from numbert.nn.array import Array
from numbert.nn.functional import cross_entropy, cross_entropy_backward
from numbert.nn.module import Module


class CrossEntropyLoss(Module):
    """The mean of -log softmax(logits)[label] over the rows that have a label. See `cross_entropy`."""

    listed = False

    def forward(self, logits: Array, labels: Array) -> tuple[Array, Array]:
        """[n,v], integers [n] (-100 for a row to leave out) -> loss, a scalar, and probs [n,v]."""
        loss, probs = cross_entropy(logits, labels)
        self.remember(probs=probs, labels=labels)
        return loss, probs

    def backward(self, d_loss: float | Array = 1.0) -> Array:
        """d_loss, a scalar -> d_logits [n,v]: docs/derivations.md#cross-entropy."""
        saved = self.recall()
        return cross_entropy_backward(d_loss, saved.probs, saved.labels)
