"""Puts whose books it read, and what was tried first, into a card: python docs/card_of_english.py

It is the card of the model of English, which `numbert publish` has written. The two come from short-runs.csv,
books.txt and held-out.txt beside it.
"""

from __future__ import annotations

import csv
import textwrap
from collections import Counter
from pathlib import Path

from what_it_knows import with_section

FOLDER = Path(__file__).parents[1] / "weights" / "english"


def short_runs(folder: Path = FOLDER) -> str:
    """The section on the short runs, a table."""
    with (folder / "short-runs.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    lines = [
        "## What was tried first",
        "",
        "Runs of twenty minutes on one thread (AVX2). They have 4 layers of width 192 with 3 heads, 8,000 pieces",
        "of vocabulary, 64 pairs of 32 tokens, a learning rate of 0.0015 and no dropout, but for what a row says.",
        "The same books are held out.",
        "",
        "| run | steps | MLM | perplexity | NSP |",
        "|---|---|---|---|---|",
    ]
    for row in rows:
        cells = [row["run"], f"{int(row['steps']):,}", f"{row['MLM']}%", row["perplexity"], f"{row['NSP']}%"]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def authors(folder: Path = FOLDER) -> str:
    """The section on the books: whose it learned from, whose are held out wholly, and which others are."""
    held_out = set((folder / "held-out.txt").read_text(encoding="utf-8").split())
    lines = (folder / "books.txt").read_text(encoding="utf-8").splitlines()
    books = [line.split("\t") for line in lines if not line.startswith("#")]
    learned = Counter(author for _, file, _, author, *_ in books if file not in held_out)
    out = [(author, title) for _, file, _, author, title, *_ in books if file in held_out]
    whole = sorted({author for author, _ in out if author not in learned}, key=surname)
    by_author = [
        f"{author} ({count})" for author, count in sorted(learned.items(), key=lambda one: surname(one[0]))
    ]
    wholly = "; ".join(
        f"{author}: {', '.join(title for name, title in out if name == author)}" for author in whole
    )
    others = "; ".join(f"{title} by {author}" for author, title in out if author in learned)
    points = [
        f"It learned from {sum(learned.values())} books of {len(learned)} authors: {', '.join(by_author)}.",
        f"Held out, of authors that it has not read: {wholly}.",
        f"Held out, of authors that it has read: {others}.",
    ]
    section = ["## Whose books", "", "[books.txt](books.txt) has each book with its title, year and checksum.", ""]
    for point in points:
        section += textwrap.wrap(f"- {point}", 118, subsequent_indent="  ", break_on_hyphens=False)
    return "\n".join(section) + "\n"


def surname(author: str) -> str:
    """What an author is sorted by."""
    return author.split()[-1]


if __name__ == "__main__":
    card = FOLDER / "MODEL_CARD.md"
    text = card.read_text(encoding="utf-8")
    for section in (authors(), short_runs()):
        text = with_section(text, section)
    card.write_text(text, encoding="utf-8")
