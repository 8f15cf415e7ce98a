"""Bugs planted in text."""

from mutants.machinery import Mutant

TEXT = "text/test_text.py"
PREPARE = "text/test_prepare.py"

MUTANTS = [
    Mutant(
        "held-out-documents-in-the-vocabulary",
        "text/prepare.py",
        "elif learned % every == 0 and document not in self.held_out:",
        "elif learned % every == 0:",
        "the vocabulary learned from the text that is to be new to the model",
        tests=(PREPARE,),
    ),
    Mutant(
        "data-written-in-place",
        "text/prepare.py",
        'unfinished = folder.with_name(f".{folder.name}.unfinished")',
        "unfinished = folder",
        "a process that is killed leaves a data folder that looks whole",
        tests=(PREPARE,),
    ),
    Mutant(
        "place-of-a-bad-byte-within-its-chunk",
        "text/corpus.py",
        "size - undecoded + error.start",
        "size + error.start",
        "wrong by the bytes of a character that lies across two chunks",
        tests=(TEXT,),
    ),
    Mutant(
        "part-of-a-line-taken-for-a-blank-line",
        "text/corpus.py",
        "yield from lines[:1] if lines[0].strip() else []",
        "yield lines[0]",
        "what is left of a long line after its parts is empty, and ends a document in the middle of a paragraph",
        tests=(TEXT,),
    ),
    Mutant(
        "letters-without-case-end-no-sentence",
        "text/sentences.py",
        "return letter.isalpha() and not letter.isupper() and",
        "return False and",
        "a Korean or Arabic paragraph is one sentence, as no capital follows its full stops",
        tests=(TEXT,),
    ),
    Mutant(
        "full-stops-of-other-scripts-need-a-space",
        "text/sentences.py",
        "if _OWN_WITHOUT_SPACE.isdisjoint(marks):",
        "if True:",
        "a Chinese paragraph is one sentence, as no space follows its full stops",
        tests=(TEXT,),
    ),
    Mutant(
        "only-english-lines-end-as-sentences",
        "text/corpus.py",
        'rf"[{END_MARKS}:;：；؛]',
        'rf"[.!?…:;]',
        "Chinese in Google's form is taken for prose: its documents run together",
        tests=(TEXT,),
    ),
    Mutant(
        "held-out-files-learned-from",
        "text/prepare.py",
        "        if corpus.held_out:\n            held_out =",
        "        if False:\n            held_out =",
        "documents are drawn at random, and the files to hold out are learned from",
        tests=(PREPARE,),
    ),
    Mutant(
        "the-whole-sentence-searched-for-its-last-word",
        "text/sentences.py",
        "last = text[begin:stop].lstrip(",
        "last = text[start:stop].split()[-1].lstrip(",
        "the time grows with the square of a text of abbreviations",
        tests=(TEXT,),
    ),
]
