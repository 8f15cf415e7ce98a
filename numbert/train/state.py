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
        step: updates so far.
        position: of the task in its data, as `Task.position` gives it.
        tokens: learned from so far, as `Task.size` counts.
        seconds, data_seconds: the time of the steps so far, and what of it went into making batches.
        best_step, best_value: the best evaluation so far, as `Task.evaluate` gives it.
        generators: the state of each process's generator.
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
        """Raises OSError, ValueError, TypeError or KeyError where it is missing or broken."""
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
        """For the metrics."""
        return {"tokens": self.tokens, "seconds": self.seconds, "data_seconds": self.data_seconds}

    def write(self, path: Path) -> None:
        path.write_text(json.dumps(dataclasses.asdict(self), indent=2) + "\n", encoding="utf-8")
