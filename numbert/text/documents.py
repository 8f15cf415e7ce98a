"""Documents as token ids in files: written one after the other, read through a memory map."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self

import numpy as np

from numbert.nn.array import Array

_SUFFIXES = ("ids", "sentences", "documents")


@dataclass(frozen=True)
class Documents:
    """All text as one row of ids: sentence i is ids[sentences[i]:sentences[i + 1]], and document j has the
    sentences documents[j] to documents[j + 1] - 1.

    Attributes:
        ids: uint16 (int32 for a vocabulary above 65,536) [tokens], without special tokens.
        sentences: int64 [number of sentences + 1], where each begins in ids, and the end.
        documents: int64 [number of documents + 1], the first sentence of each, and the end.
    """

    ids: Array
    sentences: Array
    documents: Array

    def __len__(self) -> int:
        return len(self.documents) - 1

    @classmethod
    def open(cls, folder: Path, name: str, vocab_size: int) -> Self:
        """What a `DocumentsWriter` wrote, mapped: only what is read takes memory.

        Raises:
            OSError, ValueError: a file is missing, empty or cut off.
        """
        dtypes: tuple[Any, ...] = (ids_dtype(vocab_size), np.int64, np.int64)
        ids, sentences, documents = (
            np.asarray(np.memmap(folder / f"{name}.{suffix}", dtype, mode="r"))  # whose own slicing is slow
            for suffix, dtype in zip(_SUFFIXES, dtypes, strict=True)
        )
        if sentences[-1] != len(ids) or documents[-1] != len(sentences) - 1:
            raise ValueError(f"the files {name}.* do not belong together")
        return cls(ids, sentences, documents)

    def starts(self) -> Array:
        """int64 [number of documents + 1], where each document begins in ids, and the end."""
        return self.sentences[self.documents]


def ids_dtype(vocab_size: int) -> type[np.integer]:
    return np.uint16 if vocab_size <= 1 << 16 else np.int32


class DocumentsWriter:
    """Writes NAME.ids, NAME.sentences and NAME.documents, plain arrays without a header, in a folder.

    Empty sentences are left out, and then empty documents.
    """

    def __init__(self, folder: Path, name: str, vocab_size: int) -> None:
        self._dtype = ids_dtype(vocab_size)
        self._files: list[IO[bytes]] = [(folder / f"{name}.{suffix}").open("wb") for suffix in _SUFFIXES]
        self._tokens = self._sentences = self._documents_end = 0
        self._write_place(1, 0)
        self._write_place(2, 0)

    def add(self, sentence: Sequence[int]) -> None:
        """The ids of a sentence."""
        if sentence:
            self._files[0].write(np.array(sentence, self._dtype).tobytes())
            self._tokens += len(sentence)
            self._sentences += 1
            self._write_place(1, self._tokens)

    def end_document(self) -> None:
        """The sentences added since the last call are a document."""
        if self._sentences > self._documents_end:
            self._documents_end = self._sentences
            self._write_place(2, self._sentences)

    def _write_place(self, file: int, place: int) -> None:
        self._files[file].write(place.to_bytes(8, sys.byteorder))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for file in self._files:
            file.close()
