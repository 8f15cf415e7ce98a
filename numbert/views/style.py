"""What the pictures share: colours, axes, and Matplotlib itself."""

from __future__ import annotations

import contextlib
import os
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.axes import Axes

BLUE, ORANGE, GREEN, PURPLE, GREY = "#0072b2", "#d55e00", "#009e73", "#a04e8c", "#666666"


def import_matplotlib() -> None:
    """Imports it whatever MPLBACKEND names: a backend that is not installed would be an error, and none is needed.

    One that is installed, as a notebook's is, stays the one that pyplot uses.
    """
    if "matplotlib" in sys.modules:
        return
    backend = os.environ.pop("MPLBACKEND", None)
    try:
        import matplotlib
    finally:
        if backend is not None:
            os.environ["MPLBACKEND"] = backend
    if backend:
        with contextlib.suppress(ValueError):
            matplotlib.rcParams["backend"] = backend


def plain(axes: Axes) -> None:
    """Takes off the frame's upper and right side, and draws a faint grid."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(alpha=0.2)
