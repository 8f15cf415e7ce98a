"""cross_entropy: the mean of -log softmax(logits)[label] over the rows that have a label."""

from __future__ import annotations

import numpy as np

from numbert.nn.array import Array
from numbert.nn.functional.softmax import softmax_plain
from numbert.nn.numerics import underflow_is_zero

IGNORE = -100  # the label of a row that has none


def cross_entropy_plain(logits: Array, labels: Array) -> tuple[Array, Array]:
    """The mean of -log softmax(logits)[label]. logits [n,v], labels [n] -> loss, a scalar, and probs [n,v]."""
    total = np.zeros((), logits.dtype)
    count = 0
    for x, label in zip(logits, labels, strict=True):
        if label != IGNORE:
            shifted = x - x.real.max()
            total = total + np.log(np.exp(shifted).sum()) - shifted[label]  # -log(exp(x_label) / sum(exp(x)))
            count += 1
    loss = total / max(1, count)
    return np.asarray(loss, logits.dtype), softmax_plain(logits)


@underflow_is_zero
def cross_entropy(logits: Array, labels: Array) -> tuple[Array, Array]:
    """`cross_entropy_plain` with all rows at once.

    Rows with the label -100 are left out. If no row is left, the loss is 0 and so is its gradient.

    Args:
        logits: [n,v]
        labels: integers [n], each from 0 to v - 1, or -100 to leave the row out.

    Returns:
        loss, a scalar; and probs [n,v], which backward needs.
    """
    labelled = labels != IGNORE
    rows = np.arange(len(labels))
    shifted = logits - logits.real.max(axis=-1, keepdims=True)
    probs = np.exp(shifted)
    total = probs.sum(axis=-1, keepdims=True)
    probs /= total
    # log(total) - shifted is -log(probs), and stays finite where probs underflows to 0.
    row_loss = np.log(total[:, 0]) - shifted[rows, np.where(labelled, labels, 0)]
    loss = row_loss[labelled].sum() / max(1, labelled.sum())
    return np.asarray(loss, logits.dtype), probs


def cross_entropy_backward_plain(d_loss: float | Array, probs: Array, labels: Array) -> Array:
    """d_logits [n,v] = d_loss (probs - one_hot(labels)) / count, and 0 in rows with the label -100.

    The derivation is in docs/derivations.md#cross-entropy.
    """
    count = max(1, int((labels != IGNORE).sum()))
    d_logits = np.zeros_like(probs)
    for row, label in enumerate(labels):
        if label != IGNORE:
            one_hot = np.zeros_like(probs[row])
            one_hot[label] = 1
            d_logits[row] = (d_loss / count) * (probs[row] - one_hot)
    return d_logits


@underflow_is_zero
def cross_entropy_backward(d_loss: float | Array, probs: Array, labels: Array) -> Array:
    """`cross_entropy_backward_plain` with all rows at once.

    Args:
        d_loss: the gradient of the loss, a scalar.
        probs: [n,v]
        labels: integers [n].

    Returns:
        d_logits [n,v].
    """
    labelled = labels != IGNORE
    rows = np.flatnonzero(labelled)
    d_logits = probs * (labelled[:, None] * (d_loss / max(1, len(rows)))).astype(probs.dtype)
    d_logits[rows, labels[rows]] -= np.asarray(d_loss / max(1, len(rows)), probs.dtype)
    if len(rows) < len(labels):
        d_logits[~labelled] = 0  # also where the logits are not finite, and 0 * NaN is NaN
    return d_logits
