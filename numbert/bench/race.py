"""A race: several programs do the same work in turn, round by round, after their answers have been compared."""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import zip_longest
from typing import Any

import numpy as np

from numbert.nn.array import Array
from numbert.progress import to_terminal

# Seconds before each timed run, in which the threads of the library that ran before stop waiting for more work.
PAUSE = 0.1
# What float32 rounding may make of the same sums in another order, relative to the largest number of an array;
# and what it leaves of numbers that are 0 in exact arithmetic, such as the gradient of the keys' bias.
RELATIVE, ABSOLUTE = 2e-5, 1e-6

MATMUL = "np.matmul"


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
        gflop: the number of floating-point operations in the products that the answer needs, in 10^9, the same for
            all contestants; None if that says nothing.
        seconds: for each contestant, numbert first, the time of each round.
        differences: for each peer, the largest absolute difference of its answer from numbert's.
        absent: for each peer that could not run, the reason.
        matmul: the speed of np.matmul in float32 in each round, in GFLOP/s; empty if it was not measured.
        notes: what each ratio means, in one sentence each.
    """

    name: str
    about: str
    gflop: float | None
    seconds: dict[str, list[float]] = field(default_factory=dict)
    differences: dict[str, float] = field(default_factory=dict)
    absent: dict[str, str] = field(default_factory=dict)
    matmul: list[float] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def ratios(self, peer: str) -> list[float]:
        """Returns numbert's time divided by the peer's, for each round; below 1 numbert is faster."""
        return [ours / theirs for ours, theirs in zip(self.seconds["numbert"], self.seconds[peer], strict=True)]

    def gflops(self, name: str) -> float | None:
        """Returns the speed of a contestant in the median round, in GFLOP/s."""
        return None if self.gflop is None else self.gflop / statistics.median(self.seconds[name])

    def to_dict(self) -> dict[str, Any]:
        """Returns the measurements and the ratios as a dict that JSON can hold."""
        contestants = {
            name: {"seconds": seconds, "median_seconds": statistics.median(seconds)}
            | ({"gflops": self.gflops(name)} if self.gflop is not None else {})
            for name, seconds in self.seconds.items()
        }
        for peer, difference in self.differences.items():
            ratios = self.ratios(peer)
            contestants[peer] |= {
                "largest_difference": difference,
                "numbert_by_this": statistics.median(ratios),
                "numbert_by_this_in_each_round": ratios,
            }
        return {
            "name": self.name,
            "about": self.about,
            "gflop": self.gflop,
            "contestants": contestants,
            "absent": self.absent,
            "matmul_gflops": statistics.median(self.matmul) if self.matmul else None,
            "notes": self.notes,
        }

    def table(self) -> str:
        """Formats a line for each contestant, then lines on who was absent and what the ratios mean."""
        heads = ["", "seconds", "(min - max)"]
        heads += ["GFLOP/s"] if self.gflop is not None else []
        heads += ["numbert / this", "(min - max)", "largest difference"] if self.differences else []
        rows = [heads]
        for name, seconds in self.seconds.items():
            row = [name, f"{statistics.median(seconds):.4g}", f"({min(seconds):.4g} - {max(seconds):.4g})"]
            row += [f"{self.gflops(name):.1f}"] if self.gflop is not None else []
            if name in self.differences:
                ratios = self.ratios(name)
                row += [f"{statistics.median(ratios):.2f}", f"({min(ratios):.2f} - {max(ratios):.2f})"]
                row += [f"{self.differences[name]:.1e}"]
            rows.append(row)
        if self.matmul:
            rows.append([MATMUL, "", "", f"{statistics.median(self.matmul):.1f}"])
        lines = [f"{self.name}: {self.about}", *aligned(rows)]
        lines += [f"{name} is absent: {why}" for name, why in self.absent.items()]
        return "\n".join(lines + self.notes)


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


def hold(race: Race, contestants: Sequence[Contestant], rounds: int, progress: bool) -> Race:
    """Compares all answers with that of numbert, the first contestant; then times all in turn, and fills in race.

    Raises:
        RuntimeError: two answers differ by more than rounding.
    """
    ours, *peers = contestants
    answer = ours.answer()
    for peer in peers:
        race.differences[peer.name] = compare(peer.name, answer, peer.answer())
    del answer  # gradients as large as the model

    runs: dict[str, Callable[[], object]] = {one.name: one.run for one in contestants}
    if race.gflop is not None:
        runs[MATMUL] = matmul_run()
    race.seconds = in_turn(race.name, runs, rounds, progress)
    if race.gflop is not None:
        race.matmul = [MATMUL_GFLOP / seconds for seconds in race.seconds.pop(MATMUL)]
    return race


# The product to compare with: a batch of 1024 tokens through the first feed-forward layer of a base model.
_N, _E, _F = 1024, 768, 3072
_REPEATS = 5
MATMUL_GFLOP = 2e-9 * _N * _E * _F * _REPEATS


def matmul_run() -> Callable[[], object]:
    """Returns a function that does MATMUL_GFLOP of np.matmul in float32, [1024,768] @ [768,3072]."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((_N, _E), dtype=np.float32)
    w = rng.standard_normal((_E, _F), dtype=np.float32)
    out = np.empty((_N, _F), np.float32)

    def run() -> None:
        for _ in range(_REPEATS):
            np.matmul(x, w, out=out)

    return run
