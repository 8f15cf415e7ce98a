"""The names of labels, as config.json has them: id2label, label2id, and how many there are."""

from __future__ import annotations

from numbers import Integral
from typing import Any

from numbert.errors import InputError, shown

# Each label has a name in config.json.
MOST_LABELS = 1_000_000


def named_labels(num_labels: Any, id2label: Any, label2id: Any) -> tuple[dict[int, str], dict[str, int]]:
    """Returns id2label and label2id, in full, of as much of them as is given (None for what is not).

    Labels without names are called LABEL_0, LABEL_1, ..., as published. These are nobody's names: they give way to
    others, and to another number.

    Args:
        num_labels: how many labels there are; default as many as are named, or 2.
        id2label: the name of each label, by its number, or by the digits of its number as JSON has them.
        label2id: the number of each label, by its name.

    Raises:
        InputError: one of them is no such thing, or two do not fit each other.
    """
    if num_labels is not None and (isinstance(num_labels, str) or not 1 <= _number(num_labels) <= MOST_LABELS):
        raise InputError(f"num_labels is {shown(num_labels)}; it must be an integer from 1 to {MOST_LABELS}")
    names = None if id2label is None else _id2label("id2label", id2label, id2label)
    ids = None if label2id is None else _label2id(label2id)
    if ids == _inverse(_unnamed(len(ids or ()))):
        ids = None
    named = names is not None and names != _unnamed(len(names))
    if ids is not None and not named:
        names, named = _id2label("label2id", label2id, {index: name for name, index in ids.items()}), True
    if names is None or not named:
        names = _unnamed(num_labels or len(names or (0, 1)))
    if num_labels not in (None, len(names)):
        raise InputError(f"num_labels is {num_labels}, but {len(names)} labels have names, {shown(names)}")
    if ids is None:
        ids = _inverse(names)
    if len(ids) != len(set(names.values())) or any(names.get(index) != name for name, index in ids.items()):
        raise InputError(f"label2id is {shown(ids)}, which is not the inverse of id2label, {shown(names)}")
    return names, ids


def _unnamed(count: int) -> dict[int, str]:
    return {index: f"LABEL_{index}" for index in range(count)}


def _inverse(names: dict[int, str]) -> dict[str, int]:
    """The numbers by their names; of two labels with one name the first counts."""
    ids: dict[str, int] = {}
    for index, name in names.items():
        ids.setdefault(name, index)
    return ids


def _id2label(field: str, given: Any, value: Any) -> dict[int, str]:
    """Returns {0: name, 1: name, ...}, in this order.

    Raises:
        InputError: the value is no such dict; the message shows the field as it was given.
    """
    names = {_number(key): name for key, name in value.items()} if isinstance(value, dict) else {}
    if not names or names.keys() != set(range(len(given))) or not all(map(_is_string, names.values())):
        raise InputError(
            f"{field} is {shown(given)}; it must be a dict of the labels 0 to n - 1, each with its name"
        )
    return {index: str(names[index]) for index in range(len(names))}


def _label2id(value: Any) -> dict[str, int]:
    ids = {name: _number(index) for name, index in value.items()} if isinstance(value, dict) else {}
    if not ids or min(ids.values()) < 0 or not all(map(_is_string, ids)):
        raise InputError(f"label2id is {shown(value)}; it must be a dict of names, each with its label's number")
    return {str(name): index for name, index in ids.items()}


def _is_string(value: Any) -> bool:
    return isinstance(value, str)


def _number(value: Any) -> int:
    """The number of a label, or of the digits of one; -1 for all else."""
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) < 9:
        return int(value)
    return int(value) if isinstance(value, Integral) and not isinstance(value, bool) else -1
