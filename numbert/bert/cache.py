"""The keys and values of earlier steps: which of the four cases holds, how more are appended, and the check."""

from __future__ import annotations

import threading
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


class Room(np.ndarray[Any, np.dtype[Any]]):
    """An array [b,h,room,d] that has room for the keys or values of further tokens.

    Attributes:
        written: how many tokens it holds.
    """

    written: int


_written = threading.Lock()  # two threads may go on from one cache


def appended(past: Array, new: Array) -> Array:
    """Appends keys or values to those of a cache. [b,h,past,d], [b,h,l,d] -> [b,h,r,d].

    The numbers are those of `np.concatenate`, which copies the cache for each token, at several times the cost of
    attention itself. Here the result is a view of an array twice as long, and what is appended to such a view is
    written behind it, unless something else is there already: then it is copied. So a cache never changes, and
    several texts may go on from one.
    """
    length, dtype = past.shape[2], np.result_type(past, new)
    r = length + new.shape[2]
    room = room_of(past)
    with _written:
        if room is not None and (room.written, room.dtype) == (length, dtype) and r <= room.shape[2]:
            room.written = r
        else:
            room = None
    if room is None:
        room = Room((*past.shape[:2], 2 * r, past.shape[3]), dtype)
        room.written = r
        room[:, :, :length] = past
    whole = room.view(np.ndarray)
    whole[:, :, length:r] = new
    return whole[:, :, :r]


def room_of(cache: Array) -> Room | None:
    """Returns the array whose first tokens a cache is a view of; None if it is another array, or only a part."""
    room = getattr(cache.base, "base", None)  # a view of its view as np.ndarray
    if not isinstance(room, Room):
        return None
    at, start = (array.__array_interface__["data"][0] for array in (cache, room))
    same = at == start and cache.strides == room.strides and cache.shape[:2] == room.shape[:2]
    return room if same else None


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
