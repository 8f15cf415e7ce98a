"""Writing files whole or not at all."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

from numbert.errors import InputError


@contextlib.contextmanager
def replacing(folder: str | Path) -> Iterator[Path]:
    """A context manager that gives an empty folder to write files into, and then moves them to `folder`.

    Each file appears in `folder` whole or not at all. If the body fails or the machine stops, `folder` keeps the
    files it had. A program that has an old file open or mapped keeps the old one.

    Raises:
        InputError: the folder cannot be made.
    """
    folder = Path(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"{folder} cannot be made: {error.strerror}") from None
    # Inside `folder`, because only within one file system is a replacement a single step.
    with TemporaryDirectory(prefix=".writing-", dir=folder) as temporary:
        yield Path(temporary)
        files = sorted(Path(temporary).iterdir())
        for file in files:
            to_disk(file)
        for file in files:
            os.replace(file, folder / file.name)
    to_disk(folder)


def check_new(folder: Path) -> None:
    """Raises InputError unless a folder is not there yet or empty, so that nothing in it can be overwritten."""
    if os.path.lexists(folder) and not folder.is_dir():
        raise InputError(f"{folder} is in the way: it is not a folder")
    if folder.is_dir() and any(folder.iterdir()):
        raise InputError(f"{folder} is in the way: it holds other files; name a folder that is new or empty")


def to_disk(path: Path) -> None:
    """Waits until the content of a file, or the list of names in a folder, would survive a power failure."""
    if path.is_dir() and os.name != "posix":  # there a folder cannot be opened
        return
    descriptor = os.open(path, os.O_RDONLY if path.is_dir() else os.O_RDWR)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
