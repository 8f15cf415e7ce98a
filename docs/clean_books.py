"""Cleans the books that the model of English has read, see books.md: python docs/clean_books.py CHECKOUT OUTPUT"""

from __future__ import annotations

import argparse
import hashlib
import re
import sys
from pathlib import Path
from typing import NamedTuple

from numbert.errors import InputError
from numbert.files.atomic import check_new
from numbert.progress import Progress, say

LIST = Path(__file__).parents[1] / "weights" / "english" / "books.txt"

# Lines that are left out: headings, quotations, the text of notes, rules.
LEFT_OUT = re.compile(r"#|>|\[\^|-{3,}$")
LINK = re.compile(r"\[([^\]]*)\]\([^)]*\)")
# Marks of notes, of emphasis, and backslashes. An underscore within a word, as in "n_th_", is kept.
MARKS = re.compile(r"\[\^[^\]]*\]|[*\\]|(?<!\w)_+|_+(?!\w)")


class Book(NamedTuple):
    """A line of books.txt; `sha256` is that of the cleaned text, `source` the path in the checkout."""

    sha256: str
    name: str
    source: str
    author: str
    title: str
    year: str


def books() -> list[Book]:
    lines = LIST.read_text(encoding="utf-8").splitlines()
    return [Book(*line.split("\t")) for line in lines if not line.startswith("#")]


def clean(markdown: str) -> str:
    """The text of a book: one paragraph a line, blank lines between.

    A paragraph without a small letter is left out: a heading that is not marked as one, a row of asterisks.
    """
    paragraphs: list[list[str]] = [[]]  # their words
    for line in markdown.split("\n"):
        words = line.split()
        if not words:
            paragraphs.append([])
        elif not LEFT_OUT.match(" ".join(words)):
            paragraphs[-1] += words
    # Marks go last, so that one between two spaces leaves both: the checksums are of texts made so.
    texts = (MARKS.sub("", LINK.sub(r"\1", " ".join(words))) for words in paragraphs)
    return "\n\n".join(text for text in texts if re.search("[a-z]", text)) + "\n"


def clean_books(checkout: Path, output: Path) -> int:
    """Writes the cleaned books, also those that differ from the list, and returns how many are as listed."""
    if not checkout.is_dir():
        raise InputError(f"{checkout} is not a folder; it must be a checkout of the books, see docs/books.md")
    listed, problems = books(), []
    if not any((checkout / book.source).exists() for book in listed):
        raise InputError(f"{checkout} holds none of the books; it must be a checkout of them, see docs/books.md")
    check_new(output)
    output.mkdir(parents=True, exist_ok=True)
    with Progress(shown=True).bar("cleaning", len(listed), "book") as advance:
        for book in listed:
            try:
                text = clean((checkout / book.source).read_text(encoding="utf-8")).encode()
            except FileNotFoundError:
                problems.append(f"{book.source} is missing")
            except (OSError, UnicodeDecodeError) as error:
                problems.append(f"{book.source} cannot be read: {error}")
            else:
                (output / book.name).write_bytes(text)
                if hashlib.sha256(text).hexdigest() != book.sha256:
                    problems.append(f"{book.name} differs from the listed text")
            advance(1)
    for problem in problems:
        say(problem)
    return len(listed) - len(problems)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("checkout", type=Path, help="the folder of the sources")
    parser.add_argument("output", type=Path, help="a new folder for the cleaned texts")
    arguments = parser.parse_args()
    try:
        same = clean_books(arguments.checkout, arguments.output)
    except InputError as error:
        say(f"error: {error}")
        return 2
    except OSError as error:
        say(f"error: {arguments.output} cannot be written: {error.strerror}")
        return 2
    print(f"{same} of {len(books())} books are as listed")
    return 0 if same == len(books()) else 1


if __name__ == "__main__":
    sys.exit(main())
