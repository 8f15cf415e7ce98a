"""The folders of the models that come with numbert."""

from __future__ import annotations

from pathlib import Path

from numbert.errors import InputError, shown
from numbert.files.weights import WEIGHTS

DEFAULT = "english"


def shipped_models() -> dict[str, Path]:
    """Returns the model folders that come with numbert, by name: those in `weights`."""
    package = Path(__file__).parents[1]
    for weights in (package / "weights", package.parent / "weights"):
        if found := {file.parent.name: file.parent for file in sorted(weights.glob(f"*/{WEIGHTS}"))}:
            return found
    return {}


def shipped_model(name: str = DEFAULT) -> Path:
    """Returns the folder of a model that comes with numbert.

    Args:
        name: "english", which has read novels and stories, or "python", which has read the documentation of Python
            packages.

    Raises:
        InputError: no model of this name comes with numbert, or none is installed.
    """
    models = shipped_models()
    if not models:
        raise InputError("the models that come with numbert are not installed here; give a model's folder")
    if name not in models:
        raise InputError(f"{shown(name)} does not come with numbert, but {' and '.join(models)}")
    return models[name]
