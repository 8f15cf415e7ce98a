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
    """Documents of token ids, in one array: sentence i is ids[sentences[i]:sentences[i + 1]], and document j has
    the sentences documents[j] to documents[j + 1] - 1. Its length is the number of documents.

    Attributes:
        ids: uint16 [tokens] (int32 for a vocabulary above 65,536), without special tokens.
        sentences: int64 [number of sentences + 1], where each sentence begins in ids, and the end of the last.
        documents: int64 [number of documents + 1], the first sentence of each document, and the end of the last.
    """

    ids: Array
    sentences: Array
    documents: Array

    def __len__(self) -> int:
        return len(self.documents) - 1

    @classmethod
    def open(cls, folder: Path, name: str, vocab_size: int) -> Self:
        """Maps the files that a `DocumentsWriter` wrote into memory, where only what is read takes room.

        Args:
            folder: where the files are.
            name: NAME of NAME.ids, NAME.sentences and NAME.documents.
            vocab_size: v, on which the dtype of the ids depends.

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
        """Where each document begins in ids, and the end of the last: int64 [number of documents + 1]."""
        return self.sentences[self.documents]


def ids_dtype(vocab_size: int) -> type[np.integer]:
    """The dtype of ids on disk: uint16 where it holds the vocabulary's ids, else int32."""
    return np.uint16 if vocab_size <= 1 << 16 else np.int32


class DocumentsWriter:
    """Writes NAME.ids, NAME.sentences and NAME.documents, plain arrays without a header, in a folder.

    Sentences without ids are left out, and then documents without sentences.
    """

    def __init__(self, folder: Path, name: str, vocab_size: int) -> None:
        self._dtype = ids_dtype(vocab_size)
        self._files: list[IO[bytes]] = [(folder / f"{name}.{suffix}").open("wb") for suffix in _SUFFIXES]
        self._tokens = self._sentences = self._documents_end = 0
        self._write_place(1, 0)
        self._write_place(2, 0)

    def add(self, sentence: Sequence[int]) -> None:
        """Writes a sentence, given as its ids."""
        if sentence:
            self._files[0].write(np.array(sentence, self._dtype).tobytes())
            self._tokens += len(sentence)
            self._sentences += 1
            self._write_place(1, self._tokens)

    def end_document(self) -> None:
        """Ends a document: it has the sentences that were added since the last call."""
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
