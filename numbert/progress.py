"""Progress on stderr while something takes long: a bar on a terminal, elsewhere a line every ten seconds.

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
    """Writes a line to stderr, or nowhere if it cannot be written.

    A character that stderr's encoding lacks is written as its escape, such as "\\u0416".
    """
    with contextlib.suppress(AttributeError, OSError, ValueError):  # there is none; it is full; it is closed
        try:
            sys.stderr.write(f"{message}\n")
        except UnicodeEncodeError as error:
            readable = message.encode(error.encoding, "backslashreplace").decode(error.encoding)
            sys.stderr.write(f"{readable}\n")
        sys.stderr.flush()


@contextlib.contextmanager
def bar(shown: bool, total: int | None, unit: str, **options: Any) -> Iterator[Callable[[int], Any]]:
    """Shows a bar on stderr within a `with`. It gives the function that moves the bar, by what was done since.

    Args:
        shown: whether to show a bar; where stderr is missing or has only `write`, there is none.
        total: how much there is to do, or None where that is unknown.
        unit: what is counted.
        options: further arguments of tqdm.
    """
    if not shown or not hasattr(sys.stderr, "isatty"):
        yield lambda done: None
        return
    from tqdm import tqdm

    with tqdm(total=total, unit=unit, leave=False, file=sys.stderr, **options) as drawn:
        yield drawn.update


class Progress:
    """Shows messages and the state of training on stderr, or nothing at all where `shown` is False.

    Attributes:
        done: how many steps are done, including those before a run was resumed.
    """

    def __init__(self, shown: bool) -> None:
        self.shown = shown
        self.done = self._begun = self._size = 0
        self._latest: deque[Mapping[str, float]] = deque(maxlen=AVERAGED)
        self._bar: tqdm[Any] | None = None

    def say(self, message: str) -> None:
        """Writes a line above the bar."""
        if self.shown:
            from tqdm import tqdm

            with tqdm.external_write_mode(file=sys.stderr):
                say(message)

    def bar(
        self, what: str, total: int | None, unit: str
    ) -> contextlib.AbstractContextManager[Callable[[int], Any]]:
        """Like the function `bar`, but the bar appears only after a second, and only on a terminal."""
        return bar(self.shown and to_terminal(), total, unit, desc=what, unit_scale=True, delay=1.0)

    def start(self, steps: int, done: int, words: Callable[[Mapping[str, float]], str], unit: str) -> None:
        """Begins to show steps.

        Args:
            steps: how many steps there are in all.
            done: how many of them are done already.
            words: writes scores as a short text.
            unit: what the size of a step counts, such as "tokens".
        """
        self._steps, self.done, self._begun = steps, done, done
        self._words, self._unit = words, unit
        self._started = self._last_line = time.monotonic()
        if self.shown and to_terminal():
            from tqdm import tqdm

            self._bar = tqdm(total=steps, initial=done, unit="step", file=sys.stderr, dynamic_ncols=True)

    def step(self, scores: Mapping[str, float], size: int) -> None:
        """Counts one step and shows the state: in the bar, or in a line every ten seconds.

        Args:
            scores: the scores of the step by name, the same names in every step.
            size: how much the step learned from, in the unit.
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
        """Closes the bar; its last state stays on the terminal."""
        if self._bar is not None:
            self._bar.close()
            self._bar = None

    def _state(self) -> str:
        latest = self._latest
        means = {name: sum(scores[name] for scores in latest) / len(latest) for name in latest[-1]}
        speed = self._size / max(1e-9, time.monotonic() - self._started)
        return f"{self._words(means)}, {speed:,.0f} {self._unit}/s"
