"""Where a sentence ends: a few rules instead of a model."""

from __future__ import annotations

import re

# A run of end marks, any closing quotes or brackets, white space, any opening ones: what may part two sentences.
_BOUNDARY = re.compile(r"""(?<![.!?…])(?P<marks>[.!?…]+)['"”’»)\]]*(?P<gap>\s+)(?=['"“‘«(\[]*(?P<next>[^\W_]))""")

# A full stop after one of these ends no sentence, whatever follows. (One that comes before a number, such as p. 5
# or Fig. 2, needs no mention.)
_ABBREVIATION = re.compile(
    r"mr|mrs|ms|messrs|mme|mlle|dr|prof|rev|hon|st|gen|col|capt|lt|sgt"
    r"|e\.?g|i\.?e|cf|vs|viz|approx|resp|incl",
    re.IGNORECASE,
)
_INITIALS = re.compile(r"(?:[A-Z]\.)+[A-Z]|[A-HJ-Z]")  # "It was I." does end a sentence


def split_sentences(text: str) -> list[str]:
    """Cuts running text into sentences, each on one line with single spaces.

    A sentence ends at `.`, `!`, `?` or `…`, and the quotes and brackets that close after it, where white space
    and a capital letter (or an opening quote or bracket and a capital) follow. A full stop does not end one

    - after a title or an abbreviation such as Mr., e.g., i.e., cf., vs. (the list is above),
    - after initials: J. Austen, the U.S. Army,
    - after a number that begins a sentence, a list's: 2. Then comes the next.

    Decimals (3.14), versions (1.2.3), names (numpy.linalg), Fig. 2 and `...` before a small letter need no rule:
    no white space and capital follow. A blank line is white space like any other.
    """
    sentences = []
    start = 0
    for match in _BOUNDARY.finditer(text):
        if not match["next"].isupper():
            continue
        if match["marks"] == "." and _goes_on(text[start : match.start()]):
            continue
        sentences.append(text[start : match.start("gap")])
        start = match.end("gap")
    sentences.append(text[start:])
    return [" ".join(sentence.split()) for sentence in sentences if sentence.strip()]


def _goes_on(before: str) -> bool:
    """Whether the full stop after `before`, the sentence so far, belongs to its last word."""
    before = before.strip()
    last = before.rsplit(maxsplit=1)[-1].lstrip("'\"“‘«([") if before else ""
    number_of_a_list = last == before and last.isdigit()
    return number_of_a_list or any(pattern.fullmatch(last) for pattern in (_INITIALS, _ABBREVIATION))
