"""Pruning heads: which are left, and the parts of the weights that belong to them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np

from numbert.errors import InputError, as_integer, shown
from numbert.nn.array import Array
from numbert.nn.layers import Linear


def heads_to_prune(heads: Iterable[int], pruned: set[int], h: int) -> set[int]:
    """Returns the numbers of the heads as a set.

    Args:
        pruned: the heads that are pruned already.
        h: the number of heads in the configuration.

    Raises:
        InputError: a head is no integer from 0 to h - 1, is pruned already or named twice, or none would be left.
    """
    try:
        numbers = None if isinstance(heads, str | bytes | Mapping) else iter(heads)
    except TypeError:  # an array without axes is an Iterable, too
        numbers = None
    if numbers is None:
        raise InputError(f"the heads to prune are {shown(heads)}; they must be a list of integers")
    those: set[int] = set()
    for head in numbers:
        number = as_integer("a head to prune", head)
        if not 0 <= number < h:
            raise InputError(f"there is no head {shown(number)}; there are heads 0 to {h - 1}")
        if number in pruned:
            raise InputError(f"head {number} is pruned already")
        if number in those:
            raise InputError(f"head {number} is named twice")
        those.add(number)
    if len(pruned | those) == h:
        raise InputError(f"all {h} heads of a layer cannot be pruned; one must be left")
    return those


def heads_left(pruned: set[int], h: int) -> Array:
    """Returns the numbers of the heads that are not pruned, in order."""
    return np.array([head for head in range(h) if head not in pruned])


def numbers_of(left: Array, before: Array | None, d: int) -> Array:
    """Returns which of the numbers of the joined heads [b,l,h*d] belong to the heads that are left.

    Args:
        left: the heads that are left, as the configuration counts them.
        before: the heads that the weights still have; None for all.
        d: the size of a head.
    """
    places = left if before is None else np.searchsorted(before, left)
    return (places[:, None] * d + np.arange(d)).reshape(-1)


def keep_rows(linear: Linear, numbers: Array) -> None:
    """Keeps some of the outputs of a layer: these rows of its weight [out,in] and bias. Gradients become None."""
    linear.weight.data, linear.weight.grad = linear.weight.data[numbers], None
    if linear.bias is not None:
        linear.bias.data, linear.bias.grad = linear.bias.data[numbers], None
    linear.out_features = len(numbers)


def keep_columns(linear: Linear, numbers: Array) -> None:
    """Keeps some of the inputs of a layer: these columns of its weight [out,in]. Its gradient becomes None."""
    linear.weight.data, linear.weight.grad = np.ascontiguousarray(linear.weight.data[:, numbers]), None
    linear.in_features = len(numbers)


def all_heads(x: Array, left: Array | None, h: int) -> Array:
    """Puts what belongs to the heads that are left at their places among all, with zeros for the others.

    [b,h_left,...] -> [b,h,...]. Without pruned heads it is x itself.
    """
    if left is None:
        return x
    whole = np.zeros((x.shape[0], h, *x.shape[2:]), x.dtype)
    whole[:, left] = x
    return whole
