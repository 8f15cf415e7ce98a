"""docs/clean_books.py, which makes the cleaned books of weights/english/books.txt again, and that list."""

import hashlib
import importlib.util
import re
import sys

import pytest
from places import ROOT, SHARED

spec = importlib.util.spec_from_file_location("clean_books", ROOT / "docs" / "clean_books.py")
script = importlib.util.module_from_spec(spec)
spec.loader.exec_module(script)

TEXTS = SHARED / "data" / "english"

HEAD = """# Title: The Lamp

## Author: A. Writer

## Year: 1900

-------
"""


# --- cleaning ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("markdown", "cleaned"),
    {
        "the head of the file, and text right below it": (HEAD + "It was late.\n\n", ["It was late."]),
        "headings, and text right below them": ("## CHAPTER 1\n\n### The Lamp\nIt was late.", ["It was late."]),
        "a sign that no line begins with": ("Lot #3 was sold, a --> b.", ["Lot #3 was sold, a --> b."]),
        "lines of one paragraph": ("He came\nin  late. \n\n\n  She\tleft.\n", ["He came in late.", "She left."]),
        "lines as Windows ends them": ("He came\r\nin.\r\n\r\nShe left.\r\n", ["He came in.", "She left."]),
        "a line of white space ends a paragraph": ("One.  \n  \nTwo.", ["One.", "Two."]),
        "verse": ("_O lamp,_\n_burn!_\n\n     *Burn\n     out!*", ["O lamp, burn!", "Burn out!"]),
        "emphasis": ("**Ann.** _I_ am, *very*, __so__.", ["Ann. I am, very, so."]),
        "emphasis that ends after a stop": ("[Softly_._] The _end._", ["[Softly.] The end."]),
        "underscores within words": ("2_s._ for my_self_, the n_th_.", ["2_s. for my_self, the n_th."]),
        "a gap that is underscores": ("In 17__ the Rue C___ , ___ and", ["In 17 the Rue C ,  and"]),
        "escapes": ("In 1912\\. He \\--went.", ["In 1912. He --went."]),
        "stars as notes": ("So it was.*\n\n* Or not.\n\nSo [*] too.", ["So it was.", " Or not.", "So [] too."]),
        "stars between spaces": ("And so * * on", ["And so   on"]),
        "notes": ("Late.[^1] Very.\n\n[^1]: By noon.\n\n[1] As said.", ["Late. Very.", "[1] As said."]),
        "links": ("See [the lamp](lamp.md#top) [there] (again).", ["See the lamp [there] (again)."]),
        "quotations": ("They sang:\n\n> O lamp,\n>\n> burn on!\n\nThen left.", ["They sang:", "Then left."]),
        "a quotation's lines without a mark": ("> O lamp,\nburn\n>\n> and\non!", ["burn on!"]),
        "rules": ("One.\n\n---\n\nTwo.\n\n* * *\n\n_____\n\n--and three.", ["One.", "Two.", "--and three."]),
        "tables of no known form": ("Lamps | 2\nOil   | 3", ["Lamps | 2 Oil | 3"]),
        "paragraphs in capitals": ('"TOM!"\n\n**PART II**\n\n1801.\n\nNo answer.', ["No answer."]),
        "other scripts": ("οὐκ ἂν.\n\nThat is οὐκ ἂν.\n\nÉ.", ["That is οὐκ ἂν."]),
        "what is no mark": ("`So' &amp; {sic} — “so”…", ["`So' &amp; {sic} — “so”…"]),
    }.values(),
)  # fmt: skip
def test_cleaned_text_has_a_paragraph_a_line(markdown, cleaned):
    assert script.clean(markdown) == "\n\n".join(cleaned) + "\n"


# --- the list ----------------------------------------------------------------------------------------------------


def test_the_list_is_well_formed():
    books = script.books()
    assert len(books) == 196
    assert len({book.author for book in books}) == 37
    for field in ("sha256", "name", "source"):
        assert len({getattr(book, field) for book in books}) == len(books), f"{field} twice"
    assert [book.name for book in books] == sorted(book.name for book in books)
    for book in books:
        assert re.fullmatch("[0-9a-f]{64}", book.sha256), book
        assert re.fullmatch(r"[a-z]+(-[a-z0-9]+)+\.txt", book.name), book
        assert re.fullmatch(re.escape(f"{book.author}/{book.title}") + r" ?\.md", book.source), book
        assert 1837 <= int(book.year) <= 1925, book


@pytest.mark.skipif(not TEXTS.exists(), reason="the cleaned books are in ../shared/data")
def test_every_checksum_is_that_of_the_cleaned_text():
    listed = {book.name: book.sha256 for book in script.books()}
    texts = sorted(TEXTS.glob("*.txt"))
    assert listed == {text.name: hashlib.sha256(text.read_bytes()).hexdigest() for text in texts}


# --- the command -------------------------------------------------------------------------------------------------


@pytest.fixture
def run(tmp_path, monkeypatch, capsys):
    """Runs the command on a checkout of two books; returns (exit code, stdout, lines of stderr)."""
    texts = {"lamp": "The lamp burned.\n", "rain": "It rained.\n\nIt stopped.\n"}
    lines = ["# A list.\n"]
    for name, text in texts.items():
        source = tmp_path / "checkout" / "A. Writer" / f"{name}.md"
        source.parent.mkdir(parents=True, exist_ok=True)
        source.write_bytes((HEAD + text).replace("\n", "\r\n").encode())
        checksum = hashlib.sha256(text.encode()).hexdigest()
        lines.append(f"{checksum}\t{name}.txt\tA. Writer/{name}.md\tA. Writer\t{name}\t1900\n")
    monkeypatch.setattr(script, "LIST", tmp_path / "books.txt")
    script.LIST.write_text("".join(lines), encoding="utf-8")

    def run(checkout="checkout", output="output"):
        monkeypatch.setattr(sys, "argv", ["clean_books.py", str(tmp_path / checkout), str(tmp_path / output)])
        code = script.main()
        captured = capsys.readouterr()
        return code, captured.out, captured.err.splitlines()

    return run


def test_a_whole_checkout_is_cleaned_as_listed(run, tmp_path):
    assert run() == (0, "2 of 2 books are as listed\n", [])
    written = {file.name: file.read_bytes() for file in (tmp_path / "output").iterdir()}
    assert written == {"lamp.txt": b"The lamp burned.\n", "rain.txt": b"It rained.\n\nIt stopped.\n"}


def test_a_book_that_differs_is_named_and_written(run, tmp_path):
    (tmp_path / "checkout" / "A. Writer" / "lamp.md").write_text(f"{HEAD}The lamp went out.\n")
    assert run() == (1, "1 of 2 books are as listed\n", ["lamp.txt differs from the listed text"])
    assert (tmp_path / "output" / "lamp.txt").read_text() == "The lamp went out.\n"


def test_a_book_that_is_missing_or_unreadable_is_named(run, tmp_path):
    (tmp_path / "checkout" / "A. Writer" / "lamp.md").unlink()
    (tmp_path / "checkout" / "A. Writer" / "rain.md").write_bytes(b"It rained\xff.\n")
    code, out, (missing, unreadable) = run()
    assert (code, out) == (1, "0 of 2 books are as listed\n")
    assert missing == "A. Writer/lamp.md is missing"
    assert unreadable.startswith("A. Writer/rain.md cannot be read: 'utf-8' codec can't decode byte 0xff")
    assert not list((tmp_path / "output").iterdir())


def test_nothing_is_overwritten(run, tmp_path):
    (tmp_path / "output").mkdir()
    (tmp_path / "output" / "lamp.txt").write_text("Mine.\n")
    code, out, (line,) = run()
    assert (code, out) == (2, "")
    assert line.startswith(f"error: {tmp_path / 'output'} is in the way")
    assert (tmp_path / "output" / "lamp.txt").read_text() == "Mine.\n"


def test_folders_that_cannot_be_used_are_refused_in_one_line(run, tmp_path):
    (tmp_path / "file").write_text("")
    for checkout in ("nowhere", "file"):
        code, out, (line,) = run(checkout=checkout)
        assert (code, out) == (2, "")
        assert line.startswith(f"error: {tmp_path / checkout} is not a folder")
    (tmp_path / "empty").mkdir()
    code, out, (line,) = run(checkout="empty")
    assert (code, out) == (2, "")
    assert line.startswith(f"error: {tmp_path / 'empty'} holds none of the books")
    code, out, (line,) = run(output="file/below")
    assert (code, out) == (2, "")
    assert line == f"error: {tmp_path / 'file' / 'below'} cannot be written: Not a directory"
    assert not (tmp_path / "output").exists()
