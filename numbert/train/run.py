"""The folder of a run: its settings, checkpoints and metrics, whatever the task is.

run.json                 the settings, and what else the run is made from
data/                    what the task has prepared to learn from
checkpoints/step-N/      the model as it was after N steps, with all that is needed to go on from there
metrics.jsonl            what was measured (see `Metrics`)
and, at the end, what the task saves of the trained model
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any, Self

from numbert.errors import InputError, shown
from numbert.files.atomic import replacing, to_disk

FORMAT = 1  # of run.json, checkpoints and arithmetic: within one, a run goes on to the same bits

# What a process that was killed may leave behind: of a file, of the data, of a checkpoint.
_LEFTOVER = re.compile(r"\.writing-.*|\.data\.unfinished|\.step-\d+\.(unfinished|removed)")
_STEP = re.compile(r"step-(\d+)")


@dataclass(frozen=True)
class Run:
    """The folder of a run. A task whose run.json holds more than settings has a subclass of this.

    Attributes:
        folder: where it is.
        values: the contents of run.json: "format", "settings" (an object) and what the task has added.
    """

    folder: Path
    values: Mapping[str, Any]

    @property
    def data(self) -> Path:
        """The folder of what the task has prepared to learn from."""
        return self.folder / "data"

    @property
    def checkpoints(self) -> Path:
        """The folder of the checkpoints."""
        return self.folder / "checkpoints"

    @property
    def metrics(self) -> Path:
        """The file of what was measured (see `Metrics`)."""
        return self.folder / "metrics.jsonl"

    @classmethod
    def begin(cls, folder: Path, settings: Mapping[str, Any], **rest: Any) -> Self:
        """Begins a run in a folder of its own (see `new_folder`): writes its run.json.

        Args:
            folder: the run's folder.
            settings: what decides what the run computes, as JSON can hold it.
            rest: what else run.json is to hold.
        """
        values = {"format": FORMAT, "settings": dict(settings), **rest}
        run = cls(folder, values)
        with replacing(folder) as new:
            (new / "run.json").write_text(json.dumps(values, indent=2) + "\n", encoding="utf-8")
        return run

    @classmethod
    def read(cls, folder: Path) -> Self:
        """Reads the run.json of a run that was begun.

        Raises:
            InputError: run.json is missing, of another format, or not what numbert wrote.
        """
        path = folder / "run.json"
        try:
            values = json.loads(path.read_text(encoding="utf-8"))
            found = values.get("format", 1)  # the first runs did not say
        except FileNotFoundError:
            raise InputError(f"{folder} holds no run: there is no run.json") from None
        except (ValueError, AttributeError) as error:
            raise InputError(f"{path} is not a run's: {error}") from None
        if found is True or found != FORMAT:
            raise InputError(
                f"{path} has format {found!r}, of another version of numbert; this one reads format {FORMAT}"
            )
        try:
            if not isinstance(values["settings"], dict):
                raise TypeError(f"its settings are {values['settings']!r}")
            return cls(folder, values)
        except (ValueError, KeyError, TypeError) as error:
            raise InputError(f"{path} is not a run's: {error}") from None

    def stored_settings(self) -> Mapping[str, Any]:
        """The settings that the run was begun with. A subclass adds the defaults of settings that came later."""
        return self.values["settings"]

    def refuse_difference(self, given: Mapping[str, Any]) -> None:
        """Refuses to resume a run with other settings than its own.

        Args:
            given: the settings that the user gives; those that are left out stay the run's.

        Raises:
            InputError: a setting differs; the message has both values.
        """
        for name, value in given.items():
            if (stored := self.stored_settings().get(name)) != value:
                raise InputError(
                    f"{name} is {shown(value)} and in the run of {self.folder} it is {shown(stored)}; "
                    "leave it out to resume, or give another folder for another run"
                )

    # --- checkpoints ------------------------------------------------------------------------------------------

    def steps(self) -> list[int]:
        """The steps of the checkpoints that there are, ascending."""
        if not self.checkpoints.exists():
            return []
        matches = (_STEP.fullmatch(path.name) for path in self.checkpoints.iterdir())
        return sorted(int(match[1]) for match in matches if match)

    def checkpoint(self, step: int) -> Path:
        """The folder of the checkpoint of a step."""
        return self.checkpoints / f"step-{step}"

    def save(self, step: int, write: Callable[[Path], None]) -> Path:
        """Writes a checkpoint, whole or not at all: under another name, forced to disk, then renamed.

        Args:
            step: how many updates the model has had.
            write: fills the folder that it is given.

        Returns:
            the checkpoint's folder.

        Raises:
            OSError: it cannot be written, as where the disk is full; then there is no such checkpoint.
        """
        final = self.checkpoint(step)
        beside = self.checkpoints / f".{final.name}.unfinished"
        self.checkpoints.mkdir(exist_ok=True)
        shutil.rmtree(beside, ignore_errors=True)
        try:
            beside.mkdir()
            write(beside)
            for file in beside.iterdir():
                to_disk(file)
            to_disk(beside)
            self._remove(final)
            os.rename(beside, final)
            to_disk(self.checkpoints)
        except BaseException:
            shutil.rmtree(beside, ignore_errors=True)
            raise
        return final

    def keep(self, latest: int, best: int | None) -> None:
        """Removes all checkpoints but the `latest` last ones and that of step `best`."""
        for step in self.steps()[:-latest]:
            if step != best:
                self._remove(self.checkpoint(step))

    def _remove(self, folder: Path) -> None:
        """Under another name first, so that half of one is never taken for a checkpoint."""
        gone = folder.with_name(f".{folder.name}.removed")
        if folder.exists():
            shutil.rmtree(gone, ignore_errors=True)
            os.rename(folder, gone)
            shutil.rmtree(gone)

    def clean(self) -> None:
        """Removes what an interruption left behind."""
        for folder in (self.folder, self.checkpoints):
            for path in folder.glob(".*"):
                if _LEFTOVER.fullmatch(path.name):
                    shutil.rmtree(path, ignore_errors=True)


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Keeps other processes from training in a folder, within a `with`; on Windows it does nothing.

    Raises:
        InputError: another process is training in it.
    """
    try:
        import fcntl
    except ImportError:  # not on Windows
        yield
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        # Where the file system has no locks, the user is trusted.
        with contextlib.suppress(OSError):
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise InputError(f"another process is training in {folder}") from None
        yield
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def new_folder(folder: Path) -> Iterator[None]:
    """Makes a folder for a run, empty, writable and locked for this process, within a `with`.

    If the body fails while there is nothing but run.json in the folder, everything is left as it was before.

    Raises:
        InputError: the folder is not empty or cannot be written, or another process is training in it.
    """
    made = [path for path in (folder, *folder.parents) if not path.exists()]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise InputError(f"{folder} cannot be written: {error.strerror}") from None
    with locked(folder):
        if (folder / "run.json").exists():
            raise InputError(f"{folder} holds a run; --resume goes on with it, another folder begins a new one")
        if any(not _LEFTOVER.fullmatch(path.name) for path in folder.iterdir()):
            raise InputError(f"{folder} is not empty; give another folder as output")
        try:
            yield
        except BaseException:
            rest = {path.name for path in folder.iterdir() if not _LEFTOVER.fullmatch(path.name)}
            if rest <= {"run.json"}:
                (folder / "run.json").unlink(missing_ok=True)
                for path in folder.iterdir() if made else ():
                    shutil.rmtree(path, ignore_errors=True)  # leftovers
                with contextlib.suppress(OSError):
                    for path in made:
                        path.rmdir()
            raise
