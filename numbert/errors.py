"""What the caller got wrong. The command line turns these, and no other errors, into one line and exit code 2."""

from __future__ import annotations

import math
from numbers import Integral, Real
from typing import Any

import numpy as np


class InputError(ValueError):
    """A value that cannot be used; the message names the value and the limit."""


class NotYetError(InputError, NotImplementedError):
    """A part of BERT that the configuration can name and numbert does not have yet."""


def abridged(names: list[str], most: int = 5) -> str:
    """Names for a message: the first few, and how many more there are."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def shown(value: Any, most: int = 60) -> str:
    """A value for a message: its repr on one line, and no longer than that."""
    if isinstance(value, str):
        return repr(value if len(value) <= most else value[: most - 3] + "...")
    try:
        text = " ".join(line.strip() for line in repr(value).splitlines())  # an array's repr has many lines
    except Exception:  # whatever the repr of someone else's class raises; an int's, from 4,300 digits on
        return f"a {type(value).__name__} that cannot be shown"
    return text if len(text) <= most else text[: most - 3] + "..."


def as_integer(name: str, value: Any) -> int:
    """A Python or NumPy integer as an int.

    Raises:
        InputError: it is anything else, also 3.0 and True.
    """
    if not isinstance(value, Integral) or isinstance(value, bool):
        raise InputError(f"{name} is {shown(value)}; it must be an integer")
    return int(value)


def as_real(name: str, value: Any) -> float:
    """A Python or NumPy number as a float.

    Raises:
        InputError: it is anything else, also "3" and True, or an integer beyond the range of a float.
    """
    if not isinstance(value, Real) or isinstance(value, bool):
        raise InputError(f"{name} is {shown(value)}; it must be a number")
    try:
        return float(value)
    except OverflowError:
        raise InputError(f"{name} is {shown(value)}; it is too large for a number with a decimal point") from None


def as_bool(name: str, value: Any) -> bool:
    """True or False, Python's or NumPy's, as a bool.

    Raises:
        InputError: it is anything else, also 0 and "no".
    """
    if not isinstance(value, bool | np.bool_):
        raise InputError(f"{name} is {shown(value)}; it must be True or False")
    return bool(value)


def at_least(name: str, value: float, least: float) -> None:
    """Raises InputError where a number is below the least one, infinite or not a number."""
    if not least <= value < math.inf:
        raise InputError(f"{name} is {shown(value)}; it must be at least {least}")


def above(name: str, value: float, limit: float) -> None:
    """Raises InputError where a number is not above the limit, infinite or not a number."""
    if not limit < value < math.inf:
        raise InputError(f"{name} is {shown(value)}; it must be above {limit}")
