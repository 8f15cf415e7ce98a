"""The models that are at hand, with their sizes: `numbert models`."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from numbert.config import BertConfig
from numbert.errors import InputError
from numbert.files.shipped import shipped_models
from numbert.files.weights import INDEX, WEIGHTS, StoredWeights
from numbert.inside.inspect import inspect
from numbert.progress import say


@dataclass(frozen=True)
class ModelAtHand:
    """A model in a folder.

    Attributes:
        name: what `--model` takes for it.
        folder: its folder.
        ships: whether it comes with numbert.
        architecture: the class that config.json names, or that of numbert which fits.
        layers, hidden_size, vocab_size, positions: n, e, v, and the longest text in tokens.
        parameters: how many numbers it learns.
        dtype: the dtype of its weights on disk, such as "float16".
        size: of the files of its weights, in bytes.
    """

    name: str
    folder: str
    ships: bool
    architecture: str
    layers: int
    hidden_size: int
    vocab_size: int
    positions: int
    parameters: int
    dtype: str
    size: int

    def to_dict(self) -> dict[str, Any]:
        """Returns the fields as a dict that JSON can hold."""
        return asdict(self)


def models(folders: Iterable[str | Path] = (Path(),)) -> list[ModelAtHand]:
    """Finds the models that come with numbert, and those that a download or a training left in some folders.

    Only headers are read. A line on stderr names a folder with weights that numbert cannot use.

    Args:
        folders: each is looked at, and the folders directly in it.

    Raises:
        InputError: a folder does not exist.
    """
    shipped = shipped_models()
    rows = [
        _described(name if not Path(name).is_dir() else str(path), path, True) for name, path in shipped.items()
    ]
    for folder in map(Path, folders):
        if not folder.is_dir():
            raise InputError(f"{folder} is no folder; models are looked for in folders")
        for path in (folder, *sorted(path for path in folder.iterdir() if path.is_dir())):
            if not any((path / file).exists() for file in (WEIGHTS, INDEX)):
                continue
            name = str(path)
            try:
                rows.append(_described(f"./{name}" if name in shipped else name, path, False))
            except InputError as error:
                say(f"{path} cannot be used: {error}".replace("\n", " "))
    return rows


def models_table(rows: list[ModelAtHand]) -> str:
    """Returns the table of models as text."""
    cells = [("model", "parameters", "n", "e", "v", "positions", "weights", "")]
    for row in rows:
        cells.append(
            (
                row.name,
                f"{row.parameters:,}",
                str(row.layers),
                str(row.hidden_size),
                f"{row.vocab_size:,}",
                str(row.positions),
                f"{row.size / 1e6:,.1f} MB {row.dtype}",
                "comes with numbert" if row.ships else row.architecture,
            )
        )
    widths = [max(len(line[column]) for line in cells) for column in range(len(cells[0]))]
    lines = []
    for name, *numbers, weights, what in cells:
        middle = (text.rjust(width) for text, width in zip(numbers, widths[1:-2], strict=True))
        lines.append("  ".join((name.ljust(widths[0]), *middle, weights.rjust(widths[-2]), what)).rstrip())
    return "\n".join(lines)


def _described(name: str, folder: Path, ships: bool) -> ModelAtHand:
    inspection, config = inspect(folder), BertConfig.from_file(folder / "config.json")
    files = {tensor.file for tensor in StoredWeights(folder).tensors.values()}
    return ModelAtHand(
        name=name,
        folder=str(folder.absolute()),
        ships=ships,
        architecture=inspection.architecture or inspection.model,
        layers=config.num_hidden_layers,
        hidden_size=config.hidden_size,
        vocab_size=config.vocab_size,
        positions=config.max_position_embeddings,
        parameters=inspection.parameters,
        dtype=inspection.dtype,
        size=sum(file.stat().st_size for file in files),
    )
