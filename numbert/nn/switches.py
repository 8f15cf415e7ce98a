"""The switches of a thread.

They decide whether forward remembers, whether backward uses up what forward saved, and whether weights are drawn.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from contextvars import ContextVar

_remembering: ContextVar[bool] = ContextVar("remembering", default=True)
_to_run_again: ContextVar[bool] = ContextVar("to_run_again", default=False)
_keeping: ContextVar[bool] = ContextVar("keeping", default=False)
_drawing: ContextVar[bool] = ContextVar("drawing", default=True)


def no_grad() -> contextlib.AbstractContextManager[None]:
    """Returns a context manager within which forward remembers nothing for backward. Nothing else changes.

    Results may be rounded otherwise: what no backward needs can be computed in a faster form (see `inferring`).
    The switch holds for the thread that enters it. A model under `no_grad()` writes nothing into its layers, so
    one model can serve many threads at once.
    """
    return _set(_remembering, False)


def keep_saved() -> contextlib.AbstractContextManager[None]:
    """Returns a context manager within which backward does not use up what forward saved.

    So one forward serves several backwards. The switch holds for the thread that enters it. Gradients add up over
    the backwards, as always. The first backward after the block uses up what forward saved.
    """
    return _set(_keeping, True)


def uninitialized() -> contextlib.AbstractContextManager[None]:
    """Returns a context manager within which new parameters are reserved but not filled.

    It is for a model whose weights come from a file. The switch holds for the thread that enters it.
    """
    return _set(_drawing, False)


@contextlib.contextmanager
def to_run_again() -> Iterator[None]:
    """Within it forward remembers nothing, but computes bit for bit as if it did: backward will run it again."""
    with _set(_remembering, False), _set(_to_run_again, True):
        yield


def remembering() -> bool:
    """Returns whether forward remembers: False within `no_grad()`."""
    return _remembering.get()


def inferring() -> bool:
    """Returns whether no backward will need what forward computes, so that it may be computed in another form."""
    return not (_remembering.get() or _to_run_again.get())


def keeping_saved() -> bool:
    """Returns whether backward keeps what forward saved: True within `keep_saved()`."""
    return _keeping.get()


def drawing() -> bool:
    """Returns whether new parameters get their initial values: False within `uninitialized()`."""
    return _drawing.get()


@contextlib.contextmanager
def _set(switch: ContextVar[bool], value: bool) -> Iterator[None]:
    token = switch.set(value)
    try:
        yield
    finally:
        switch.reset(token)
