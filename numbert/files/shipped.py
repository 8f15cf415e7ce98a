"""Where the model that comes with numbert is."""

from __future__ import annotations

from pathlib import Path

from numbert.errors import InputError


def shipped_model() -> Path:
    """The folder `weights` of a checkout, or of an installed wheel, where it lies within the package.

    Raises:
        InputError: it is in neither place.
    """
    package = Path(__file__).parents[1]
    for folder in (package / "weights", package.parent / "weights"):
        if (folder / "model.safetensors").is_file():
            return folder
    raise InputError("numbert's own model is not installed here; give --model FOLDER")
