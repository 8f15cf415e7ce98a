"""Losses as layers: they make a scalar of logits and labels, and backward starts from it."""

from __future__ import annotations

from numbert.nn.array import Array
from numbert.nn.functional import cross_entropy, cross_entropy_backward
from numbert.nn.module import Module


class CrossEntropyLoss(Module):
    """The mean of -log softmax(logits)[label] over the rows that have a label. See `cross_entropy`."""

    listed = False

    def forward(self, logits: Array, labels: Array) -> tuple[Array, Array]:
        """logits [n,v], labels [n] -> loss, a scalar, and probs [n,v]. The label -100 leaves a row out."""
        loss, probs = cross_entropy(logits, labels)
        self.remember(probs=probs, labels=labels)
        return loss, probs

    def backward(self, d_loss: float | Array = 1.0) -> Array:
        """d_loss (a scalar) -> d_logits [n,v]. The derivation is in docs/derivations.md#cross-entropy."""
        saved = self.recall()
        return cross_entropy_backward(d_loss, saved.probs, saved.labels)
