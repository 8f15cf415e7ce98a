"""metrics.jsonl: what was measured in a run, a line each."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

from numbert.errors import InputError
from numbert.files.atomic import replacing


class Metrics:
    """metrics.jsonl: a JSON object in each line, in order of "step".

    A line about training has the means since the line before: "loss" and the task's other scores; of its step
    the "learning_rate", the "gradient_norm" before clipping and "gradient_norms" of each part of the model; and
    since the run began "tokens", "seconds", "data_seconds". A line about an evaluation has what the task gives.

    Args:
        path: the file; its lines about later steps than `step` are dropped, as these will be made again.
    """

    def __init__(self, path: Path, step: int) -> None:
        self.path = path
        kept = [line for line in read_metrics(path) if line["step"] <= step] if path.exists() else []
        with replacing(path.parent) as new:
            (new / path.name).write_text("".join(json.dumps(line) + "\n" for line in kept), encoding="utf-8")

    def write(self, **values: Any) -> None:
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(values) + "\n")


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """The lines of a metrics.jsonl. A last one that is broken is being written just now, and is left out.

    Raises:
        InputError: another line is not a JSON object with a step.
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
