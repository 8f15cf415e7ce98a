"""Timing forward and backward with relative positions beside those with absolute ones."""

from __future__ import annotations

import dataclasses
import statistics
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

from numbert.bench.race import aligned, in_turn
from numbert.bench.workloads import Workload, forward_and_backward
from numbert.bert.tasks.pretraining import BertForPreTraining
from numbert.config import BertConfig

KINDS = ("absolute", "relative_key", "relative_key_query")


@dataclass
class Positions:
    """The times of each kind of positions.

    Attributes:
        about: what was computed, as a sentence.
        seconds: for each kind, absolute first, the time of forward and backward in each round.
    """

    about: str
    seconds: dict[str, list[float]]

    def ratios(self, kind: str) -> list[float]:
        """Returns the kind's time divided by that of absolute positions, for each round."""
        return [one / absolute for one, absolute in zip(self.seconds[kind], self.seconds["absolute"], strict=True)]

    def to_dict(self) -> dict[str, Any]:
        """Returns the measurements and the ratios as a dict that JSON can hold."""
        kinds = {
            kind: {"seconds": seconds, "by_absolute": statistics.median(self.ratios(kind))}
            for kind, seconds in self.seconds.items()
        }
        return {"about": self.about, "kinds": kinds}

    def table(self) -> str:
        """Formats a line for each kind."""
        rows = [["", "seconds", "(min - max)", "this / absolute", "(min - max)"]]
        for kind, seconds in self.seconds.items():
            row = [kind, f"{statistics.median(seconds):.4g}", f"({min(seconds):.4g} - {max(seconds):.4g})"]
            if kind != "absolute":
                ratios = self.ratios(kind)
                row += [f"{statistics.median(ratios):.2f}", f"({min(ratios):.2f} - {max(ratios):.2f})"]
            rows.append(row)
        return "\n".join([f"positions: {self.about}", *aligned(rows)])


def time_positions(
    about: str, config: BertConfig, workload: Workload, rounds: int, seed: int, progress: bool = False
) -> Positions:
    """Times forward and backward of BertForPreTraining in train() with each kind of positions, in turn.

    Args:
        about: what is computed, for the table.
    """

    def run(model: BertForPreTraining) -> None:
        forward_and_backward(model, workload)
        model.zero_grad()

    runs: dict[str, Callable[[], object]] = {}
    for kind in KINDS:
        model = BertForPreTraining(dataclasses.replace(config, position_embedding_type=kind), seed=seed).train()
        runs[kind] = partial(run, model)
    return Positions(about, in_turn("positions", runs, rounds, progress))
