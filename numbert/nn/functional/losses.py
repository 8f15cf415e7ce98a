"""The losses: cross_entropy of one class, bce_with_logits of yes or no for each class, mse of numbers."""

from __future__ import annotations

import numpy as np

from numbert.nn.array import Array
from numbert.nn.blocks import in_row_blocks
from numbert.nn.functional.elementwise import sigmoid, sigmoid_plain
from numbert.nn.functional.softmax import softmax_plain
from numbert.nn.numerics import underflow_is_zero
from numbert.nn.workspace import empty

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
    """`cross_entropy_plain` in blocks of rows.

    Rows with the label -100 are left out. If no row is left, the loss is 0 and so is its gradient.

    Args:
        logits: [n,v]
        labels: integers [n], each from 0 to v - 1, or -100 to leave the row out.

    Returns:
        loss, a scalar; and probs [n,v], which backward needs.
    """
    labelled = labels != IGNORE
    probs = empty(logits.shape, logits.dtype)
    row_loss = np.empty(len(labels), logits.dtype)
    in_row_blocks(_cross_entropy, probs, logits, np.where(labelled, labels, 0), row_loss)
    loss = row_loss[labelled].sum() / max(1, labelled.sum())
    return np.asarray(loss, logits.dtype), probs


def _cross_entropy(probs: Array, logits: Array, labels: Array, row_loss: Array) -> None:
    np.subtract(logits, logits.real.max(axis=-1, keepdims=True), out=probs)  # shifted
    shifted_label = probs[np.arange(len(labels)), labels]
    np.exp(probs, out=probs)
    total = probs.sum(axis=-1, keepdims=True)
    probs /= total
    # log(total) - shifted is -log(probs), and stays finite where probs underflows to 0.
    np.subtract(np.log(total[:, 0]), shifted_label, out=row_loss)


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


def bce_with_logits_plain(logits: Array, labels: Array) -> tuple[Array, Array]:
    """The mean of -(y log p + (1 - y) log(1 - p)) over all entries, with p = sigmoid(logit) and y the label.

    It is computed as log(1 + exp(-|x|)) + max(x, 0) - x y, which is the same: docs/derivations.md#yes-or-no. Here
    exp never overflows, and no logarithm is taken of what has become 0. logits and labels [...] -> loss, a scalar,
    and probs [...].
    """
    total = np.zeros((), logits.dtype)
    for x, y in zip(logits.reshape(-1), labels.reshape(-1), strict=True):
        positive = x.real >= 0
        small = np.exp(-x if positive else x)  # exp(-|x|)
        total = total + np.log1p(small) + ((1 - y) if positive else -y) * x
    loss = total / max(1, logits.size)
    return np.asarray(loss, logits.dtype), sigmoid_plain(logits)


@underflow_is_zero
def bce_with_logits(logits: Array, labels: Array) -> tuple[Array, Array]:
    """`bce_with_logits_plain` with all entries at once. If there is none, the loss is 0.

    Args:
        logits: [...]
        labels: numbers from 0 (no) to 1 (yes), [...].

    Returns:
        loss, a scalar; and probs [...], the sigmoid of the logits, which backward needs.
    """
    positive = logits.real >= 0
    entries = np.log1p(np.exp(np.where(positive, -logits, logits)))  # log(1 + exp(-|x|))
    entries += np.where(positive, 1 - labels, -labels) * logits
    loss = entries.sum() / max(1, logits.size)
    return np.asarray(loss, logits.dtype), sigmoid(logits)


def bce_with_logits_backward_plain(d_loss: float | Array, probs: Array, labels: Array) -> Array:
    """d_logits [...] = d_loss (probs - labels) / count. The derivation is in docs/derivations.md#yes-or-no."""
    d_logits = np.zeros_like(probs)
    for place in np.ndindex(probs.shape):
        d_logits[place] = (d_loss / probs.size) * (probs[place] - labels[place])
    return d_logits


@underflow_is_zero
def bce_with_logits_backward(d_loss: float | Array, probs: Array, labels: Array) -> Array:
    """`bce_with_logits_backward_plain` with all entries at once.

    Args:
        d_loss: the gradient of the loss, a scalar.
        probs: [...]
        labels: numbers from 0 to 1, [...].

    Returns:
        d_logits [...].
    """
    d_logits: Array = (probs - labels) * np.asarray(d_loss / max(1, probs.size), probs.dtype)
    return d_logits


def mse_plain(logits: Array, labels: Array) -> Array:
    """The mean of (logit - label)^2 over all entries. logits and labels [...] -> loss, a scalar."""
    total = np.zeros((), logits.dtype)
    for x, y in zip(logits.reshape(-1), labels.reshape(-1), strict=True):
        total = total + (x - y) ** 2
    return np.asarray(total / max(1, logits.size), logits.dtype)


@underflow_is_zero
def mse(logits: Array, labels: Array) -> Array:
    """`mse_plain` with all entries at once. If there is none, the loss is 0.

    Args:
        logits: [...]
        labels: the numbers that the logits are to be, [...].

    Returns:
        loss, a scalar.
    """
    difference = logits - labels
    return np.asarray((difference * difference).sum() / max(1, logits.size), logits.dtype)


def mse_backward_plain(d_loss: float | Array, logits: Array, labels: Array) -> Array:
    """d_logits [...] = d_loss 2 (logits - labels) / count.

    The derivation is in docs/derivations.md#squared-error.
    """
    d_logits = np.zeros_like(logits)
    for place in np.ndindex(logits.shape):
        d_logits[place] = (d_loss / logits.size) * 2 * (logits[place] - labels[place])
    return d_logits


@underflow_is_zero
def mse_backward(d_loss: float | Array, logits: Array, labels: Array) -> Array:
    """`mse_backward_plain` with all entries at once.

    Args:
        d_loss: the gradient of the loss, a scalar.
        logits, labels: [...]

    Returns:
        d_logits [...].
    """
    d_logits: Array = (logits - labels) * np.asarray(d_loss * 2 / max(1, logits.size), logits.dtype)
    return d_logits
