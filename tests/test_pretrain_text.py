"""From files, or from this machine's documentation, to documents of sentences."""

import subprocess
import sys
import textwrap

import numpy as np
import pytest

from numbert import InputError
from numbert.pretrain.corpus import MIN_WORDS, Corpus, cut_into_documents, read_corpus, read_text
from numbert.pretrain.documentation import default_roots, documentation, prose
from numbert.pretrain.sentences import split_sentences

# --- sentences ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "sentences",
    [
        ["Call me Ishmael.", "Some years ago I went to sea!", "Why?", "It was November…", "Then spring."],
        ["Mr. Knightley and Mrs. Weston came.", "Dr. Perry left."],
        ["Use an array, e.g. NumPy's.", "A list, i.e. Python's, is slower (cf. Chapter two)."],
        ["Pi is 3.14.", "Version 1.2.3 is out.", "See numpy.linalg and Fig. 2 on p. 7.", "Done."],
        ["J. R. R. Tolkien met the U.S. Army.", "Did he?"],
        ["It was I.", "He said no.", "She smiled."],
        ['"What!" cried Emma.', '"Oh!', 'It is Mr. Elton."', "(She left.)", "“Quite.”", "Élan is all."],
        ["Wait... what?", "Yes... no."],
        ["1. First comes this.", "Two is even."],
    ],
)
def test_sentences_end_where_a_reader_ends_them(sentences):
    assert split_sentences(" ".join(sentences)) == sentences
    assert split_sentences("  " + "\n\n".join(sentences) + "\n") == sentences


def test_a_sentence_is_one_line_with_single_spaces():
    assert split_sentences("It  was\na\tdark\n\nnight. It\nrained.") == ["It was a dark night.", "It rained."]


@pytest.mark.parametrize("text", ["", "  \n ", "\n"])
def test_no_text_has_no_sentence(text):
    assert split_sentences(text) == []


@pytest.mark.parametrize("text", [".", "... .", "A. B. C.", "no end", "?!", "。", "x.Y"])
def test_what_is_hardly_a_sentence_loses_nothing(text):
    assert " ".join(split_sentences(text)) == text


# --- files -------------------------------------------------------------------------------------------------------


def words(count, sentence_length=10):
    """Sentences of made-up words, all different."""
    rng = np.random.default_rng(count)
    letters = np.array(list("abcdefghij"))
    made = ["".join(rng.choice(letters, 5)) for _ in range(count)]
    runs = [made[i : i + sentence_length] for i in range(0, count, sentence_length)]
    return [" ".join(run).capitalize() + "." for run in runs]


def test_one_sentence_in_a_line_has_a_document_between_blank_lines():
    texts = [["One is here.", "Two is here!", "Is three here?"], ["Four is here;", 'Five: "six."']] * 10
    text = "\n\n".join("\n".join(document) for document in texts)
    assert cut_into_documents([text]) == texts
    assert cut_into_documents([text.replace("\n\n", "\n \t\n\n")]) == texts


def test_a_novel_is_cut_between_paragraphs_into_documents_of_fifty_sentences():
    sentences = words(12_000)
    paragraphs = [sentences[i : i + 7] for i in range(0, len(sentences), 7)]
    text = "\n\n".join(textwrap.fill(" ".join(paragraph), 47) for paragraph in paragraphs)
    documents = cut_into_documents([text])
    assert [s for document in documents for s in document] == sentences
    assert {len(document) for document in documents[:-1]} == {56}  # 8 paragraphs; 7 are 49 sentences
    starts = {paragraph[0] for paragraph in paragraphs}
    assert all(document[0] in starts for document in documents)


@pytest.mark.parametrize(
    "form",
    [
        lambda sentences: textwrap.fill(" ".join(sentences), 47),
        lambda sentences: " ".join(sentences),
        lambda sentences: "\n".join(sentences),
        lambda sentences: "\n\n".join(sentences),
    ],
    ids=["wrapped without blank lines", "one line", "a line each", "a paragraph each"],
)
def test_a_short_text_of_any_form_still_has_about_twenty_documents(form):
    sentences = words(2_000)
    documents = cut_into_documents([form(sentences)])
    assert [s for document in documents for s in document] == sentences
    assert 15 <= len(documents) <= 25


def test_no_document_has_text_of_two_files():
    first, second = words(300), words(310)
    for document in cut_into_documents([" ".join(first), " ".join(second)]):
        assert set(document) <= set(first) or set(document) <= set(second)


def test_documents_of_one_sentence_are_left_out(tmp_path):
    path = tmp_path / "text.txt"
    path.write_text("Alone it is.\n\n" + "\n\n".join("\n".join(words(100 + i)) for i in range(25)))
    corpus = read_corpus([path])
    assert len(corpus.documents) == 25
    assert "Alone it is." not in corpus.sentences
    assert str(path) in corpus.source


def test_every_end_of_line_and_a_byte_order_mark_are_read(tmp_path):
    path = tmp_path / "text.txt"
    path.write_bytes(b"\xef\xbb\xbfA b.\r\nC d.\rE f.\n")
    assert read_text(path) == "A b.\nC d.\nE f.\n"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty"),
        (b" \n\t\n", "is empty"),
        (b"caf\xc3\xa9 caf\xe9", "is not UTF-8 text: byte 9 is 0xe9"),
        (b"\x89PNG\r\n\x1a\n\x00\x00", "is not text: byte 8 is zero"),
    ],
)
def test_a_file_that_is_no_text_is_refused_with_the_place(tmp_path, content, message):
    path = tmp_path / "given.txt"
    path.write_bytes(content)
    with pytest.raises(InputError, match=message) as caught:
        read_corpus([path])
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_missing_file_and_a_folder_are_refused(tmp_path):
    with pytest.raises(InputError, match=r"novel\.txt does not exist"):
        read_corpus([tmp_path / "novel.txt"])
    with pytest.raises(InputError, match="is a folder; give text files"):
        read_corpus([tmp_path])


def test_too_little_text_is_refused_with_the_minimum(tmp_path):
    path = tmp_path / "short.txt"
    path.write_text(" ".join(words(MIN_WORDS - 10)))
    with pytest.raises(InputError, match=f"290 words; pretraining needs at least 4 documents and {MIN_WORDS}"):
        read_corpus([path])
    path.write_text(" ".join(words(MIN_WORDS)))
    assert len(read_corpus([path]).documents) >= 4


def test_whole_documents_are_held_out_at_random_but_at_least_two():
    documents = [[f"{i} a.", f"{i} b."] for i in range(200)]
    train, held_out = Corpus("made up", documents).split(0.05, np.random.default_rng(0))
    assert len(held_out) == 10
    assert sorted(train + held_out) == sorted(documents)
    assert Corpus("made up", documents).split(0.05, np.random.default_rng(1))[1] != held_out
    assert len(Corpus("made up", documents[:4]).split(0.05, np.random.default_rng(0))[1]) == 2


# --- documentation -----------------------------------------------------------------------------------------------

NUMPYDOC = """
Return the mean of an array along :func:`~numpy.axis` number *one*.

The mean is the sum divided by ``len(x)``, as `numpy.mean` has it [1]_. It
goes on in the next line.

Parameters
----------
x : array_like
    The numbers to take the mean of.
out : ndarray, optional
    A place to put it. Default: none.

See Also
--------
median : The middle one is here.

Notes
-----
.. math::

    The mean is not prose here.

.. note::
    What a note says is prose.

- Each item of a list stands alone.
- Here is another such item.

The following is code::

    This is not to be read.

After the code comes prose again.

References
----------
.. [1] The author wrote about means.

Examples
--------
>>> print("This is not to be read.")
This is not to be read.

The last words of it all.
"""


def test_the_prose_of_a_docstring_and_nothing_else():
    assert prose(NUMPYDOC) == [
        ["Return the mean of an array along axis number one."],
        ["It goes on in the next line."],
        ["The numbers to take the mean of."],
        ["A place to put it."],
        ["What a note says is prose."],
        ["Each item of a list stands alone."],
        ["Here is another such item."],
        ["After the code comes prose again."],
        ["The last words of it all."],
    ]


@pytest.mark.parametrize(
    "text",
    ["", "x", "Too few words.", "no capital at the start.", "No full stop at the end", "A = b + c * d is it."],
)
def test_what_is_no_sentence_is_left_out(text):
    assert prose(text) == []


@pytest.fixture(scope="module")
def roots():
    """A part of the default ones, to be quick: Python's help(), NumPy, SciPy's special functions."""
    standard_library, numpy, scipy, *_ = default_roots()
    return [standard_library / "pydoc_data", numpy, scipy / "special"]


@pytest.fixture(scope="module")
def found(roots):
    return documentation(roots)


def test_the_documentation_is_megabytes_of_prose(found):
    text = "\n".join(sentence for document in found for sentence in document)
    assert len(text) > 700_000
    assert sum(len(document) >= 2 for document in found) > 200
    # From Python's help(), and from what is written in Python, in C and in Cython.
    for phrase in ("lambda expression", "einsum", "broadcast", "Bessel function"):
        assert phrase in text, phrase
    for mark in ("`", ">>>", ":func:", "----", "\t"):
        assert mark not in text, mark


def test_no_paragraph_comes_twice(found):
    documents = ["\n".join(document) for document in found if document]
    assert len(set(documents)) == len(documents)


def test_the_documents_are_the_same_every_time(found, roots):
    assert documentation(roots[:1]) == found[: len(documentation(roots[:1]))]


def test_one_document_is_a_class_or_the_rest_of_a_module_or_a_topic(tmp_path):
    (tmp_path / "pydoc_data").mkdir()
    (tmp_path / "tests").mkdir()
    (tmp_path / "a.py").write_text(
        '"""This is module a of two."""\n'
        "class C:\n"
        '    """This is class C of a."""\n'
        "    def f(self):\n"
        '        """This is method f of C."""\n'
        "        class D:\n"
        '            """This is class D within f."""\n'
        "def g():\n"
        '    """This is function g of a."""\n'
        'add_newdoc("a", "h", """This is function h in C.""")\n'
        'x = """This is no docstring at all."""\n'
    )
    (tmp_path / "b.py").write_text(
        'def g():\n    """This is function g of a."""\n    """This is no docstring."""\n'
    )
    (tmp_path / "broken.py").write_text('"""This is not to be parsed."""\n)\n')
    (tmp_path / "tests" / "c.py").write_text('"""This is a test of it."""\n')
    (tmp_path / "pydoc_data" / "topics.py").write_text(
        "topics = {'if': 'An if is a statement.', 'or': 'An or is not one.'}"
    )
    assert [document for document in documentation([tmp_path]) if document] == [
        ["This is module a of two.", "This is function g of a.", "This is function h in C."],
        ["This is class C of a.", "This is method f of C.", "This is class D within f."],
        ["An if is a statement."],
        ["An or is not one."],
    ]


def test_what_is_read_is_not_run(tmp_path):
    (tmp_path / "a.py").write_text('"""This is module a here."""\nraise SystemExit("it was run")\n')
    assert documentation([tmp_path]) == [["This is module a here."]]
    code = (
        "import sys; from numbert.pretrain.documentation import default_roots; roots = default_roots();"
        "assert [root.name for root in roots[1:]] == ['numpy', 'scipy', 'matplotlib', 'mpl_toolkits'], roots;"
        "assert not {'scipy', 'matplotlib', 'mpl_toolkits'} & set(sys.modules), 'imported'"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
