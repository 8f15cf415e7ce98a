"""What is shown on stderr while a model trains: a bar on a terminal, else a line now and then."""

from __future__ import annotations

import sys
import time
from collections import deque
from typing import Any

from tqdm import tqdm

from numbert.pretrain.evaluation import Scores

SECONDS_BETWEEN_LINES = 10.0
# What is shown is the mean of this many steps: one batch says little.
AVERAGED = 50


class Progress:
    """Messages and the state of training, or nothing at all where `shown` is False.

    Attributes:
        done: the steps so far.
        tokens: how many were trained on so far.
        first_loss: that of the first step.
        seconds: the time from start to stop.
    """

    def __init__(self, shown: bool) -> None:
        self.shown = shown
        self.done = self.tokens = 0
        self.first_loss = self.seconds = 0.0
        self._latest: deque[Scores] = deque(maxlen=AVERAGED)
        self._bar: tqdm[Any] | None = None

    def say(self, message: str) -> None:
        if self.shown:
            tqdm.write(message, file=sys.stderr)

    def start(self, steps: int) -> None:
        self._steps = steps
        self._started = self._last_line = time.monotonic()
        if self.shown and sys.stderr.isatty():
            self._bar = tqdm(total=steps, unit="step", file=sys.stderr, dynamic_ncols=True)

    def step(self, scores: Scores, tokens: int) -> None:
        """Takes note of one step and shows it, where it is time to."""
        if self.done == 0:
            self.first_loss = scores.loss
        self._latest.append(scores)
        self.done += 1
        self.tokens += tokens
        now = time.monotonic()
        if self._bar is not None:
            if now - self._last_line > self._bar.mininterval:
                self._bar.set_postfix_str(self._state(), refresh=False)
                self._last_line = now
            self._bar.update()
        elif self.shown and (now - self._last_line > SECONDS_BETWEEN_LINES or self.done == self._steps):
            left = (self._steps - self.done) * (now - self._started) / self.done
            self.say(f"step {self.done:,} of {self._steps:,}: {self._state()}, {left:.0f} s left")
            self._last_line = now

    def stop(self) -> None:
        self.seconds = max(1e-9, time.monotonic() - self._started)
        if self._bar is not None:
            self._bar.close()

    @property
    def loss(self) -> float:
        """The mean of the latest steps."""
        return sum(scores.loss for scores in self._latest) / len(self._latest)

    def _state(self) -> str:
        count = len(self._latest)
        mlm = sum(scores.mlm_accuracy for scores in self._latest) / count
        nsp = sum(scores.nsp_accuracy for scores in self._latest) / count
        speed = self.tokens / max(1e-9, time.monotonic() - self._started)
        return f"loss {self.loss:.3f}, MLM {mlm:.1%}, NSP {nsp:.1%}, {speed:,.0f} tokens/s"
