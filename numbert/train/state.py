"""State: where a run is, besides the weights and the optimizer's moments."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self


@dataclass
class State:
    """What a checkpoint's state.json holds.

    Attributes:
        step: the number of updates so far.
        position: where the task is in its data, as `Task.position` gives it.
        tokens: how much was learned from so far, as `Task.size` counts.
        seconds: the time of the steps so far.
        data_seconds: the part of it that went into making batches.
        best_step, best_value: the step and the value of the best evaluation so far (see `Task.evaluate`).
        generators: the state of the random generator of each process.
    """

    step: int = 0
    position: dict[str, Any] = field(default_factory=dict)
    tokens: int = 0
    seconds: float = 0.0
    data_seconds: float = 0.0
    best_step: int | None = None
    best_value: float | None = None
    generators: list[dict[str, Any]] = field(default_factory=list)

    @classmethod
    def read(cls, path: Path) -> Self:
        """Reads a state.json.

        Raises:
            OSError, ValueError, TypeError, KeyError: it is missing or broken.
        """
        values = json.loads(path.read_text(encoding="utf-8"))
        if "best_loss" in values:  # as the first runs of format 1 call it
            values["best_value"] = values.pop("best_loss")
        state = cls(**values)
        if missing := [name for name in vars(state) if name not in values]:
            raise KeyError(", ".join(missing))
        if type(state.step) is not int or state.step < 0:
            raise ValueError(f"its step is {state.step!r}")
        return state

    def totals(self) -> dict[str, float]:
        """The totals that each line of the metrics has."""
        return {"tokens": self.tokens, "seconds": self.seconds, "data_seconds": self.data_seconds}

    def write(self, path: Path) -> None:
        """Writes a state.json."""
        path.write_text(json.dumps(dataclasses.asdict(self), indent=2) + "\n", encoding="utf-8")
