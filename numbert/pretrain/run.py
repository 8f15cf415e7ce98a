"""PretrainRun: the folder of a pretraining run, with its settings, its text and the model that it began from."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Self

from numbert.errors import InputError, abridged
from numbert.pretrain.beginning import Beginning
from numbert.pretrain.settings import Settings
from numbert.text.corpus import Corpus, TextFile
from numbert.train.run import Run


@dataclass(frozen=True)
class PretrainRun(Run):
    """A run whose run.json has "settings", "text" and "held_out" (files), and "init" (the model to begin from)."""

    def __post_init__(self) -> None:
        _ = self.settings, self.corpus, self.init  # a run.json that is not whole is refused at once

    @cached_property
    def settings(self) -> Settings:
        """The settings that the run was begun with."""
        return Settings(**self.values["settings"])

    @cached_property
    def corpus(self) -> Corpus:
        """The text files of the run, as they were when it began."""
        held_out = self.values.get("held_out", ())  # the first runs did not say
        return Corpus(
            files=tuple(TextFile(**file) for file in self.values["text"]),
            held_out=tuple(TextFile(**file) for file in held_out),
        )

    @cached_property
    def init(self) -> Beginning | None:
        """The model that the run began from, or None for new weights."""
        return None if self.values["init"] is None else Beginning(**self.values["init"])

    def with_beginnings(self) -> list[Self]:
        """The run whose model this one began from, the one before that, ..., and this one at last.

        A model whose folder is no run's, such as a published one, does not say what it began from.
        """
        if self.init is None or not (self.init.folder / "run.json").is_file():
            return [self]
        return [*type(self).read(self.init.folder).with_beginnings(), self]

    @classmethod
    def begin_with(cls, folder: Path, settings: Settings, corpus: Corpus, init: Beginning | None) -> Self:
        """Begins a run in a folder of its own (see `new_folder`): writes its run.json."""
        return cls.begin(
            folder,
            settings.to_dict(),
            text=[dataclasses.asdict(file) for file in corpus.files],
            held_out=[dataclasses.asdict(file) for file in corpus.held_out],
            init=None if init is None else dataclasses.asdict(init),
        )

    def stored_settings(self) -> Mapping[str, Any]:
        """The settings as a dict, with the defaults of those that run.json does not name."""
        return self.settings.to_dict()

    def refuse_known_text(self) -> None:
        """Refuses to hold out what the model that the run begins from has learned from.

        Raises:
            InputError: a file that is held out was learned from; the message names it and the run.
        """
        held_out = {file.sha256: file.path for file in self.corpus.held_out}
        for run in self.with_beginnings()[:-1] if held_out else ():
            for file in run.corpus.files:
                if file.sha256 in held_out:
                    path = held_out[file.sha256]
                    raise InputError(
                        f"{path} cannot be held out, as the model in {run.folder} has learned from it"
                    )

    def refuse_other_beginning(self, init: Beginning) -> None:
        """Refuses to go on with a run that did not begin from this model.

        Raises:
            InputError: the run began from new weights or from another model.
        """
        if self.init is None or init.sha256 != self.init.sha256:
            began = "new weights" if self.init is None else self.init.path
            raise InputError(f"the run of {self.folder} began from {began}, not from the model in {init.path}")

    def refuse_other_text(self, corpus: Corpus) -> None:
        """Refuses to go on with a run from another text.

        Raises:
            InputError: a file is not the run's, is learned from in place of held out or the other way round, or
                one of the run's is left out; the message names it.
        """
        learned = {file.sha256: file.path for file in self.corpus.files}
        held_out = {file.sha256: file.path for file in self.corpus.held_out}
        stored, paths = learned | held_out, {*learned.values(), *held_out.values()}
        for files, here, there in (
            (corpus.files, learned, "holds it out"),
            (corpus.held_out, held_out, "learns from it"),
        ):
            for file in files:
                if file.sha256 not in stored:
                    relation = "has changed since" if file.path in paths else "is not the text of"
                    raise InputError(
                        f"{file.path} {relation} the run of {self.folder}, which is from {self.corpus.source}"
                    )
                if file.sha256 not in here:
                    raise InputError(f"{file.path} is on the other side: the run of {self.folder} {there}")
        if missing := set(stored) - {file.sha256 for file in (*corpus.files, *corpus.held_out)}:
            names = abridged([stored[digest] for digest in sorted(missing)])
            raise InputError(
                f"the run of {self.folder} is also from {names}; leave all texts out, or give them all"
            )
