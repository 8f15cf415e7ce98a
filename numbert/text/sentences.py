"""Where a sentence ends: a few rules instead of a model."""

from __future__ import annotations

import re

# These end sentences, and stand in abbreviations, numbers and names as well: what follows decides.
_SHARED_MARKS = ".!?…"
# The full stops of scripts without capitals, which do nothing else (Unicode's Sentence_Terminal; Tibetan's shad by
# its use): Arabic, Devanagari and its sisters, Chinese and Japanese, Ethiopic, Burmese, Tibetan, Mongolian, N'Ko,
# Canadian syllabics, Ol Chiki, Meetei, Javanese. No white space need follow.
_OWN_MARKS = "؟۔।॥。｡．！？።፧፨။།༎᠃᠉߹᙮᱾᱿꯫꧉"
# Armenian's and Khmer's, which also stand within 10։30 and ។ល។ (etc.): white space must follow.
_OWN_MARKS_BEFORE_SPACE = "։។៕"

END_MARKS = _SHARED_MARKS + _OWN_MARKS + _OWN_MARKS_BEFORE_SPACE
_OWN, _OWN_WITHOUT_SPACE = frozenset(_OWN_MARKS + _OWN_MARKS_BEFORE_SPACE), frozenset(_OWN_MARKS)
# ’ and ” close; but ’Tis begins with an apostrophe, and Swedish and Finnish have ”quotations”.
_OPENING = r"""['"“”‘’«„‚»(\[¿¡「『（【《〈〔]"""
# Some languages close with what others open with, „German“ and »German«: before white space these close.
CLOSING = r"""(?:['"”’»)\]」』）】》〉〕]|[“‘«](?=\s|$))"""

# A run of end marks, any closing quotes or brackets, white space, any opening ones: what may part two sentences.
# A dash may stand before the white space, after it, or in its place.
# (A run begins where no mark stands before the first: two characters are looked at, as a pattern that begins with
# a character is searched for twice as fast. Verses are numbered ॥ १ ॥, which is one mark.)
_MARK = f"[{END_MARKS}]"
_DASH = r"(?:--+|[–—]+)"
_BOUNDARY = re.compile(
    rf"(?P<marks>{_MARK}(?<!{_MARK}{_MARK}){_MARK}*(?:(?<=॥)\s?\d+\s?॥)?+)(?P<closed>{CLOSING}*)"
    rf"(?P<dash>{_DASH})?+(?P<gap>\s*)(?=(?P<dash_after>{_DASH}\s*)?{_OPENING}*(?P<next>[^\W_]))"
)

# A full stop after one of these ends no sentence, whatever follows. (One that comes before a number, such as p. 5
# or Fig. 2, needs no mention. "Esq." and "etc." end some.)
_ABBREVIATION = re.compile(
    r"mr|mrs|ms|messrs|mme|md?lle|dr|prof|rev|hon|ste?|gen|col|capt|lt|sgt|wm"
    r"|e\.?g|i\.?e|cf|vs|viz|approx|resp|incl|डॉ|प्रो",
    re.IGNORECASE,
)
# "It was I." does end a sentence. A single letter of Hebrew or Arabic is an initial or a title.
_INITIALS = re.compile(r"(?:[A-Z]\.)+[A-Z]|[A-HJ-Z]|[א-תء-ي]")

# "Who?" I asked. "Oh!" Mrs. Day cried. The capital of I or of a name begins no sentence there; that of He does.
_SAYS = re.compile(
    r"(?!(?:He|She|It|They|We|You|Nobody|Nothing|The|This|That|Then|And|But|So)\s)"
    r"[\w.'’-]++\s(?:[A-Z][\w.'’-]*+\s){0,2}(?:\w+ly\s)?"
    r"(?:sa(?:id|ys)|asked|answered|began|called|commanded|continued|cried|demanded|ejaculated|exclaimed|gasped"
    r"|[ei]nquired|interrupted|muttered|murmured|persisted|queried|remarked|repeated|replied|retorted|returned|shouted"
    r"|suggested|whispered|yelled)\b"
)


def split_sentences(text: str) -> list[str]:
    """Cuts running text into sentences, each a line with single spaces. The time is proportional to the length.

    A sentence ends at `.`, `!`, `?` or `…`, and the quotes and brackets that close after it, where white space
    and a capital letter (or an opening quote or bracket and a capital) follow. A full stop does not end one

    - after a title or an abbreviation such as Mr., e.g., i.e., cf., vs. (the list is above),
    - after initials: J. Austen, the U.S. Army,
    - after a number at the beginning of a sentence, as in a list: 2. Then comes the next.

    A question or an exclamation in quotes ends none where I or a name and an English verb of saying follow: "Who?"
    I asked. "Oh!" Mrs. Day cried. Before other words it does: "Who?" He turned round.

    A dash before a capital may stand in place of the white space and belongs to the first sentence: He left.--She
    stayed. After white space it belongs to the second.

    Decimals (3.14), versions (1.2.3), names (numpy.linalg), Fig. 2 and `...` before a small letter need no rule:
    no white space and capital follow. A blank line is white space like any other.

    A letter of a script without capitals (Arabic, Hindi, Korean) counts as a capital. But `…` and `...` before
    such a letter do not end a sentence, as they may stand within one, and neither does a number's full stop before
    Korean: 2024. 5. 3. is a date.

    The full stops of such scripts (`।`, `؟`, `。` and others, listed above) end a sentence before any letter or
    digit, and without white space too. Within a number they do not, and neither at the end of a Japanese quotation
    after which the sentence goes on with と or って.
    """
    sentences = []
    start = 0
    for match in _BOUNDARY.finditer(text):
        if _ends_sentence(text, start, match):
            sentences.append(text[start : match.start("gap")])
            start = match.end("gap")
    sentences.append(text[start:])
    return [" ".join(sentence.split()) for sentence in sentences if sentence.strip()]


def _ends_sentence(text: str, start: int, match: re.Match[str]) -> bool:
    """Whether the sentence that begins at `start` ends at the match of `_BOUNDARY`."""
    marks, gap, following = match["marks"], match["gap"], match["next"]
    dash = match["dash"] or match["dash_after"]
    if dash and not following.isupper():
        return False
    if gap and not _OWN.isdisjoint(marks):
        return True
    if not (gap or dash):
        if _OWN_WITHOUT_SPACE.isdisjoint(marks):
            return False
        in_a_number = following.isdigit() and text[max(0, match.start() - 1) : match.start()].isdigit()
        return not in_a_number and not (match["closed"] and following in "とっ")
    if not following.isupper() and (not _has_no_case(following) or "…" in marks or ".." in marks):
        return False
    if marks == ".":
        return not _goes_on(text, start, match.start(), following)
    return not (match["closed"] and _SAYS.match(text, match.end("gap")))


def _has_no_case(letter: str) -> bool:
    """Georgian has capitals in Unicode, but no sentence begins with one."""
    return letter.isalpha() and not letter.isupper() and (not letter.islower() or "ა" <= letter <= "ჿ")


def _goes_on(text: str, start: int, stop: int, following: str) -> bool:
    """Whether the full stop at `stop` belongs to the last word of the sentence that begins at `start`."""
    # The word is looked for backwards, as a sentence of abbreviations may be long. It may follow a dash: —Dr. Day.
    while stop > start and text[stop - 1].isspace():
        stop -= 1
    begin = stop
    while begin > start and not (
        text[begin - 1].isspace() or text[begin - 1] in "–—" or text[begin - 2 : begin] == "--"
    ):
        begin -= 1
    last = text[begin:stop].lstrip("'\"“‘«([")
    if last.isdigit():
        alone = len(last) == stop - begin and not text[start:begin].strip()
        return alone or "가" <= following <= "힣"
    return any(pattern.fullmatch(last) for pattern in (_INITIALS, _ABBREVIATION))
