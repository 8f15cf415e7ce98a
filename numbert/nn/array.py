"""Array, the type of every array here, and the letters in which docstrings give shapes.

| letter | size | | letter | size |
|---|---|---|---|---|
| b | batch | | d | head size, e / h |
| l | query ("left") length | | f | intermediate (feed-forward) size |
| r | key ("right") length | | v | vocabulary |
| h | heads | | n | layers |
| e | hidden size | | t | token types |

So `attention_scores [b,h,l,r]` has a number for each sequence, head, query and key. In a function that works on
any number of rows, n is that number: `[n,e]`.
"""

from __future__ import annotations

from typing import Any

from numpy.typing import NDArray

Array = NDArray[Any]


def given(*gradients: Array | None) -> Any:
    """Returns what a backward returns: the gradients of the inputs that were given, which are those not None.

    A single one is returned as it is, several as a tuple.
    """
    those = tuple(gradient for gradient in gradients if gradient is not None)
    return those[0] if len(those) == 1 else those


def summed_to(gradient: Array, shape: tuple[int, ...]) -> Array:
    """Undoes broadcasting from `shape`: an entry that was used many times gets the sum of its gradients."""
    axes = tuple(axis for axis, size in enumerate(shape) if size == 1 and gradient.shape[axis] != 1)
    return gradient.sum(axis=axes, keepdims=True) if axes else gradient
