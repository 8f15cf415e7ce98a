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
]
