"""Losses as layers: they make a scalar of logits and labels, and backward starts from it."""

from __future__ import annotations

from numbert.nn.array import Array
from numbert.nn.functional import (
    bce_with_logits,
    bce_with_logits_backward,
    cross_entropy,
    cross_entropy_backward,
    mse,
    mse_backward,
)
from numbert.nn.module import Module


class CrossEntropyLoss(Module):
    """The mean of -log softmax(logits)[label] over the rows that have a label. See `cross_entropy`."""

    listed = False

    def forward(self, logits: Array, labels: Array) -> tuple[Array, Array]:
        """logits [...,v], labels [...] -> loss, a scalar, and probs [...,v]. The label -100 leaves a row out."""
        loss, probs = cross_entropy(logits.reshape(-1, logits.shape[-1]), labels.reshape(-1))  # [n,v], [n]
        probs = probs.reshape(logits.shape)
        self.remember(probs=probs, labels=labels)
        return loss, probs

    def backward(self, d_loss: float | Array = 1.0) -> Array:
        """d_loss (a scalar) -> d_logits [...,v]. The derivation is in docs/derivations.md#cross-entropy."""
        saved = self.recall()
        rows = saved.probs.reshape(-1, saved.probs.shape[-1])  # [n,v]
        return cross_entropy_backward(d_loss, rows, saved.labels.reshape(-1)).reshape(saved.probs.shape)


class BCEWithLogitsLoss(Module):
    """The mean of -(y log p + (1 - y) log(1 - p)) over all entries, p = sigmoid(logit). See `bce_with_logits`."""

    listed = False

    def forward(self, logits: Array, labels: Array) -> tuple[Array, Array]:
        """logits [...], labels from 0 to 1 [...] -> loss, a scalar, and probs [...]."""
        loss, probs = bce_with_logits(logits, labels)
        self.remember(probs=probs, labels=labels)
        return loss, probs

    def backward(self, d_loss: float | Array = 1.0) -> Array:
        """d_loss (a scalar) -> d_logits [...]. The derivation is in docs/derivations.md#yes-or-no."""
        saved = self.recall()
        return bce_with_logits_backward(d_loss, saved.probs, saved.labels)


class MSELoss(Module):
    """The mean of (logit - label)^2 over all entries. See `mse`."""

    listed = False

    def forward(self, logits: Array, labels: Array) -> Array:
        """logits [...], labels [...] -> loss, a scalar."""
        self.remember(logits=logits, labels=labels)
        return mse(logits, labels)

    def backward(self, d_loss: float | Array = 1.0) -> Array:
        """d_loss (a scalar) -> d_logits [...]. The derivation is in docs/derivations.md#squared-error."""
        saved = self.recall()
        return mse_backward(d_loss, saved.logits, saved.labels)
