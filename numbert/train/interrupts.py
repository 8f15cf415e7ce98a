"""Ctrl-C and SIGTERM, noted rather than obeyed at once: so that a step is finished and saved first."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator
from types import FrameType


@contextlib.contextmanager
def noted_interrupts() -> Iterator[list[int]]:
    """Within it, the number of a SIGINT or SIGTERM is put into the list that it gives.

    A second one does not wait: it raises KeyboardInterrupt. Only the main thread gets signals; in another one the
    list stays empty.
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
