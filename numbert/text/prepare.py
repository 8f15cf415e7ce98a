"""From text to token ids on disk, each step a file that can be looked at, in memory that does not grow with it.

sentences.txt       one sentence in a line, a blank line after each document
tokenizer.json ...  the vocabulary, learned from the documents to train on
train.*             the ids of these (see `documents`)
held-out.*          the ids of documents that are held out whole
data.json           the counts of the text, and the numbers of the held-out documents
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import shutil
from array import array
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
from tokenizers import Tokenizer

from numbert.errors import InputError
from numbert.files.atomic import to_disk
from numbert.files.tokenizer import load_tokenizer, save_tokenizer, vocabulary_size
from numbert.progress import Progress
from numbert.randomness import Purpose, generator
from numbert.text.corpus import END_OF_DOCUMENT, Corpus
from numbert.text.documents import Documents, DocumentsWriter
from numbert.text.vocabulary import CHINESE, train_tokenizer

HELD_OUT = 0.05  # of the documents
# The least there must be: a random next sentence is from another document, so two to learn from and two held out.
MIN_DOCUMENTS, MIN_WORDS = 4, 300
# The vocabulary is learned from this much text at most, from documents evenly spread over all.
VOCABULARY_BYTES = 100_000_000
_CHARACTERS_AT_A_TIME = 1 << 20  # to tokenize


@dataclass(frozen=True)
class TextCounts:
    """How much text there is. Documents of one sentence are left out and not counted.

    Attributes:
        documents, sentences, words: how many there are; a Chinese character counts as a word.
        megabytes: the size as UTF-8 with one sentence in a line, in 10^6 bytes.
        repeated_sentences: how many sentences are the same as one before.
        repeated_documents: how many documents are the same as one before.
    """

    documents: int
    sentences: int
    words: int
    megabytes: float
    repeated_sentences: int
    repeated_documents: int


@dataclass(frozen=True)
class Data:
    """The folder that `prepare` made.

    Attributes:
        folder: where it is.
        tokenizer: the tokenizer that the ids are of.
        train, held_out: the documents to learn from and those that are held out, memory-mapped.
        counts: how much text there is in both.
        held_out_documents: which documents of the whole text are held out, numbered from 0.
    """

    folder: Path
    tokenizer: Tokenizer
    train: Documents
    held_out: Documents
    counts: TextCounts
    held_out_documents: frozenset[int]

    @classmethod
    def open(cls, folder: Path) -> Self:
        """Opens a prepared folder.

        Raises:
            InputError: a file is missing or broken.
        """
        tokenizer = load_tokenizer(folder)
        size = vocabulary_size(tokenizer)
        try:
            data = json.loads((folder / "data.json").read_text(encoding="utf-8"))
            return cls(
                folder=folder,
                tokenizer=tokenizer,
                train=Documents.open(folder, "train", size),
                held_out=Documents.open(folder, "held-out", size),
                counts=TextCounts(**data["text"]),
                held_out_documents=frozenset(data["held_out_documents"]),
            )
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise InputError(
                f"{folder} is not whole ({error}); without it, --resume prepares the text again"
            ) from None

    def held_out_also_learned(self) -> float:
        """The part, from 0 to 1, of the held-out sentences that stand word for word among those to learn from."""
        held_out = Counter(self.held_out_sentences())
        document, found = 0, set()
        for line in _lines(self.folder / "sentences.txt"):
            if not line:
                document += 1
            elif line in held_out and document not in self.held_out_documents:
                found.add(line)
        return sum(held_out[line] for line in found) / held_out.total()

    def held_out_sentences(self) -> Iterator[str]:
        """The sentences of the held-out documents as text."""
        document = 0
        for line in _lines(self.folder / "sentences.txt"):
            if not line:
                document += 1
            elif document in self.held_out_documents:
                yield line


def prepare(
    corpus: Corpus, folder: Path, vocab_size: int, seed: int, show: Progress, tokenizer: Tokenizer | None = None
) -> None:
    """Turns text into a folder that `Data.open` reads, whole or not at all.

    The same text, vocab_size and seed give the same files.

    Args:
        corpus: the text.
        folder: the folder to make, which does not exist yet. What an interrupted call left behind is removed.
        vocab_size: the most pieces of the vocabulary.
        seed: decides which documents are held out, where the corpus holds out no files.
        show: where to report.
        tokenizer: the tokenizer to use; by default one is learned from the text.

    Raises:
        InputError: there is too little text, or vocab_size does not hold its characters.
    """
    unfinished = folder.with_name(f".{folder.name}.unfinished")
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir()
    try:
        counts, learned, too_short = _write_sentences(corpus, unfinished / "sentences.txt", show)
        show.say(
            f"Text: {counts.megabytes:.2f} MB from {corpus.source}: {counts.documents:,} documents, "
            f"{counts.sentences:,} sentences ({counts.repeated_sentences:,} of them, and "
            f"{counts.repeated_documents:,} documents, the same as one before)"
            + (f"; {too_short:,} documents of one sentence are left out" if too_short else "")
        )
        if corpus.files:
            show.say(f"Form: {corpus.form}")
        if corpus.held_out:
            held_out = frozenset(range(learned, counts.documents))
        else:
            held_out = _held_out(counts.documents, generator(seed, Purpose.DOCUMENTS))
        if tokenizer is None:
            tokenizer = train_tokenizer(
                _VocabularyText(unfinished / "sentences.txt", held_out, counts), vocab_size
            )
        save_tokenizer(tokenizer, unfinished)
        _tokenize(tokenizer, unfinished, held_out, counts, show)
        size = vocabulary_size(tokenizer)
        data, rest = (Documents.open(unfinished, name, size) for name in ("train", "held-out"))
        show.say(
            f"Vocabulary: {size:,} pieces; {len(data.ids):,} tokens to learn from, "
            f"{len(rest.ids):,} held out, in {len(rest):,} whole documents"
        )
        summary = {"text": dataclasses.asdict(counts), "held_out_documents": sorted(held_out)}
        (unfinished / "data.json").write_text(json.dumps(summary) + "\n", encoding="utf-8")
        for file in unfinished.iterdir():
            to_disk(file)
        to_disk(unfinished)
        os.rename(unfinished, folder)
        to_disk(folder.parent)
    except BaseException:
        shutil.rmtree(unfinished, ignore_errors=True)
        raise


def tokenize(tokenizer: Tokenizer, sentences: Sequence[str]) -> list[list[int]]:
    """The ids of each sentence, without special tokens; "[SEP]" in a text is cut into pieces like any word."""
    tokenizer.encode_special_tokens = True
    encodings = tokenizer.encode_batch_fast(list(sentences), add_special_tokens=False)
    tokenizer.encode_special_tokens = False
    return [encoding.ids for encoding in encodings]


# --- the steps ---------------------------------------------------------------------------------------------------


def _write_sentences(corpus: Corpus, path: Path, show: Progress) -> tuple[TextCounts, int, int]:
    """The stream of sentences as a file, first of what is learned from, then of the files that are held out.

    Documents of one sentence are left out.

    Returns:
        the counts; how many documents come before the files that are held out; how many were left out.

    Raises:
        InputError: there is too little.
    """
    sentences = words = size = too_short = learned = 0
    sentence_digests, document_digests = array("Q"), array("Q")  # 8 bytes each: ten million take 80 MB
    first, digest, in_document = "", hashlib.blake2b(digest_size=8), 0
    with path.open("w", encoding="utf-8", newline="\n") as file, show.bar("Reading", corpus.size, "B") as advance:

        def write(sentence: str) -> None:
            nonlocal sentences, words, size
            line = sentence.encode() + b"\n"
            file.write(sentence + "\n")
            sentences += 1
            words += _words(sentence)
            size += len(line)
            sentence_digests.frombytes(hashlib.blake2b(line, digest_size=8).digest())
            digest.update(line)
            advance(len(line))

        for held_out in (False, True):
            learned = len(document_digests)
            for sentence in corpus.sentences(held_out):
                if sentence != END_OF_DOCUMENT:
                    in_document += 1
                    if in_document == 1:
                        first = sentence
                        continue
                    if in_document == 2:
                        write(first)
                    write(sentence)
                    continue
                if in_document >= 2:
                    file.write("\n")
                    document_digests.frombytes(digest.digest())
                too_short += in_document == 1
                digest, in_document = hashlib.blake2b(digest_size=8), 0
    if len(document_digests) < MIN_DOCUMENTS or words < MIN_WORDS:
        raise InputError(
            f"{corpus.source}: {len(document_digests)} documents of two or more sentences, {words} words; "
            f"pretraining needs at least {MIN_DOCUMENTS} documents and {MIN_WORDS} words"
            + (f"; it was read as {corpus.form}" if corpus.files else "")
        )
    if corpus.held_out:
        held_out_documents = len(document_digests) - learned
        for documents, what in ((learned, "to learn from"), (held_out_documents, "that are held out")):
            if documents < MIN_DOCUMENTS // 2:
                raise InputError(
                    f"the files {what} have {documents} document{'s' * (documents != 1)} of two or more "
                    f"sentences; there must be at least {MIN_DOCUMENTS // 2}, as a random next sentence is from "
                    "another one"
                )
    counts = TextCounts(
        documents=len(document_digests),
        sentences=sentences,
        words=words,
        megabytes=size / 1e6,
        repeated_sentences=sentences - len(np.unique(np.frombuffer(sentence_digests, np.uint64))),
        repeated_documents=len(document_digests) - len(np.unique(np.frombuffer(document_digests, np.uint64))),
    )
    return counts, learned, too_short


def _words(sentence: str) -> int:
    """As white space parts them; each Chinese character is one, as it is for BERT."""
    return sentence.count(" ") + 1 if sentence.isascii() else len(CHINESE.sub(r" \g<0> ", sentence).split())


def _held_out(documents: int, rng: np.random.Generator) -> frozenset[int]:
    """The documents that are held out, at least two, drawn at random."""
    return frozenset(rng.permutation(documents)[: max(2, round(HELD_OUT * documents))].tolist())


@dataclass(frozen=True)
class _VocabularyText:
    """The sentences that the vocabulary is learned from, as often as they are asked for."""

    path: Path
    held_out: frozenset[int]
    counts: TextCounts

    def __iter__(self) -> Iterator[str]:
        every = int(self.counts.megabytes * 1e6 // VOCABULARY_BYTES) + 1
        document = learned = 0
        for line in _lines(self.path):
            if not line:
                learned += document not in self.held_out
                document += 1
            elif learned % every == 0 and document not in self.held_out:
                yield line


def _tokenize(
    tokenizer: Tokenizer, folder: Path, held_out: frozenset[int], counts: TextCounts, show: Progress
) -> None:
    """Each document goes to train.* or to held-out.*."""
    size = vocabulary_size(tokenizer)
    document = 0
    with (
        DocumentsWriter(folder, "train", size) as train,
        DocumentsWriter(folder, "held-out", size) as rest,
        show.bar("Tokenizing", counts.sentences, " sentences") as advance,
    ):
        for some in _some_at_a_time(_lines(folder / "sentences.txt")):
            for line, ids in zip(some, tokenize(tokenizer, some), strict=True):
                writer = rest if document in held_out else train
                if line:
                    writer.add(ids)
                else:
                    writer.end_document()
                    document += 1
            advance(len(some))
    for name in ("train", "held-out"):
        if not (folder / f"{name}.ids").stat().st_size:
            raise InputError(f"the {name} documents have no word in them: there is too little text")


def _some_at_a_time(lines: Iterable[str]) -> Iterator[list[str]]:
    """About ten thousand, or fewer where they are long: text without full stops has sentences of a megabyte."""
    some: list[str] = []
    size = 0
    for line in lines:
        some.append(line)
        size += len(line) + 1
        if size >= _CHARACTERS_AT_A_TIME:
            yield some
            some, size = [], 0
    yield some


def _lines(path: Path) -> Iterator[str]:
    with path.open(encoding="utf-8", newline="\n") as file:
        for line in file:
            yield line[:-1]
