"""docs/card_of_english.py puts the books by author, and the short runs, into the card of the model of English."""

import importlib
import sys

import pytest
from places import ROOT

sys.path.append(str(ROOT / "docs"))
script = importlib.import_module("card_of_english")

BOOKS = """\
# a comment
0a\tb1.txt\tpath\tAnne Bell\tOne Book\t1850
0b\tb2.txt\tpath\tAnne Bell\tAnother Book\t1851
0c\tc1.txt\tpath\tCarl Ash\tA Third\t1852
0d\td1.txt\tpath\tDora Cole\tA Fourth\t1853
"""
RUNS = 'run,steps,MLM,perplexity,NSP\n"as said",1200,30.5,80,60.1\n'


@pytest.fixture
def folder(tmp_path):
    for name, text in {"books.txt": BOOKS, "held-out.txt": "b2.txt\nd1.txt\n", "short-runs.csv": RUNS}.items():
        (tmp_path / name).write_text(text, encoding="utf-8")
    return tmp_path


def test_authors_stand_on_the_side_where_their_books_are(folder):
    section = script.authors(folder)
    assert "- It learned from 2 books of 2 authors: Carl Ash (1), Anne Bell (1).\n" in section
    assert "- Held out, of authors that it has not read: Dora Cole: A Fourth.\n" in section
    assert "- Held out, of authors that it has read: Another Book by Anne Bell.\n" in section


def test_short_runs_are_a_table(folder):
    assert "| as said | 1,200 | 30.5% | 80 | 60.1% |\n" in script.short_runs(folder)


def test_every_held_out_book_is_in_the_list():
    held_out = (script.FOLDER / "held-out.txt").read_text(encoding="utf-8").split()
    assert len(held_out) == len(set(held_out)) == 11
    books = (script.FOLDER / "books.txt").read_text(encoding="utf-8")
    assert all(f"\t{name}\t" in books for name in held_out)


def test_the_card_has_both_sections_and_its_run_held_out_these_books():
    card = script.FOLDER / "MODEL_CARD.md"
    if not card.exists():
        pytest.skip("the model of English is not here")
    text = card.read_text(encoding="utf-8")
    for section in (script.authors(), script.short_runs()):
        assert script.with_section(text, section) == text, "run python docs/card_of_english.py"
    texts = (script.FOLDER / "texts.txt").read_text(encoding="utf-8")
    for name in (script.FOLDER / "held-out.txt").read_text(encoding="utf-8").split():
        assert name in texts
