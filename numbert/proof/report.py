"""The report of a proof: a row for each tensor, and what is wrong."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

OK, FAILED = "ok", "FAILED"


class GradcheckError(AssertionError):
    """A backward is not the derivative of its forward. The message is the report; `error.report` has it, too."""

    def __init__(self, report: GradcheckReport) -> None:
        super().__init__(str(report))
        self.report = report


@dataclass
class TensorResult:
    """What a proof says of one tensor.

    Attributes:
        tensor: the parameter's dotted name, or "input NAME".
        shape: the tensor's shape.
        checked: how many entries were compared one by one. (A sum along a random direction compares all of them.)
        method: "complex step", "central differences", "Taylor slope", or two of them; "" if not checked.
        error: the largest relative error (see `gradcheck`); infinite if there is no number to compare.
        result: "ok", "FAILED", or "not checked: " and the reason.
        failure: if it FAILED, what is wrong: the worst entry, the two numbers, the likely cause.
    """

    tensor: str
    shape: tuple[int, ...]
    checked: int = 0
    method: str = ""
    error: float = 0.0
    result: str = OK
    failure: str = ""

    @property
    def size(self) -> int:
        """How many entries the tensor has."""
        return math.prod(self.shape)


@dataclass
class GradcheckReport:
    """What `gradcheck` found about one layer. `print(report)` shows it as a table.

    Attributes:
        layer: the class of the layer.
        rows: one for each floating input and each parameter.
        problems: what backward does wrong apart from numbers, such as changing its arguments.
        notes: what is good to know and not wrong.
        inside: if the layer is wrong, the reports of the innermost layers in it that are wrong by themselves, by
            dotted name.
    """

    layer: str
    rows: list[TensorResult] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    inside: dict[str, GradcheckReport] = field(default_factory=dict)

    @property
    def ok(self) -> bool:
        """Whether there is no problem and no row has FAILED."""
        return not self.problems and not self.failures

    @property
    def failures(self) -> list[TensorResult]:
        """The rows that have FAILED."""
        return [row for row in self.rows if row.result == FAILED]

    @property
    def worst(self) -> float:
        """The largest relative error of all rows; infinite if there are none because of a problem."""
        return max((row.error for row in self.rows), default=math.inf if self.problems else 0.0)

    def __str__(self) -> str:
        lines = [f"gradcheck of {self.layer}: {OK if self.ok else FAILED}"]
        table = [("tensor", "shape", "entries", "method", "worst error", "result")]
        for row in self.rows:
            checked = bool(row.method)
            table.append(
                (
                    row.tensor,
                    str(list(row.shape)),
                    f"{row.checked} of {row.size}" if checked else "",
                    row.method,
                    f"{row.error:.1e}" if checked else "",
                    row.result,
                )
            )
        widths = [max(len(cells[column]) for cells in table) for column in range(len(table[0]))]
        if self.rows:
            for cells in table:
                lines.append("  ".join(c.ljust(w) for c, w in zip(cells, widths, strict=True)).rstrip())
        for name, report in self.inside.items():
            lines.append(f"wrong by itself, and so the place to start: {name} ({report.layer})")
            lines += [f"    {line}" for line in report._failures()]
        lines += self._failures(most=3 if self.inside else None)
        lines += [f"note: {note}" for note in self.notes]
        return "\n".join(lines)

    def _failures(self, most: int | None = None) -> list[str]:
        lines = self.problems + [row.tensor + row.failure for row in self.failures]
        more = [f"... and {len(lines) - most} more"] if most is not None and len(lines) > most else []
        return [line for text in lines[:most] for line in f"{FAILED} {text}".split("\n")] + more
