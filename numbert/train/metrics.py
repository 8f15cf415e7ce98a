"""metrics.jsonl: what was measured in a run."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

from numbert.errors import InputError
from numbert.files.atomic import replacing


class Metrics:
    """Writes metrics.jsonl: a JSON object in each line, in the order of "step".

    A line about training has "loss" and the task's other scores, as means over the steps since the line before;
    "learning_rate", "gradient_norm" (before clipping) and "gradient_norms" (of each part of the model) of its own
    step; and "tokens", "seconds" and "data_seconds" since the run began. A line about an evaluation has what
    `Task.evaluate` gives.

    Args:
        path: the file.
        step: where the run goes on; lines about later steps are removed, as these steps are made again.
    """

    def __init__(self, path: Path, step: int) -> None:
        self.path = path
        kept = [line for line in read_metrics(path) if line["step"] <= step] if path.exists() else []
        with replacing(path.parent) as new:
            (new / path.name).write_text("".join(json.dumps(line) + "\n" for line in kept), encoding="utf-8")

    def write(self, **values: Any) -> None:
        """Adds a line with these values."""
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(values) + "\n")


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """The lines of a metrics.jsonl as dicts. A broken last line is left out: it may be still being written.

    Raises:
        InputError: another line is not a JSON object with a step.
        OSError: the file is missing or cannot be read.
    """
    lines = [(i, line) for i, line in enumerate(path.read_bytes().split(b"\n"), start=1) if line.strip()]
    metrics = []
    for number, line in lines:
        try:
            values = json.loads(line)
            wrong = None if math.isfinite(values["step"]) else f"its step is {values['step']!r}"
        except ValueError as error:  # not JSON, or not UTF-8
            wrong = str(error)
        except (KeyError, TypeError, IndexError):
            wrong = 'it is not an object with a "step"'
        if wrong is None:
            metrics.append(values)
        elif number != lines[-1][0]:
            raise InputError(f"{path}, line {number} is broken: {wrong}")
    return metrics
