"""The folder of the model that comes with numbert."""

from __future__ import annotations

from pathlib import Path

from numbert.errors import InputError


def shipped_model() -> Path:
    """Returns the model folder that comes with numbert: `weights` in a checkout or in the installed package.

    Raises:
        InputError: the folder is in neither place.
    """
    package = Path(__file__).parents[1]
    for folder in (package / "weights", package.parent / "weights"):
        if (folder / "model.safetensors").is_file():
            return folder
    raise InputError("numbert's own model is not installed here; give --model FOLDER")
