"""Workspaces: memory that is used again, because the system takes long to provide fresh memory.

A page of memory is provided when it is first written to: that takes about as long as computing it, and a forward
of a base model touches tens of thousands. Within `workspace()` the functions of `numbert.nn.functional` make
their results in memory of results before, as soon as nobody refers to these any more.
"""

from __future__ import annotations

import contextlib
import math
import threading
import weakref
from collections.abc import Iterator
from contextvars import ContextVar
from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from numbert.nn.array import Array

# Arrays below this many bytes come from NumPy as ever: the C library uses their memory again by itself.
SMALLEST = 32_768


class Storage(np.ndarray[Any, np.dtype[np.uint8]]):
    """Memory for one array at a time. The type matters: NumPy makes the base of a view the first array of its own.

    So what all its views keep alive is the array that the memory was lent to, and not the memory itself.
    """


class Workspace:
    """Pieces of memory, each lent to one array at a time. It serves the thread that made it."""

    def __init__(self) -> None:
        self.thread = threading.get_ident()
        # By their size: the pieces, each with a reference to its array that does not keep the array alive.
        self.pieces: dict[int, list[tuple[Storage, weakref.ref[Array]]]] = {}

    def empty(self, shape: tuple[int, ...], dtype: np.dtype[np.generic]) -> Array:
        """Returns an array whose memory no other array uses. Its numbers are whatever was there."""
        needed = math.prod(shape) * dtype.itemsize
        step = 1 << (needed.bit_length() - 3)  # pieces are up to a quarter larger, so that they fit more often
        size = -(-needed // step) * step
        pieces = self.pieces.pop(size, [])  # a signal's handler that comes in between finds none of them
        free = next((place for place, (_, lent) in enumerate(pieces) if lent() is None), len(pieces))
        memory = pieces[free][0] if free < len(pieces) else Storage(size, np.uint8)
        array = np.ndarray(shape, dtype, memory)
        pieces[free : free + 1] = [(memory, weakref.ref(array))]
        self.pieces[size] = pieces
        return array


_current: ContextVar[Workspace | None] = ContextVar("workspace", default=None)


@contextlib.contextmanager
def workspace() -> Iterator[None]:
    """Within it this thread uses the memory of its results again. What is still referred to is never touched.

    With the end of the block the memory is given back, but for what is still referred to.
    """
    token = _current.set(Workspace())
    try:
        yield
    finally:
        _current.reset(token)


def empty(shape: tuple[int, ...], dtype: DTypeLike) -> Array:
    """Returns an array like `np.empty`; within `workspace()` in memory that was used before."""
    dtype = np.dtype(dtype)
    here = _here()
    if here is None or math.prod(shape) * dtype.itemsize < SMALLEST:
        return np.empty(shape, dtype)
    return here.empty(shape, dtype)


def _here() -> Workspace | None:
    current = _current.get()
    return current if current is not None and current.thread == threading.get_ident() else None
