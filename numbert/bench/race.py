"""A race: several programs do the same work in turn, round by round, after their answers have been compared."""

from __future__ import annotations

import contextlib
import math
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import zip_longest
from typing import Any

import numpy as np

from numbert.bench.processes import busy_core
from numbert.nn.array import Array
from numbert.progress import to_terminal

# Seconds before each timed run, in which the threads of the library that ran before stop waiting for more work.
PAUSE = 0.1
# What float32 rounding may make of the same sums in another order, relative to the largest number of an array;
# and what it leaves of numbers that are 0 in exact arithmetic, such as the gradient of the keys' bias.
RELATIVE, ABSOLUTE = 2e-5, 1e-6

GFLOP = "GFLOP"
PRODUCTS = "np.matmul, products alone"


class Absent(Exception):
    """A peer that cannot run here; the message is one line that says why, and how to install it."""


@dataclass
class Contestant:
    """One program in a race.

    Attributes:
        answer: a function that returns what the program computes, as arrays by name; every contestant of a race
            has the same names.
        run: the function that is timed.
    """

    name: str
    answer: Callable[[], Mapping[str, Array]]
    run: Callable[[], object]


@dataclass
class Race:
    """What a race measured.

    Attributes:
        name, about: its short name; what was computed, as a sentence.
        amount, unit: how much work the answer is, the same for all contestants, and what it is counted in: 10^9
            floating-point operations of the products ("GFLOP"), or tokens or texts; None if that says nothing.
        seconds: for each contestant, numbert first, the time of each round.
        differences: for each peer, the largest absolute difference of its answer from numbert's.
        absent: for each peer that could not run, the reason.
        forms: for a peer that runs in several forms, such as torch with both its attentions, their names.
        products: the seconds of np.matmul for the same products and nothing else in each round; empty if they were
            not measured.
        notes: what each ratio means, in one sentence each.
    """

    name: str
    about: str
    amount: float | None
    unit: str = GFLOP
    seconds: dict[str, list[float]] = field(default_factory=dict)
    differences: dict[str, float] = field(default_factory=dict)
    absent: dict[str, str] = field(default_factory=dict)
    forms: dict[str, list[str]] = field(default_factory=dict)
    products: list[float] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def faster(self, peer: str) -> str | None:
        """Returns which form of a peer has the smallest median time over all rounds; None if it is absent."""
        forms = [form for form in self.forms.get(peer, [peer]) if form in self.seconds]
        return min(forms, key=lambda form: statistics.median(self.seconds[form]), default=None)

    def ratios(self, peer: str) -> list[float]:
        """Returns numbert's time divided by the peer's in the same round; below 1 numbert is faster."""
        return _ratios(self.seconds["numbert"], self.seconds[peer])

    def by_products(self) -> list[float]:
        """Returns numbert's time divided by that of the products in the same round; empty if there is none."""
        return _ratios(self.seconds["numbert"], self.products) if self.products else []

    def speed(self, seconds: Sequence[float]) -> float | None:
        """Returns the amount of work in a second in the median round."""
        return None if self.amount is None else self.amount / statistics.median(seconds)

    def to_dict(self) -> dict[str, Any]:
        """Returns the measurements and the ratios as a dict that JSON can hold."""

        per_second = "gflops" if self.unit == GFLOP else f"{self.unit}_per_second"

        def timed(seconds: list[float]) -> dict[str, Any]:
            values: dict[str, Any] = {"seconds": seconds, "median_seconds": statistics.median(seconds)}
            return values if self.amount is None else values | {per_second: self.speed(seconds)}

        def compared(ratios: list[float]) -> dict[str, Any]:
            return {"numbert_by_this": statistics.median(ratios), "numbert_by_this_in_each_round": ratios}

        contestants = {name: timed(seconds) for name, seconds in self.seconds.items()}
        for peer, difference in self.differences.items():
            contestants[peer] |= {"largest_difference": difference, **compared(self.ratios(peer))}
        products = timed(self.products) | compared(self.by_products()) if self.products else None
        return {
            "name": self.name,
            "about": self.about,
            self.unit.lower(): self.amount,
            "contestants": contestants,
            "faster": {
                peer: {"contestant": form, **compared(self.ratios(form))}
                for peer in self.forms
                if (form := self.faster(peer)) is not None
            },
            "products": products,
            "absent": self.absent,
            "notes": self.notes,
        }

    def table(self) -> str:
        """Formats a line for each contestant, then lines on who was absent and what the ratios mean."""
        heads = ["", "seconds", "(min - max)"]
        heads += [] if self.amount is None else [f"{self.unit}/s"]
        heads += ["numbert / this", "(min - max)"] if self.differences or self.products else []
        heads += ["largest difference"] if self.differences else []
        rows = [heads]

        def add(name: str, seconds: list[float], ratios: list[float] | None, difference: float | None) -> None:
            row = [name, f"{statistics.median(seconds):.4g}", spread(seconds, 4)]
            row += [] if self.amount is None else [f"{self.speed(seconds):.1f}"]
            row += [] if ratios is None else [f"{statistics.median(ratios):.2f}", spread(ratios)]
            rows.append(row if difference is None else [*row, f"{difference:.1e}"])

        for name, seconds in self.seconds.items():
            difference = self.differences.get(name)
            add(name, seconds, None if difference is None else self.ratios(name), difference)
        if self.products:
            add(PRODUCTS, self.products, self.by_products(), None)
        lines = [f"{self.name}: {self.about}", *aligned(rows)]
        for peer in self.forms:
            if (form := self.faster(peer)) is not None:
                ratios = self.ratios(form)
                lines.append(
                    f"numbert / the faster {peer} ({form}, by its median): "
                    f"{statistics.median(ratios):.2f} {spread(ratios)}"
                )
        lines += [f"{name} is absent: {why}" for name, why in self.absent.items()]
        return "\n".join(lines + self.notes)


def _ratios(ours: Sequence[float], theirs: Sequence[float]) -> list[float]:
    return [one / other for one, other in zip(ours, theirs, strict=True)]


def spread(values: Sequence[float], digits: int = 0) -> str:
    """Returns the least and the largest of some values in brackets.

    Args:
        digits: how many digits that count; 0 means two digits after the point.
    """
    form = f".{digits}g" if digits else ".2f"
    return f"({min(values):{form}} - {max(values):{form}})"


def aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    """Makes a line of each row, the first column flush left, the others flush right. Rows may be short."""
    widths = [max(map(len, column)) for column in zip_longest(*rows, fillvalue="")]
    return [
        "  ".join(
            cell.ljust(width) if place == 0 else cell.rjust(width)
            for place, (cell, width) in enumerate(zip(row, widths, strict=False))
        ).rstrip()
        for row in rows
    ]


def compare(peer: str, ours: Mapping[str, Array], theirs: Mapping[str, Array]) -> float:
    """Returns the largest absolute difference between two answers.

    Raises:
        RuntimeError: names are missing, or an array differs by more than float32 rounding allows.
    """
    if set(ours) != set(theirs):
        raise RuntimeError(f"numbert and {peer} do not answer alike: {sorted(set(ours) ^ set(theirs))[:5]}")
    largest = 0.0
    for name, array in ours.items():
        difference = float(np.abs(array - theirs[name]).max())
        limit = RELATIVE * float(np.abs(theirs[name]).max()) + ABSOLUTE
        if not difference <= limit < math.inf:
            raise RuntimeError(
                f"{name} differs by {difference:.1e} between numbert and {peer}; "
                f"float32 rounding allows {limit:.1e}, so one of the two is wrong and no time would mean anything"
            )
        largest = max(largest, difference)
    return largest


def in_turn(
    name: str, runs: Mapping[str, Callable[[], object]], rounds: int, progress: bool = False
) -> dict[str, list[float]]:
    """Runs all in turn, round by round; returns the seconds of each in each round, without a first round.

    Args:
        name: how the bar on stderr calls the race.
        progress: whether to show that bar.
    """
    from tqdm import tqdm

    seconds: dict[str, list[float]] = {name: [] for name in runs}
    hidden = not (progress and to_terminal())
    with tqdm(total=(rounds + 1) * len(runs), unit=" runs", disable=hidden, leave=False) as bar:
        for number in range(rounds + 1):
            for contestant, run in runs.items():
                bar.set_description(f"{name}: {contestant}")
                time.sleep(PAUSE)
                start = time.perf_counter()
                run()
                if number > 0:
                    seconds[contestant].append(time.perf_counter() - start)
                bar.update()
    return seconds


def hold(
    race: Race,
    contestants: Sequence[Contestant],
    rounds: int,
    progress: bool,
    products: Callable[[], object] | None = None,
    busy: bool = False,
) -> Race:
    """Compares all answers with that of numbert, the first contestant; then times all in turn, and fills in race.

    Args:
        products: a function that does the products of the same work and nothing else, to be timed in turn, too.
        busy: whether another process keeps a core busy while all are timed.

    Raises:
        RuntimeError: two answers differ by more than rounding.
    """
    ours, *peers = contestants
    answer = ours.answer()
    for peer in peers:
        race.differences[peer.name] = compare(peer.name, answer, peer.answer())
    del answer  # gradients as large as the model

    runs: dict[str, Callable[[], object]] = {one.name: one.run for one in contestants}
    if products is not None:
        runs[PRODUCTS] = products
    with busy_core() if busy else contextlib.nullcontext():
        race.seconds = in_turn(race.name, runs, rounds, progress)
    race.products = race.seconds.pop(PRODUCTS, [])
    return race
