"""The keys and values of earlier steps: which of the four cases holds, and the check of a given cache."""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum
from typing import Any

import numpy as np

from numbert.errors import InputError
from numbert.nn.array import Array


class KeysAndValues(Enum):
    """Where an attention's keys and values come from."""

    CROSS_WITH_CACHE = 1
    """Cross-attention with a cache: the cached ones are used as they are."""
    CROSS = 2
    """Cross-attention without a cache: they are made of encoder_hidden_states."""
    SELF_WITH_CACHE = 3
    """Self-attention with a cache: those of hidden_states are appended to the cached ones."""
    SELF = 4
    """Neither: they are made of hidden_states."""


def checked_past(
    past_key_values: Any, heads: Sequence[int], cross_heads: Sequence[int], cross_length: int | None, like: Array
) -> int:
    """Returns the number of tokens that a cache holds.

    Args:
        past_key_values: for each of the n layers two arrays [b,h,past,d], keys and values of self-attention; with
            encoder_hidden_states two more, [b,h,r,d], those of cross-attention.
        heads: for each layer the number of heads that its self-attention has left.
        cross_heads: the same for cross-attention.
        cross_length: the r of encoder_hidden_states [b,r,e], or None without them.
        like: an array [b,...,d] of the model's dtype.

    Raises:
        InputError: the number of layers or arrays, a shape or a dtype does not fit the model and the batch.
    """
    arrays = 2 if cross_length is None else 4
    if not isinstance(past_key_values, tuple | list) or len(past_key_values) != len(heads):
        what = f"{len(past_key_values)} layers" if isinstance(past_key_values, tuple | list) else "no tuple"
        raise InputError(f"past_key_values is {what}; the model has {len(heads)} layers, with a tuple for each")
    past_length: int | None = None
    for number, layer in enumerate(past_key_values):
        if not isinstance(layer, tuple | list) or len(layer) != arrays:
            held = f"{len(layer)} arrays" if isinstance(layer, tuple | list) else f"a {type(layer).__name__}"
            why = " without encoder_hidden_states" if cross_length is None else " with encoder_hidden_states"
            raise InputError(f"past_key_values[{number}] is {held};{why} it must be a tuple of {arrays} arrays")
        for place, array in enumerate(layer):
            name = f"past_key_values[{number}][{place}]"
            if not isinstance(array, np.ndarray) or array.ndim != 4:
                shape = array.shape if isinstance(array, np.ndarray) else type(array).__name__
                raise InputError(f"{name} is {shape}; it must be an array [b,h,r,d]")
            if array.dtype != like.dtype:
                raise InputError(f"{name} is {array.dtype}, the model is {like.dtype}")
            if place < 2 and past_length is None:
                past_length = array.shape[2]
            length = past_length if place < 2 else cross_length
            wanted = (like.shape[0], (heads if place < 2 else cross_heads)[number], length, like.shape[-1])
            if array.shape != wanted:
                raise InputError(f"{name} has shape {array.shape}; for this batch it must be {wanted}")
    return past_length or 0
