"""Checks of every input of a model, and the masks in the form in which the attention takes them."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, DTypeLike

from numbert.errors import InputError, shown
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
        return None, _of_dtype("inputs_embeds", embeds, dtype), (embeds.shape[0], embeds.shape[1])
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


def checked_labels(
    name: str, labels: ArrayLike | None, shape: tuple[int, ...], classes: int, left_out: Array | None = None
) -> Array | None:
    """Returns labels as an array of integers, each of which is -100 or from 0 to classes - 1; None stays None.

    Args:
        left_out: what `left_out` returns, for labels of positions.

    Raises:
        InputError: the labels have another shape, are no integers, have another value among them, or one at a
            position that is left out.
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
    if left_out is not None and (wrong := (array != IGNORE) & left_out).any():
        place = np.argwhere(wrong)[0].tolist()
        raise InputError(
            f"{name} has {array[tuple(place)]} at {place}, where attention_mask is 0; "
            f"with unpad=True it must be {IGNORE} there"
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


def left_out(attention_mask: ArrayLike | None, unpad: bool) -> Array | None:
    """Returns which positions `unpad` leaves out: bool [b,l], or None if it leaves out none.

    Args:
        attention_mask: [b,r], as `BertModel.forward` takes it with `unpad`.
    """
    return None if attention_mask is None or not unpad else as_array("attention_mask", attention_mask) == 0


def get_extended_attention_mask(
    attention_mask: ArrayLike,
    input_shape: tuple[int, int],
    dtype: DTypeLike = np.float32,
    *,
    is_decoder: bool = False,
) -> Array:
    """Makes the mask that is added to the attention's scores, of a mask of ones (look) and zeros (do not look).

    [b,r] -> [b,1,1,r], and [b,l,r] -> [b,1,l,r]. A one becomes 0, and a zero becomes the most negative number of
    dtype. If a whole row is zero, all its scores become that number, so the row looks at all keys equally and
    stays finite.

    Args:
        attention_mask: [b,r], or [b,l,r] for a mask of each query. With a cache r counts the cached keys, too.
        input_shape: the sizes (b, l) of the batch.
        dtype: float32, float64 or complex128, the model's.
        is_decoder: whether a query may look at no key behind it. Then [b,r] -> [b,1,l,r], where query i stands at
            position r - l + i. A mask [b,l,r] is taken as it is, as in the published models.

    Raises:
        InputError: the mask has another shape, or a value that is neither 0 nor 1.
    """
    mask = checked_mask("attention_mask", attention_mask)
    b, length = input_shape
    r = mask.shape[-1]
    if mask.shape not in ((b, r), (b, length, r)) or (is_decoder and mask.ndim == 2 and r < length):
        least = f", with an r of at least {length}" if is_decoder else ""
        raise InputError(
            f"attention_mask has shape {mask.shape}; for a batch {input_shape} it must be [b,r] or [b,l,r]{least}"
        )
    if mask.ndim == 3:
        looked_at = mask[:, None] != 0  # [b,1,l,r]
    else:
        looked_at = mask[:, None, None, :] != 0  # [b,1,1,r]
        if is_decoder:
            looked_at = looked_at & np.tri(length, r, r - length, dtype=bool)  # [b,1,l,r]
    lowest = np.finfo(dtype).min
    return np.where(looked_at, lowest.dtype.type(0), lowest)


def get_head_mask(head_mask: ArrayLike | None, num_hidden_layers: int) -> Array | None:
    """Makes of a mask of heads what each layer multiplies with its probabilities. [h] or [n,h] -> [n,1,h,1,1].

    Args:
        head_mask: for each head 1 (keep) or 0 (leave out), or any number between; None stays None.
        num_hidden_layers: n

    Raises:
        InputError: the mask has another shape, or holds no numbers.
    """
    if head_mask is None:
        return None
    mask = as_array("head_mask", head_mask)
    if mask.dtype.kind not in "biufc":
        raise InputError(f"head_mask must be numbers, got an array of {mask.dtype}")
    if mask.ndim == 1:
        mask = np.broadcast_to(mask, (num_hidden_layers, *mask.shape))
    if mask.ndim != 2 or len(mask) != num_hidden_layers:
        raise InputError(f"head_mask has shape {mask.shape}; it must be [h] or [{num_hidden_layers},h]")
    return mask[:, None, :, None, None]


def added_mask(
    name: str,
    attention_mask: ArrayLike | None,
    shape: tuple[int, int],
    key_length: int,
    dtype: DTypeLike,
    is_decoder: bool = False,
) -> Array | None:
    """Returns `get_extended_attention_mask` of a mask for this batch, or None if every query sees every key.

    Args:
        name: how an error message calls the mask.
        attention_mask: [b,r] or [b,l,r]; default 1 everywhere.
        shape: (b, l)
        key_length: r

    Raises:
        InputError: the mask has another shape, or a value that is neither 0 nor 1.
    """
    b, length = shape
    causal = is_decoder and length > 1
    if attention_mask is None:
        ones = np.ones((1, key_length), bool)
        return get_extended_attention_mask(ones, (1, length), dtype, is_decoder=True) if causal else None
    mask = checked_mask(name, attention_mask)
    wanted = (b, key_length), (b, length, key_length)
    if mask.shape not in wanted:
        cached = key_length - length if is_decoder else 0
        why = f", with the {cached} cached tokens" if cached else ""
        raise InputError(
            f"{name} has shape {mask.shape}; for this batch it must be {wanted[0]} or {wanted[1]}{why}"
        )
    if mask.all() and (mask.ndim == 3 or not causal):
        return None
    return get_extended_attention_mask(mask, shape, dtype, is_decoder=is_decoder)


def checked_head_mask(
    head_mask: ArrayLike | None, num_hidden_layers: int, num_attention_heads: int, dtype: np.dtype[Any]
) -> Array | None:
    """Returns `get_head_mask` [n,1,h,1,1] in the model's dtype; None stays None.

    Raises:
        InputError: the mask has another shape, holds no numbers, is complex and the model is not, or has a number
            that is not finite in the model's dtype.
    """
    mask = get_head_mask(head_mask, num_hidden_layers)
    if mask is None:
        return None
    if mask.shape[2] != num_attention_heads:
        wanted = f"[{num_attention_heads}] or [{num_hidden_layers},{num_attention_heads}]"
        raise InputError(f"head_mask has {mask.shape[2]} heads; for this model it must be {wanted}")
    if mask.dtype.kind == "c" and dtype.kind != "c":
        raise InputError(f"head_mask is {mask.dtype}, the model is {dtype}")
    with np.errstate(over="ignore"):
        mask = mask.astype(dtype, copy=False)
    wrong = ~np.isfinite(mask)
    if wrong.any():
        layer, _, head, _, _ = np.argwhere(wrong)[0]
        raise InputError(f"head_mask has {mask[layer, 0, head, 0, 0]} for a head; it must be a finite number")
    return mask


def checked_states(name: str, states: ArrayLike, b: int, hidden_size: int, dtype: np.dtype[Any]) -> Array:
    """Returns hidden states [b,r,e] as an array of the model's dtype.

    Raises:
        InputError: the states have another shape, are no floating-point numbers, or are complex and the model is
            not.
    """
    array = as_array(name, states)
    if array.ndim != 3 or array.shape[0] != b or array.shape[-1] != hidden_size:
        raise InputError(f"{name} has shape {array.shape}; for this batch it must be [{b},r,{hidden_size}]")
    return _of_dtype(name, array, dtype)


def checked_mask(name: str, mask: ArrayLike) -> Array:
    """Returns a mask [b,r] or [b,l,r] as an array.

    Raises:
        InputError: the mask has another number of axes, or a value that is neither 0 nor 1.
    """
    array = as_array(name, mask)
    if array.ndim not in (2, 3):
        raise InputError(f"{name} has shape {array.shape}; it must be [b,r] or [b,l,r]")
    if array.dtype.kind not in "biuf":
        raise InputError(f"{name} must be 0 and 1, got an array of {array.dtype}")
    wrong = (array != 0) & (array != 1)
    if wrong.any():
        place = np.argwhere(wrong)[0].tolist()
        raise InputError(f"{name} has {array[tuple(place)]} at {place}; it must be 1 (look) or 0 (do not)")
    return array


def _of_dtype(name: str, array: Array, dtype: np.dtype[Any]) -> Array:
    if array.dtype.kind not in ("fc" if dtype.kind == "c" else "f"):
        raise InputError(f"{name} is {array.dtype}, the model is {dtype}")
    _refuse_empty(name, array)
    return array.astype(dtype, copy=False)


def _refuse_empty(name: str, array: Array) -> None:
    if not array.size:
        raise InputError(f"{name} has shape {array.shape}; it must hold at least one token")
