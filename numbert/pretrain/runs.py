"""The folder of a run: its settings, checkpoints and metrics, and what a resumed run must have in common with it.

config.json, model.safetensors, tokenizer.json ...   the trained model, at the end
run.json                 the settings and the text
data/                    the text as token ids (see `prepare`)
checkpoints/step-N/      the model as it was after N steps, with all that is needed to go on from there
metrics.jsonl            what was measured, a line each (see `Metrics`)
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import re
import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any, Self

from numbert.errors import InputError
from numbert.files.atomic import replacing, to_disk
from numbert.pretrain.beginning import Beginning
from numbert.pretrain.pairs import Position
from numbert.pretrain.settings import Settings
from numbert.text.corpus import Corpus, TextFile

# What a process that was killed may leave behind: of a file, of the data, of a checkpoint.
_LEFTOVER = re.compile(r"\.writing-.*|\.data\.unfinished|\.step-\d+\.(unfinished|removed)")
_STEP = re.compile(r"step-(\d+)")


@dataclass
class State:
    """Where a run is, besides weights and moments.

    Attributes:
        step: updates so far.
        position: of the pairs.
        tokens: trained on so far, without [PAD].
        seconds, data_seconds: the time of the steps so far, and what of it went into making batches.
        best_step, best_loss: the lowest held-out loss so far.
        generators: the state of each process's generator, which dropout draws from.
    """

    step: int = 0
    position: Position = field(default_factory=Position)
    tokens: int = 0
    seconds: float = 0.0
    data_seconds: float = 0.0
    best_step: int | None = None
    best_loss: float | None = None
    generators: list[dict[str, Any]] = field(default_factory=list)

    @classmethod
    def read(cls, path: Path) -> Self:
        values = json.loads(path.read_text(encoding="utf-8"))
        return cls(**(values | {"position": Position(**values["position"])}))

    def totals(self) -> dict[str, float]:
        """For the metrics."""
        return {"tokens": self.tokens, "seconds": self.seconds, "data_seconds": self.data_seconds}

    def write(self, path: Path) -> None:
        _write_json(path, dataclasses.asdict(self))


@dataclass(frozen=True)
class Run:
    """A run's folder, opened by one process for writing."""

    folder: Path
    settings: Settings
    files: tuple[TextFile, ...]
    init: Beginning | None

    @property
    def data(self) -> Path:
        return self.folder / "data"

    @property
    def checkpoints(self) -> Path:
        return self.folder / "checkpoints"

    @property
    def metrics(self) -> Path:
        return self.folder / "metrics.jsonl"

    @classmethod
    def begin(cls, folder: Path, settings: Settings, files: tuple[TextFile, ...], init: Beginning | None) -> Self:
        """A new run in a folder of its own (see `new_folder`)."""
        run = cls(folder, settings, files, init)
        values = {
            "settings": settings.to_dict(),
            "text": [dataclasses.asdict(file) for file in files],
            "init": None if init is None else dataclasses.asdict(init),
        }
        with replacing(folder) as new:
            _write_json(new / "run.json", values)
        return run

    @classmethod
    def read(cls, folder: Path) -> Self:
        """A run that was begun.

        Raises:
            InputError: run.json is missing, or not what numbert wrote.
        """
        path = folder / "run.json"
        try:
            values = json.loads(path.read_text(encoding="utf-8"))
            files = tuple(TextFile(**file) for file in values["text"])
            init = None if values["init"] is None else Beginning(**values["init"])
            return cls(folder, Settings(**values["settings"]), files, init)
        except FileNotFoundError:
            raise InputError(f"{folder} holds no run: there is no run.json") from None
        except (ValueError, KeyError, TypeError) as error:
            raise InputError(f"{path} is not a run's: {error}") from None

    def refuse_difference(self, given: Mapping[str, Any], corpus: Corpus | None, init: Beginning | None) -> None:
        """Resuming with other settings or another text would not be the same run.

        Args:
            given: the settings that the user gives; those left out are the run's.
            corpus: the text that the user gives, if any.

        Raises:
            InputError: what differs, and both values.
        """
        for name, value in given.items():
            if (stored := getattr(self.settings, name)) != value:
                raise InputError(
                    f"{name} is {value} and in the run of {self.folder} it is {stored}; "
                    "leave it out to resume, or give another folder for another run"
                )
        if init is not None and (self.init is None or init.sha256 != self.init.sha256):
            began = "new weights" if self.init is None else self.init.path
            raise InputError(f"the run of {self.folder} began from {began}, not from the model in {init.path}")
        if corpus is None:
            return
        stored_files = {file.sha256: file.path for file in self.files}
        for file in corpus.files:
            if file.sha256 not in stored_files:
                relation = "has changed since" if file.path in stored_files.values() else "is not the text of"
                source = ", ".join(stored_files.values()) or "the documentation on this machine"
                raise InputError(f"{file.path} {relation} the run of {self.folder}, which is from {source}")
        if missing := set(stored_files) - {file.sha256 for file in corpus.files}:
            names = ", ".join(stored_files[digest] for digest in sorted(missing))
            raise InputError(
                f"the run of {self.folder} is also from {names}; leave all texts out, or give them all"
            )

    # --- checkpoints ------------------------------------------------------------------------------------------

    def steps(self) -> list[int]:
        """Of the checkpoints, ascending."""
        if not self.checkpoints.exists():
            return []
        matches = (_STEP.fullmatch(path.name) for path in self.checkpoints.iterdir())
        return sorted(int(match[1]) for match in matches if match)

    def checkpoint(self, step: int) -> Path:
        return self.checkpoints / f"step-{step}"

    def save(self, step: int, write: Callable[[Path], None]) -> Path:
        """A checkpoint, whole or not at all: written beside, forced to disk, renamed.

        Args:
            write: fills the folder that it is given.

        Raises:
            OSError: the disk is full, or another failure of the machine's; there is no such checkpoint then.
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
        """Removes all checkpoints but the latest ones and the best."""
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
    """Two processes that write into one folder would spoil it.

    Raises:
        InputError: another process is at it.
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
    """Makes sure of a folder that is empty, can be written and is this process's alone. If the body fails before
    there is data in it, it is left as it was.

    Raises:
        InputError: the folder holds something, or cannot be written, or another process is at it.
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
            if not (folder / "data").exists():
                (folder / "run.json").unlink(missing_ok=True)
                for path in folder.iterdir() if made else ():
                    shutil.rmtree(path, ignore_errors=True)  # leftovers
                with contextlib.suppress(OSError):
                    for path in made:
                        path.rmdir()
            raise


def _write_json(path: Path, values: Mapping[str, Any]) -> None:
    path.write_text(json.dumps(values, indent=2) + "\n", encoding="utf-8")
