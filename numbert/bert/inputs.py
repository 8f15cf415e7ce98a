"""Checks of every input of a model, and the attention mask in the form that is added to the scores."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, DTypeLike

from numbert.errors import InputError, NotYetError, shown
from numbert.nn.array import Array
from numbert.nn.functional import IGNORE


def as_array(name: str, value: Any) -> Array:
    """Returns an input of any type as an array. Every input of a model is converted here.

    Raises:
        InputError: the input is a list whose rows have different lengths, or NumPy cannot convert it.
    """
    try:
        return np.asarray(value)
    except (ValueError, TypeError, OverflowError):
        raise InputError(f"{name} is {shown(value)}; it must be an array, or rows of one length") from None


def checked_inputs(
    input_ids: ArrayLike | None, inputs_embeds: ArrayLike | None, hidden_size: int, dtype: np.dtype[Any]
) -> tuple[Array | None, Array | None, tuple[int, int]]:
    """Returns input_ids [b,l] and inputs_embeds [b,l,e] as arrays, one of which is None, and the sizes (b, l).

    inputs_embeds of another real dtype are converted to the model's dtype.

    Raises:
        InputError: both or neither are given, or the one that is given has a wrong shape or dtype.
    """
    if (input_ids is None) == (inputs_embeds is None):
        raise InputError("give input_ids or inputs_embeds, and not both")
    if inputs_embeds is not None:
        embeds = as_array("inputs_embeds", inputs_embeds)
        if embeds.ndim != 3 or embeds.shape[-1] != hidden_size:
            raise InputError(f"inputs_embeds has shape {embeds.shape}; it must be [b,l,{hidden_size}]")
        if embeds.dtype.kind not in ("fc" if dtype.kind == "c" else "f"):
            raise InputError(f"inputs_embeds is {embeds.dtype}, the model is {dtype}")
        _refuse_empty("inputs_embeds", embeds)
        return None, embeds.astype(dtype, copy=False), (embeds.shape[0], embeds.shape[1])
    ids = as_array("input_ids", input_ids)
    if ids.ndim != 2:
        raise InputError(f"input_ids has shape {ids.shape}; it must be [b,l]")
    _refuse_empty("input_ids", ids)
    return ids, None, (ids.shape[0], ids.shape[1])


def checked_ids(name: str, ids: ArrayLike | None, shape: tuple[int, int]) -> Array | None:
    """Returns token_type_ids or position_ids as an array [b,l], or [1,l] if all sequences have the same.

    Raises:
        InputError: the shape is none of these. (The range of ids is checked where they are looked up.)
    """
    if ids is None:
        return None
    array = as_array(name, ids)
    if array.shape not in (shape, (1, shape[1])):
        raise InputError(f"{name} has shape {array.shape}; for this batch it must be {shape}")
    return array


def checked_labels(name: str, labels: ArrayLike | None, shape: tuple[int, ...], classes: int) -> Array | None:
    """Returns labels as an array of integers, each of which is -100 or from 0 to classes - 1; None stays None.

    Raises:
        InputError: the labels have another shape, are no integers, or have another value among them.
    """
    if labels is None:
        return None
    array = as_array(name, labels)
    if array.shape != shape:
        raise InputError(f"{name} has shape {array.shape}; for this batch it must be {shape}")
    if not np.issubdtype(array.dtype, np.integer):
        raise InputError(f"{name} must be integers, got an array of {array.dtype}")
    wrong = (array != IGNORE) & ((array < 0) | (array >= classes))
    if wrong.any():
        place = np.argwhere(wrong)[0].tolist()
        raise InputError(
            f"{name} has {array[tuple(place)]} at {place}; it can be 0 to {classes - 1}, or {IGNORE} to ignore"
        )
    return array


def checked_numbers(
    name: str,
    labels: ArrayLike,
    shape: tuple[int, ...],
    dtype: np.dtype[Any],
    problem_type: str,
    limits: tuple[float, float] | None = None,
) -> Array:
    """Returns labels that are numbers as an array of `shape`, [b,k], in the model's dtype.

    Args:
        labels: [b,k], or [b] if k is 1.
        problem_type: what the labels are for, which the error message names.
        limits: the smallest and the largest number that is allowed; default any finite one.

    Raises:
        InputError: the labels have another shape, are not floating, or have another value among them.
    """
    array = as_array(name, labels)
    allowed = (shape, shape[:1]) if shape[1] == 1 else (shape,)
    if array.shape not in allowed:
        wanted = " or ".join(map(str, allowed))
        raise InputError(f"{name} has shape {array.shape}; for {problem_type} of this batch it must be {wanted}")
    if array.dtype.kind != "f":
        raise InputError(f"{name} must be floating numbers for {problem_type}, got an array of {array.dtype}")
    low, high = limits or (np.finfo(dtype).min, np.finfo(dtype).max)
    wrong = ~((array >= low) & (array <= high))  # NaN, too
    if wrong.any():
        place = np.argwhere(wrong)[0].tolist()
        wanted = "a finite number" if limits is None else f"{low} (no) to {high} (yes)"
        raise InputError(f"{name} has {array[tuple(place)]} at {place}; it can be {wanted}")
    return array.astype(dtype, copy=False).reshape(shape)


def extended_attention_mask(
    attention_mask: ArrayLike | None, shape: tuple[int, int], dtype: DTypeLike
) -> Array | None:
    """Makes the mask that is added to the attention's scores, of a mask of ones (look) and zeros (do not look).

    [b,r] -> [b,1,1,r] and [b,l,r] -> [b,1,l,r]. A one becomes 0, and a zero becomes the most negative number of
    dtype. If a whole row is zero, all its scores become that number, so the row looks at all keys equally and
    stays finite. The result is None if there is nothing to mask.

    Raises:
        InputError: the mask has another shape, or a value that is neither 0 nor 1.
    """
    if attention_mask is None:
        return None
    mask = as_array("attention_mask", attention_mask)
    b, length = shape
    if mask.shape not in ((b, length), (b, length, length)):
        raise InputError(
            f"attention_mask has shape {mask.shape}; for this batch it must be {(b, length)} "
            f"or {(b, length, length)}"
        )
    if mask.dtype.kind not in "biuf":
        raise InputError(f"attention_mask must be 0 and 1, got an array of {mask.dtype}")
    wrong = (mask != 0) & (mask != 1)
    if wrong.any():
        place = np.argwhere(wrong)[0].tolist()
        raise InputError(f"attention_mask has {mask[tuple(place)]} at {place}; it must be 1 (look) or 0 (do not)")
    if mask.all():
        return None
    lowest = np.finfo(dtype).min
    extended = np.where(mask == 0, lowest, lowest.dtype.type(0))
    return extended[:, None, None, :] if mask.ndim == 2 else extended[:, None, :, :]


def refuse_what_is_not_there_yet(**inputs: Any) -> None:
    """Raises NotYetError if an input is given that belongs to a part of BERT that numbert does not have yet."""
    for name, value in inputs.items():
        if value is not None and value is not False:
            raise NotYetError(f"{name} is not in numbert yet; leave it out")


def _refuse_empty(name: str, array: Array) -> None:
    if not array.size:
        raise InputError(f"{name} has shape {array.shape}; it must hold at least one token")
