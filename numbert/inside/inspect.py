"""What is in a model folder, and which parameter each of its names becomes: `numbert inspect FOLDER`."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from numbert.bert.pretrained import BertPreTrainedModel
from numbert.bert.tasks import registry
from numbert.config import BertConfig
from numbert.files.names import NameMatch, advice, match_names, what_is_new
from numbert.files.tokenizer import tokenizer_notes
from numbert.files.weights import StoredWeights
from numbert.nn.switches import uninitialized

# What a file calls its types, as NumPy (and, for the last, PyTorch) calls them.
DTYPE_NAMES = {"F64": "float64", "F32": "float32", "F16": "float16", "BF16": "bfloat16"}


@dataclass(frozen=True)
class Inspection:
    """What `inspect` finds. `print` shows it as a table.

    Attributes:
        folder: the model folder.
        architecture: the class that config.json names, or None.
        model: the class whose parameters the rows show: the one that was asked for, else the one in config.json if
            numbert has it, else BertModel.
        parameters: how many numbers that model learns.
        dtype: the dtype of the arrays that the model would read, such as "float32".
        counts: how many rows have each status; "new" is there only if there are any.
        advice: what to try if parameters are missing, what is drawn anew if the file has no head, or "".
        rows: one for each name, as `match_names` returns them.
        tokenizer: a line for each point in which the tokenizer's files disagree, or why they cannot be read.
    """

    folder: str
    architecture: str | None
    model: str
    parameters: int
    dtype: str
    counts: dict[str, int]
    advice: str
    rows: list[NameMatch]
    tokenizer: list[str]

    def to_dict(self) -> dict[str, Any]:
        """Returns the fields as a dict that JSON can hold."""
        return asdict(self)

    def __str__(self) -> str:
        """Returns a row for each name, a line of sums, the advice, and the notes on the tokenizer."""
        cells = [("in the file", f"in {self.model}", "shape", "")]
        cells += [(row.name or "-", row.parameter or "-", _shape(row), row.status) for row in self.rows]
        widths = [max(len(line[column]) for line in cells) for column in range(3)]
        lines = ["  ".join((*map(str.ljust, line, widths), line[3])).rstrip() for line in cells]
        if self.architecture not in (None, self.model, *(cls.__name__ for cls in registry.MODELS)):
            lines.insert(0, f"numbert has no {self.architecture}, which config.json names; as {self.model}:")
        # Nothing is said of a mismatch where there is none.
        counts = [f"{n} {status}" for status, n in self.counts.items() if n or status != "mismatched"]
        lines.append(f"{', '.join(counts)}; {self.parameters:,} parameters; {self.dtype}")
        return "\n".join([*lines, *([self.advice] if self.advice else []), *self.tokenizer])


def inspect(folder: str | Path, model_class: type[BertPreTrainedModel] | None = None) -> Inspection:
    """Matches the names in a model folder with those of a model. It reads the headers and no weights.

    Args:
        model_class: the class of the model; default the one that config.json names, or BertModel.

    Raises:
        InputError: a file is missing or broken. (A parameter that is missing or has another shape becomes a row.)
    """
    weights = StoredWeights(folder)
    config = BertConfig.from_file(Path(folder) / "config.json")
    named = config.architectures[0] if config.architectures else None
    cls = model_class or next((cls for cls in registry.MODELS if cls.__name__ == named), registry.BertModel)
    with uninitialized():
        model = cls(config)  # type: ignore[call-arg]  # seed and dtype have defaults
    rows = match_names(model, weights.tensors, weights.folder)
    counts = Counter(row.status for row in rows)
    dtypes = {weights.tensors[row.name].dtype for row in rows if row.name and row.parameter}
    return Inspection(
        folder=str(folder),
        architecture=named,
        model=type(model).__name__,
        parameters=model.num_parameters(),
        dtype=" and ".join(sorted(DTYPE_NAMES.get(dtype, dtype) for dtype in dtypes)),
        counts={status: counts[status] for status in ("used", "tied", "ignored", "missing", "mismatched")}
        | ({"new": counts["new"]} if counts["new"] else {}),
        advice=advice(model, rows) or what_is_new(model, rows),
        rows=rows,
        tokenizer=tokenizer_notes(folder),
    )


def _shape(row: NameMatch) -> str:
    wanted = f", not {list(row.model_shape)}" if row.status == "mismatched" else ""
    return f"{list(row.shape)}{wanted}"
