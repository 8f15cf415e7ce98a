"""Ctrl-C and SIGTERM are noted and not obeyed at once, so that a step is finished and saved first."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator
from types import FrameType


@contextlib.contextmanager
def noted_interrupts() -> Iterator[list[int]]:
    """Notes signals within a `with`: it gives a list, to which the number of a SIGINT or SIGTERM is added.

    A second signal raises KeyboardInterrupt at once. Only the main thread gets signals; in another thread the list
    stays empty.
    """
    arrived: list[int] = []
    if threading.current_thread() is not threading.main_thread():
        yield arrived
        return

    def note(number: int, frame: FrameType | None) -> None:
        if arrived:
            raise KeyboardInterrupt
        arrived.append(number)

    before = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield arrived
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
