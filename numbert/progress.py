"""What is shown on stderr while something takes long: a bar on a terminal, else a line now and then.

stderr may be missing (`2>&-`, pythonw), full, closed, of a narrow encoding, or an object of the user's that has
`write` and no more. The work goes on in each case, and no message ends on stdout.
"""

from __future__ import annotations

import contextlib
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tqdm import tqdm  # imported only to draw: it takes a tenth of the time in which `numbert embed` starts

SECONDS_BETWEEN_LINES = 10.0
# What is shown is the mean of this many steps: one batch says little.
AVERAGED = 50


def to_terminal() -> bool:
    """Whether stderr is a terminal, where a bar can be drawn."""
    try:
        return sys.stderr.isatty()
    except (AttributeError, ValueError):  # there is none, or it only writes; it is closed
        return False


def say(message: str) -> None:
    """Writes a line to stderr, or nowhere if it cannot be written; what stderr's encoding lacks, as "\\u0416"."""
    with contextlib.suppress(AttributeError, OSError, ValueError):  # there is none; it is full; it is closed
        try:
            sys.stderr.write(f"{message}\n")
        except UnicodeEncodeError as error:
            readable = message.encode(error.encoding, "backslashreplace").decode(error.encoding)
            sys.stderr.write(f"{readable}\n")
        sys.stderr.flush()


@contextlib.contextmanager
def bar(shown: bool, total: int | None, unit: str, **options: Any) -> Iterator[Callable[[int], Any]]:
    """Gives a function that is told how much more was done; its bar stands on stderr until the end.

    Args:
        shown: whether there is a bar; where stderr is missing or only writes, there is none.
        total: how much there is to do, or None where nobody knows.
        options: tqdm's.
    """
    if not shown or not hasattr(sys.stderr, "isatty"):
        yield lambda done: None
        return
    from tqdm import tqdm

    with tqdm(total=total, unit=unit, leave=False, file=sys.stderr, **options) as drawn:
        yield drawn.update


class Progress:
    """Messages and the state of training, or nothing at all where `shown` is False.

    Attributes:
        done: the steps so far, with those before a resumed run was interrupted.
    """

    def __init__(self, shown: bool) -> None:
        self.shown = shown
        self.done = self._begun = self._size = 0
        self._latest: deque[Mapping[str, float]] = deque(maxlen=AVERAGED)
        self._bar: tqdm[Any] | None = None

    def say(self, message: str) -> None:
        if self.shown:
            from tqdm import tqdm

            with tqdm.external_write_mode(file=sys.stderr):  # above the bar, if there is one
                say(message)

    def bar(
        self, what: str, total: int | None, unit: str
    ) -> contextlib.AbstractContextManager[Callable[[int], Any]]:
        """Gives a function that is told how much more was done; its bar is there only while it takes long."""
        return bar(self.shown and to_terminal(), total, unit, desc=what, unit_scale=True, delay=1.0)

    def start(self, steps: int, done: int, words: Callable[[Mapping[str, float]], str], unit: str) -> None:
        """Begins to show steps.

        Args:
            steps: of them all, `done` were there before.
            words: says what scores are, in a few words.
            unit: what a step learns from, such as "tokens".
        """
        self._steps, self.done, self._begun = steps, done, done
        self._words, self._unit = words, unit
        self._started = self._last_line = time.monotonic()
        if self.shown and to_terminal():
            from tqdm import tqdm

            self._bar = tqdm(total=steps, initial=done, unit="step", file=sys.stderr, dynamic_ncols=True)

    def step(self, scores: Mapping[str, float], size: int) -> None:
        """Takes note of one step and shows it, where it is time to.

        Args:
            scores: the same names in every step.
            size: how much it learned from, in the unit.
        """
        self._latest.append(scores)
        self.done += 1
        self._size += size
        now = time.monotonic()
        if self._bar is not None:
            if now - self._last_line > self._bar.mininterval:
                self._bar.set_postfix_str(self._state(), refresh=False)
                self._last_line = now
            self._bar.update()
        elif self.shown and (now - self._last_line > SECONDS_BETWEEN_LINES or self.done == self._steps):
            left = (self._steps - self.done) * (now - self._started) / (self.done - self._begun)
            self.say(f"step {self.done:,} of {self._steps:,}: {self._state()}, {left:.0f} s left")
            self._last_line = now

    def stop(self) -> None:
        if self._bar is not None:
            self._bar.close()
            self._bar = None

    def _state(self) -> str:
        latest = self._latest
        means = {name: sum(scores[name] for scores in latest) / len(latest) for name in latest[-1]}
        speed = self._size / max(1e-9, time.monotonic() - self._started)
        return f"{self._words(means)}, {speed:,.0f} {self._unit}/s"
