"""The text to learn from: the user's files, or the documentation that is on this machine."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from numbert.errors import InputError
from numbert.pretrain.documentation import documentation
from numbert.pretrain.sentences import split_sentences

# The least there must be: a random next sentence is from another document, so two to learn from and two held out.
MIN_DOCUMENTS, MIN_WORDS = 4, 300
# Running prose is cut into documents of this many sentences, or fewer where that makes too few documents.
SENTENCES, FEWEST_SENTENCES, DOCUMENTS_WANTED = 50, 5, 20

_BLANK_LINES = re.compile(r"\n[^\S\n]*(?:\n[^\S\n]*)+")
_END_OF_SENTENCE = re.compile(r"""[.!?…:;]['"”’»)\]*_]*$""")


@dataclass(frozen=True)
class Corpus:
    """Documents of at least two sentences.

    Attributes:
        source: where they are from, in words.
        documents: each a list of sentences, in a fixed order.
    """

    source: str
    documents: list[list[str]]

    @property
    def sentences(self) -> list[str]:
        return [sentence for document in self.documents for sentence in document]

    @property
    def megabytes(self) -> float:
        """Of UTF-8, one sentence in a line."""
        return sum(len(sentence.encode()) + 1 for sentence in self.sentences) / 1e6

    def split(self, held_out: float, rng: np.random.Generator) -> tuple[list[list[str]], list[list[str]]]:
        """-> the documents to train on, and those held out whole, at least two, drawn at random."""
        order = rng.permutation(len(self.documents))
        count = max(2, round(held_out * len(order)))
        return [self.documents[i] for i in sorted(order[count:])], [
            self.documents[i] for i in sorted(order[:count])
        ]


def read_corpus(paths: Sequence[str | Path] = ()) -> Corpus:
    """Reads text files, or without any the documentation on this machine (see `documentation`).

    Raises:
        InputError: a path is missing, is a folder, is empty or is not UTF-8 text; or there is too little text.
    """
    if paths:
        documents = cut_into_documents([read_text(path) for path in paths])
        source = ", ".join(str(path) for path in paths)
    else:
        documents = documentation()
        source = "the documentation of Python and its scientific packages on this machine"
    corpus = Corpus(source, [document for document in documents if len(document) >= 2])
    words = sum(sentence.count(" ") + 1 for sentence in corpus.sentences)
    if len(corpus.documents) < MIN_DOCUMENTS or words < MIN_WORDS:
        raise InputError(
            f"{source}: {len(corpus.documents)} documents of two or more sentences, {words} words; "
            f"pretraining needs at least {MIN_DOCUMENTS} documents and {MIN_WORDS} words"
        )
    return corpus


def read_text(path: str | Path) -> str:
    """The text of a UTF-8 file, with any end of line as a newline.

    Raises:
        InputError: the file is missing, a folder, empty, binary or in another encoding.
    """
    path = Path(path)
    if path.is_dir():
        raise InputError(f"{path} is a folder; give text files, such as {path}/*.txt")
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        raise InputError(f"{path} does not exist") from None
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}") from None
    zero = content.find(b"\0")
    if zero >= 0:
        raise InputError(f"{path} is not text: byte {zero} is zero")
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(
            f"{path} is not UTF-8 text: byte {error.start} is 0x{content[error.start]:02x}; convert it to UTF-8"
        ) from None
    if not text.strip():
        raise InputError(f"{path} is empty")
    return text.replace("\r\n", "\n").replace("\r", "\n")


def cut_into_documents(texts: Sequence[str]) -> list[list[str]]:
    """Texts of one file each -> documents, each a list of sentences, never from two files.

    Two forms are told apart by where lines end:

    - One sentence in a line, as in Google's sample text, where at least four lines in five end as a sentence
      does: blank lines part documents.
    - Running prose, as in a novel: blank lines part paragraphs, and the file is cut between paragraphs into
      documents of at least 50 sentences, about a chapter each, so that one novel has documents enough for
      next-sentence prediction, which takes a sentence of another one.

    Where texts are so short that this makes few documents, under 20, those of both forms are cut into runs of a
    twentieth of all sentences, but at least 5.
    """
    parts: list[tuple[bool, list[list[str]]]] = []  # (is it running prose?, paragraphs)
    for text in texts:
        blocks = [block.splitlines() for block in _BLANK_LINES.split(text.strip())]
        lines = [line for block in blocks for line in block]
        ended = sum(bool(_END_OF_SENTENCE.search(line.rstrip())) for line in lines)
        if ended >= 0.8 * len(lines) and len(lines) >= 2 * len(blocks):
            parts += [(len(blocks) == 1, [split_sentences(line) for line in block]) for block in blocks]
        elif len(blocks) == 1:
            parts.append((True, [[sentence] for sentence in split_sentences(text)]))
        else:
            parts.append((True, [split_sentences("\n".join(block)) for block in blocks]))

    sentences = sum(len(paragraph) for _, paragraphs in parts for paragraph in paragraphs)
    enough = max(FEWEST_SENTENCES, min(SENTENCES, sentences // DOCUMENTS_WANTED))
    few = len(parts) < DOCUMENTS_WANTED
    documents: list[list[str]] = []
    for prose, paragraphs in parts:
        documents.append([])
        for paragraph in paragraphs:
            if (prose or few) and len(documents[-1]) >= enough:
                documents.append([])
            documents[-1] += paragraph
    return documents
