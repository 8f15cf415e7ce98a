"""Errors for what the caller got wrong, and checks that raise them.

The command line turns these errors, and no others, into one line and exit code 2.
"""

from __future__ import annotations

import math
from numbers import Integral, Real
from typing import Any

import numpy as np


class InputError(ValueError):
    """A value that cannot be used; the message names the value and the limit."""


def abridged(names: list[str], most: int = 5) -> str:
    """Joins names for a message: the first `most` of them, and how many more there are."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def shown(value: Any, most: int = 60) -> str:
    """Shows a value in a message: its repr on one line, cut to at most `most` characters."""
    if isinstance(value, str):
        return repr(value if len(value) <= most else value[: most - 3] + "...")
    try:
        text = " ".join(line.strip() for line in repr(value).splitlines())  # an array's repr has many lines
    except Exception:  # whatever the repr of someone else's class raises; an int's, from 4,300 digits on
        return f"a {type(value).__name__} that cannot be shown"
    return text if len(text) <= most else text[: most - 3] + "..."


def as_integer(name: str, value: Any) -> int:
    """Converts a Python or NumPy integer to an int.

    Raises:
        InputError: the value is anything else; 3.0 and True are refused, too.
    """
    if not isinstance(value, Integral) or isinstance(value, bool):
        raise InputError(f"{name} is {shown(value)}; it must be an integer")
    return int(value)


def as_real(name: str, value: Any) -> float:
    """Converts a Python or NumPy number to a float.

    Raises:
        InputError: the value is anything else ("3" and True are refused, too), or an integer beyond the range of
            a float.
    """
    if not isinstance(value, Real) or isinstance(value, bool):
        raise InputError(f"{name} is {shown(value)}; it must be a number")
    try:
        return float(value)
    except OverflowError:
        raise InputError(f"{name} is {shown(value)}; it is too large for a number with a decimal point") from None


def as_bool(name: str, value: Any) -> bool:
    """Converts True or False, Python's or NumPy's, to a bool.

    Raises:
        InputError: the value is anything else; 0 and "no" are refused, too.
    """
    if not isinstance(value, bool | np.bool_):
        raise InputError(f"{name} is {shown(value)}; it must be True or False")
    return bool(value)


def at_least(name: str, value: float, least: float) -> None:
    """Raises InputError unless `least` <= value < infinity; NaN is refused, too."""
    if not least <= value < math.inf:
        raise InputError(f"{name} is {shown(value)}; it must be at least {least}")


def above(name: str, value: float, limit: float) -> None:
    """Raises InputError unless limit < value < infinity; NaN is refused, too."""
    if not limit < value < math.inf:
        raise InputError(f"{name} is {shown(value)}; it must be above {limit}")
