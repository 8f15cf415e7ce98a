"""The text to learn from, as a stream of sentences: the user's files, or the documentation on this machine."""

from __future__ import annotations

import codecs
import hashlib
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import NoReturn

from numbert.errors import InputError, abridged
from numbert.text.documentation import documentation
from numbert.text.sentences import CLOSING, END_MARKS, split_sentences

# Running prose is cut into documents of this many sentences, or fewer where that makes too few documents.
SENTENCES, FEWEST_SENTENCES, DOCUMENTS_WANTED = 50, 5, 20

# From this many characters of a file it is found which of the two forms it has, and no paragraph is longer.
SAMPLE = 1 << 20
_CHUNK = 1 << 24  # bytes

_END_OF_SENTENCE = re.compile(rf"[{END_MARKS}:;：；؛](?:{CLOSING}|[*_])*$")

# A stream of sentences is an iterator of strings: a sentence each, and "" after the last one of a document. That
# is Google's format line by line, so that such a stream can be written to a file and read back as it is.
END_OF_DOCUMENT = ""


@dataclass(frozen=True)
class TextFile:
    """A file that was found to be UTF-8 text.

    Attributes:
        path: the absolute path.
        size: its length in bytes.
        sha256: the SHA-256 of its bytes, in hexadecimal.
    """

    path: str
    size: int
    sha256: str


@dataclass(frozen=True)
class Form:
    """How files are read (see `Corpus.sentences`). `str` gives it as text for the user.

    Attributes:
        by_line: the files with one sentence in a line.
        prose: the files of running prose.
        given: how many documents the files themselves have, counted up to 20; a file of running prose is one.
        paragraphs: how many paragraphs of running prose were read to find `sentences`.
        sentences: the least sentences of a document, where text is cut into documents.
    """

    by_line: tuple[str, ...]
    prose: tuple[str, ...]
    given: int
    paragraphs: int
    sentences: int

    @property
    def few(self) -> bool:
        """Whether the files have too few documents, so that text of both forms is cut."""
        return self.given < DOCUMENTS_WANTED

    def __str__(self) -> str:
        small = self.sentences < SENTENCES
        rule = f" (a twentieth of this small text, but no fewer than {FEWEST_SENTENCES})" if small else ""
        parts = []
        if self.by_line:
            cut = f", and so do {self.sentences} sentences{rule}, as only {self.given} are given"
            parts.append(
                f"one sentence in a line{self._names(self.by_line)}: a blank line ends a document"
                f"{cut if self.few else ''}"
            )
        if self.prose:
            what = f"{self.paragraphs} paragraphs" if small else "paragraphs"
            parts.append(
                f"running prose{self._names(self.prose)}: a blank line ends a paragraph, and the {what} are put "
                f"together to documents of at least {self.sentences} sentences"
                f"{'' if self.by_line and self.few else rule}, or fewer at the end of a file"
            )
        return "; ".join(parts)

    def _names(self, paths: Sequence[str]) -> str:
        """Which files, where there are both forms."""
        return f" ({abridged([Path(path).name for path in paths])})" if self.by_line and self.prose else ""


@dataclass(frozen=True)
class Corpus:
    """Where the text is. Reading it again gives the same sentences.

    Attributes:
        files: the user's files; none stand for the documentation on this machine.
        held_out: the files that are not learned from; none where documents of the others are to be held out.
    """

    files: tuple[TextFile, ...]
    held_out: tuple[TextFile, ...] = ()

    @property
    def source(self) -> str:
        """What the text is, for a message."""
        if not self.files:
            return "the documentation of Python and its scientific packages on this machine"
        return abridged([file.path for file in (*self.files, *self.held_out)])

    @property
    def size(self) -> int | None:
        """The size of all files in bytes; None for the documentation on this machine."""
        return sum(file.size for file in (*self.files, *self.held_out)) if self.files else None

    @cached_property
    def form(self) -> Form:
        """How the files are read, found from the first million characters of each; a small text is read whole.

        Raises:
            InputError: all text is one document.
        """
        files = (*self.files, *self.held_out)
        if len(files) == 1 and not _has_a_blank_line(files[0].path):
            raise InputError(
                f"{self.source} is one document, as none of its lines is blank; next-sentence prediction takes "
                "half of its second segments from another document: part documents by blank lines, or give more "
                "files"
            )
        forms = [(file.path, _has_a_sentence_in_each_line(file.path)) for file in files]
        given = (last for path, by_line in forms for last in _given_ends(path, by_line))
        lengths = ((len(p), by_line) for path, by_line in forms for p, _ in _paragraphs(path, by_line))
        paragraphs = sentences = 0
        for length, of_a_line in lengths:
            paragraphs += length > 0 and not of_a_line
            sentences += length
            if sentences >= SENTENCES * DOCUMENTS_WANTED:
                break
        return Form(
            by_line=tuple(path for path, by_line in forms if by_line),
            prose=tuple(path for path, by_line in forms if not by_line),
            given=sum(islice(given, DOCUMENTS_WANTED)),
            paragraphs=paragraphs,
            sentences=min(SENTENCES, max(FEWEST_SENTENCES, sentences // DOCUMENTS_WANTED)),
        )

    def sentences(self, held_out: bool = False) -> Iterator[str]:
        """The stream of sentences: strings, each a sentence, and "" after the last sentence of a document.

        Files are read as they are needed, line by line, never whole. They have one of two forms:

        - One sentence in a line, as in Google's sample text, if four lines in five or more end as a sentence
          does. Blank lines separate documents.
        - Running prose, as in a novel. Blank lines separate paragraphs, and the file is cut between paragraphs
          into documents of at least 50 sentences (the last may have fewer), about a chapter each: next-sentence
          prediction takes half of its second segments from another document, so one novel must give several.

        Text without any blank line is one document. Where the text has fewer than 20 documents, text of both forms
        is cut into documents of a twentieth of all sentences, but of at least 5.

        Args:
            held_out: False reads `files`, True reads the files that are held out.

        Raises:
            InputError: all text is one document.
        """
        if not (self.files or held_out):
            for document in documentation():
                yield from document
                yield END_OF_DOCUMENT
            return
        form = self.form
        for path in (file.path for file in (self.held_out if held_out else self.files)):
            by_line = path in form.by_line
            gathered = 0
            for paragraph, last in _paragraphs(path, by_line):
                yield from paragraph
                gathered += len(paragraph)
                if gathered and (last or (gathered >= form.sentences and (form.few or not by_line))):
                    yield END_OF_DOCUMENT
                    gathered = 0


def find_corpus(paths: Sequence[str | Path] = (), held_out: Sequence[str | Path] = ()) -> Corpus:
    """Takes files as the text to learn from, and reads each once to see that it is text.

    Args:
        paths: the files; without any, the text is the documentation on this machine.
        held_out: files to hold out whole, in place of documents of the others.

    Raises:
        InputError: a file does not exist, is a folder, is empty, is given twice or is not UTF-8 text; or files
            are held out from the documentation on this machine.
    """
    if held_out and not paths:
        raise InputError("files can be held out only where others are given to learn from")
    files = [_checked(Path(path)) for path in (*paths, *held_out)]
    seen: dict[str, str] = {}
    for file in files:
        if file.sha256 in seen:
            raise InputError(f"{file.path} and {seen[file.sha256]} are the same text; give it once")
        seen[file.sha256] = file.path
    return Corpus(tuple(files[: len(paths)]), tuple(files[len(paths) :]))


def _checked(path: Path) -> TextFile:
    if path.is_dir():
        raise InputError(f"{path} is a folder; give text files, such as {path}/*.txt")
    if path.exists() and not path.is_file():
        raise InputError(f"{path} is not a regular file, and text is read more than once; write it to one")
    digest, decoder = hashlib.sha256(), codecs.getincrementaldecoder("utf-8")()
    size, blank = 0, True
    try:
        with path.open("rb") as file:
            while chunk := file.read(_CHUNK):
                if (zero := chunk.find(b"\0")) >= 0:
                    raise InputError(f"{path} is not text: byte {size + zero} is zero")
                undecoded = len(decoder.getstate()[0])  # of a character that began in the chunk before
                try:
                    text = decoder.decode(chunk)
                except UnicodeDecodeError as error:
                    _refuse_byte(path, size - undecoded + error.start, error.object[error.start])
                blank = blank and not text.removeprefix("\ufeff").strip()
                digest.update(chunk)
                size += len(chunk)
    except FileNotFoundError:
        raise InputError(f"{path} does not exist") from None
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}") from None
    if unfinished := decoder.getstate()[0]:
        _refuse_byte(path, size - len(unfinished), unfinished[0])
    if blank:
        raise InputError(f"{path} is empty")
    return TextFile(str(path.absolute()), size, digest.hexdigest())


def _refuse_byte(path: Path, place: int, byte: int) -> NoReturn:
    raise InputError(f"{path} is not UTF-8 text: byte {place} is 0x{byte:02x}; convert it to UTF-8") from None


def _lines(path: str) -> Iterator[str]:
    """The lines without their ends; one that is longer than a million characters comes in parts, none blank."""
    rest, in_parts = "", False  # of the line that is being read: its text so far, without the parts given before
    with open(path, encoding="utf-8-sig") as file:
        while piece := file.read(SAMPLE):
            *lines, rest = (rest + piece).split("\n")
            if lines and in_parts:
                in_parts = False
                yield from lines[:1] if lines[0].strip() else []
                lines = lines[1:]
            yield from lines
            if len(rest) > SAMPLE:
                cut = rest.rfind(" ") + 1 or len(rest)
                if rest[:cut].strip():
                    in_parts = True
                    yield rest[:cut]
                rest = rest[cut:]
    if rest:
        yield rest


def _has_a_blank_line(path: str) -> bool:
    """Whether there is one with text before it and after."""
    state = 0
    for line in _lines(path):
        if bool(line.strip()) == (state % 2 == 0):
            state += 1
        if state == 3:
            return True
    return False


def _has_a_sentence_in_each_line(path: str) -> bool:
    """Google's form: told from the first million characters."""
    lines, ended, blocks, seen = 0, 0, 0, 0
    blank = True
    for line in _lines(path):
        stripped = line.rstrip()
        lines += bool(stripped)
        ended += bool(stripped) and _END_OF_SENTENCE.search(stripped) is not None
        blocks += blank and bool(stripped)
        blank = not stripped
        seen += len(line)
        if seen > SAMPLE:
            break
    return ended >= 0.8 * lines and lines >= 2 * blocks


def _given_ends(path: str, by_line: bool) -> Iterator[bool]:
    """One for each document that the file itself parts from others: running prose is one, and need not be read."""
    if not by_line:
        yield True
        return
    yield from (last for _, last in _paragraphs(path, by_line) if last)


def _paragraphs(path: str, by_line: bool) -> Iterator[tuple[list[str], bool]]:
    """-> the sentences of a paragraph (in Google's form: of a line), and whether a document ends with it."""
    if by_line:
        before: list[str] = []
        for line in _lines(path):
            sentences = split_sentences(line)
            if before:
                yield before, not line.strip()
            before = sentences
        if before:
            yield before, True
        return
    block: list[str] = []
    size = 0
    for line in _lines(path):
        if not line.strip() or size > SAMPLE:
            yield split_sentences("\n".join(block)), False
            block, size = [], 0
        block.append(line)
        size += len(line)
    yield split_sentences("\n".join(block)), True
