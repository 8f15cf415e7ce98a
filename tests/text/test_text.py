"""From files, or from this machine's documentation, to a stream of sentences."""

import hashlib
import subprocess
import sys
import textwrap
import time
import tracemalloc

import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st
from made_up import read, sentences

from numbert import InputError
from numbert.text import corpus
from numbert.text.corpus import find_corpus
from numbert.text.documentation import default_roots, documentation, prose
from numbert.text.sentences import END_MARKS, split_sentences

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


OTHER_LANGUAGES = {
    "Hindi": ["राम घर गया।", "क्या सीता भी आएगी?", "हाँ, डॉ. शर्मा उसे लाएँगे।", "आम का दाम 3.5 रुपये है।", "5 लोग आए।"],
    "Hindi verse": ["जय हनुमान ज्ञान गुन सागर।", "जय कपीस तिहुँ लोक उजागर॥ १ ॥", "राम दूत अतुलित बल धामा॥"],
    "Marathi": ["मी शाळेत गेलो.", "तू कुठे आहेस?", "आज पाऊस पडतो आहे."],
    "Bengali": ["আমি বাড়ি যাই।", "তুমি কোথায় যাও?", "সে বই পড়ে।"],
    "Tamil": ["நான் பள்ளிக்குச் சென்றேன்.", "நீ எங்கே போகிறாய்?", "மழை பெய்கிறது."],
    "Arabic": ["ذهب الولد إلى المدرسة.", "هل أنت بخير؟", "نعم!", "قال د. أحمد إن السعر 3.14 دينار.", "ثم عاد."],
    "Urdu": ["یہ ایک کتاب ہے۔", "کیا وہ سکول گیا؟", "قیمت 3۔5 روپے ہے۔"],
    "Hebrew": ["הילד הלך לבית הספר.", "מה שלומך?", "א. ב. יהושע כתב ספר.", "תודה!"],
    "Korean": [
        "나는 학교에 갔다.",
        "너는 어디 가니?",
        "J. K. 롤링은 2024. 5. 3. 서울에서… 말했다.",
        '"가자!"라고 그가 말했다.',
        "값은 3.5원이다.",
    ],
    "Amharic": ["እኔ ወደ ቤት ሄድኩ።", "ማን ነው፧", "እሷ ናት።"],
    "Armenian": ["Ես գնացի տուն։", "Ժամը 10։30 էր։", "Նա եկավ։"],
    "Georgian": ["ის სახლში წავიდა.", "რატომ?", "მე დავრჩი."],
    "Khmer": ["ខ្ញុំទៅផ្សារ។", "គាត់ទិញផ្លែឈើ។ល។", "យើងញ៉ាំបាយ។"],
    "Burmese": ["ကျွန်တော် ကျောင်းသွားတယ်။", "သူ အိမ်မှာ ရှိတယ်။"],
    "Tibetan": ["ང་སློབ་གྲྭར་འགྲོ།", "ཁྱེད་ག་པར་འགྲོ།"],
    "German": ["Nein.", "„Doch!“", "Er ging.", "»Gut.«", "Sie blieb."],
    "Finnish": ["Hän lähti.", "”Minne?”", "”En tiedä.”"],
    "Spanish": ["Se fue.", "¿Por qué?", "¡No lo sé!"],
}
WITHOUT_SPACES = {
    "Chinese": [
        "我昨天去了北京。",
        "天气很好！",
        "你去过吗？",
        "“没有。”",
        "他说要等……再去。",
        "门票３．５元。",
        "3天后见。",
    ],
    "Japanese": [
        "昨日は雨でした。",
        "「本当？」と彼女は聞いた。",
        "『はい。』",
        "そうですか！",
        "2024年の話です。",
    ],
}
ALL_LANGUAGES = OTHER_LANGUAGES | WITHOUT_SPACES


@pytest.mark.parametrize("language", ALL_LANGUAGES)
def test_sentences_end_at_the_full_stops_of_every_script(language):
    sentences = ALL_LANGUAGES[language]
    assert split_sentences(" ".join(sentences)) == sentences
    assert split_sentences("\n".join(sentences)) == sentences


@pytest.mark.parametrize("language", [*WITHOUT_SPACES, "Hindi verse", "Burmese", "Amharic"])
def test_the_full_stops_of_these_scripts_need_no_space_after_them(language):
    sentences = ALL_LANGUAGES[language]
    assert split_sentences("".join(sentences)) == sentences


def test_a_full_stop_is_judged_by_what_follows_it():
    assert split_sentences("He paid 3.14 for 中文. See vs. 中文.") == ["He paid 3.14 for 中文.", "See vs. 中文."]
    assert split_sentences("See numpy. 中文 it is. and so on") == ["See numpy.", "中文 it is. and so on"]


@pytest.mark.parametrize(
    "part",
    [
        "e.g. A. ",
        "Mr. ",
        "... ",
        "1. ",
        "।",
        "3۔",
        "!!!!",
        "。」",
        '."',
        "॥ १",
        ". \n ",
        "A.--",
        "--Mr.",
        ".—A",
        "?'A ",
    ],
)
def test_the_time_for_a_text_is_proportional_to_its_length(part):
    """16 times the text takes the processor about 16 times as long; it would be 256 if each place looked at all
    before."""
    times = []
    for size in (8_000, 128_000):
        text = part * (size // len(part))
        spent = []
        for _ in range(3):
            start = time.process_time()
            split_sentences(text)
            spent.append(time.process_time() - start)
        times.append(min(spent))
    assert times[1] < 64 * times[0]


def test_a_sentence_is_one_line_with_single_spaces():
    assert split_sentences("It  was\na\tdark\n\nnight. It\nrained.") == ["It was a dark night.", "It rained."]


@pytest.mark.parametrize("text", ["", "  \n ", "\n"])
def test_no_text_has_no_sentence(text):
    assert split_sentences(text) == []


@pytest.mark.parametrize("text", [".", "... .", "A. B. C.", "no end", "?!", "。", "x.Y"])
def test_what_is_hardly_a_sentence_loses_nothing(text):
    assert " ".join(split_sentences(text)) == text


# --- files -------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    """One that each test, or each example of hypothesis, writes anew."""
    return tmp_path_factory.mktemp("text") / "given.txt"


@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\r"])
@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
def test_every_end_of_line_and_a_byte_order_mark_are_read(file, end, mark):
    lines = [b"A b.", b"C d.", b"", b"E f.", b"G h.", b""] * 20
    file.write_bytes(mark + end.join(lines))
    assert read(file) == [["A b.", "C d."], ["E f.", "G h."]] * 20


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty"),
        (b" \n\t\n", "is empty"),
        (b"\xef\xbb\xbf", "is empty"),
        (b"\xef\xbb\xbf\x0c \xc2\xa0\r\n", "is empty"),
        (b"caf\xc3\xa9 caf\xe9", "is not UTF-8 text: byte 9 is 0xe9"),
        (b"caf\xc3\xa9 caf\xc3", "is not UTF-8 text: byte 9 is 0xc3"),
        (b"\x89PNG\r\n\x1a\n\x00\x00", "is not text: byte 8 is zero"),
    ],
)
def test_a_file_that_is_no_text_is_refused_with_the_place(file, content, message):
    file.write_bytes(content)
    with pytest.raises(InputError, match=message) as caught:
        find_corpus([file])
    assert str(file) in str(caught.value)
    assert "\n" not in str(caught.value)


@settings(max_examples=200, deadline=None)
@given(
    st.lists(st.one_of(st.sampled_from(["é", "語", "😀", "a", "\n"]).map(str.encode), st.binary(max_size=3))),
    st.integers(1, 7),
)
@example([b"caf\xc3\xa9", b"\xe2\x82", b"A"], 1)
@example([b"abc\xf0\x9f\x98"], 2)
def test_a_bad_byte_is_found_wherever_the_chunks_end_in_which_a_file_is_read(file, pieces, chunk):
    content = b"".join(pieces)
    assume(b"\0" not in content)
    file.write_bytes(content)
    try:
        said = "is empty" if not content.decode("utf-8-sig").strip() else None
    except UnicodeDecodeError as error:
        said = f"is not UTF-8 text: byte {len(content) - len(error.object) + error.start} is "
        said += f"0x{error.object[error.start]:02x}; convert it to UTF-8"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(corpus, "_CHUNK", chunk)
        if said is None:
            assert find_corpus([file]).size == len(content)
        else:
            with pytest.raises(InputError) as caught:
                find_corpus([file])
            assert str(caught.value) == f"{file} {said}"


def test_a_zero_byte_has_the_same_place_in_any_chunk(file, monkeypatch):
    monkeypatch.setattr(corpus, "_CHUNK", 3)
    file.write_bytes("é é é".encode() + b"\0")
    with pytest.raises(InputError, match="byte 8 is zero"):
        find_corpus([file])


def test_a_missing_file_and_a_folder_are_refused(tmp_path):
    with pytest.raises(InputError, match=r"novel\.txt does not exist"):
        find_corpus([tmp_path / "novel.txt"])
    with pytest.raises(InputError, match="is a folder; give text files"):
        find_corpus([tmp_path])


def test_the_same_text_given_twice_is_refused_whatever_its_name(tmp_path):
    paths = [tmp_path / name for name in ("a.txt", "b.txt", "c.txt")]
    for path, text in zip(paths, ("One.", "Two.", "One."), strict=True):
        path.write_text(text)
    for twice in ([paths[0], paths[0]], paths):
        with pytest.raises(InputError, match=r"txt and .*a\.txt are the same text; give it once"):
            find_corpus(twice)


def test_a_corpus_knows_its_files(tmp_path):
    paths = [tmp_path / "a.txt", tmp_path / "b.txt"]
    paths[0].write_text("Some text.\n")
    paths[1].write_bytes("Ein schöner Text.\n".encode())
    found = find_corpus(paths)
    assert found.source == f"{paths[0]}, {paths[1]}"
    assert found.size == 11 + 19
    assert found.files[0].sha256 == hashlib.sha256(b"Some text.\n").hexdigest()
    assert find_corpus([]).size is None
    assert "documentation" in find_corpus([]).source


# --- documents ---------------------------------------------------------------------------------------------------


def test_one_sentence_in_a_line_has_a_document_between_blank_lines(file):
    texts = [["One is here.", "Two is here!", "Is three here?"], ["Four is here;", 'Five: "six."']] * 10
    text = "\n\n".join("\n".join(document) for document in texts)
    for written in (text, text.replace("\n\n", "\n \t\n\n"), f"\n\n{text}\n\n\n"):
        file.write_text(written)
        assert read(file) == texts


def test_a_novel_is_cut_between_paragraphs_into_documents_of_fifty_sentences(file):
    every = sentences(12_000)
    paragraphs = [every[i : i + 7] for i in range(0, len(every), 7)]
    file.write_text("\n\n".join(textwrap.fill(" ".join(paragraph), 47) for paragraph in paragraphs))
    documents = read(file)
    assert [s for document in documents for s in document] == every
    assert {len(document) for document in documents[:-1]} == {56}  # 8 paragraphs; 7 are 49 sentences
    starts = {paragraph[0] for paragraph in paragraphs}
    assert all(document[0] in starts for document in documents)


@pytest.mark.parametrize(
    "form",
    [
        lambda paragraphs: "\n\n".join(textwrap.fill(" ".join(p), 47) for p in paragraphs),
        lambda paragraphs: "\n\n".join(" ".join(p) for p in paragraphs),
        lambda paragraphs: "\n\n".join(s for p in paragraphs for s in p),
        lambda paragraphs: "\n".join(s for p in paragraphs for s in p).replace("\n", "\n\n", 1),
    ],
    ids=["wrapped", "a paragraph in a line", "a paragraph each", "a sentence in a line and one blank line"],
)
def test_a_short_text_of_any_form_still_has_about_twenty_documents(file, form):
    every = sentences(2_000)
    file.write_text(form([every[i : i + 3] for i in range(0, len(every), 3)]))
    documents = read(file)
    assert [s for document in documents for s in document] == every
    assert 15 <= len(documents) <= 25


@pytest.mark.parametrize(
    "form", [" ".join, "\n".join, lambda every: f"\n\n {textwrap.fill(' '.join(every))} \n \n"]
)
def test_a_text_without_a_blank_line_is_one_document_and_refused(file, form):
    file.write_text(form(sentences(2_000)))
    with pytest.raises(InputError) as caught:
        next(find_corpus([file]).sentences())
    assert "is one document, as none of its lines is blank" in str(caught.value)
    assert "part documents by blank lines, or give more files" in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("form", [" ".join, "\n".join, "\n\n".join])
def test_of_several_files_each_is_a_document_or_more(tmp_path, form):
    paths = [tmp_path / f"{i}.txt" for i in range(4)]
    texts = [sentences(100 + 10 * i) for i in range(4)]
    for path, text in zip(paths, texts, strict=True):
        path.write_text(form(text))
    documents = read(*paths)
    assert [s for document in documents for s in document] == [s for text in texts for s in text]
    assert len(documents) >= 4
    for document in documents:
        assert any(set(document) <= set(text) for text in texts)  # of one file


def test_the_stream_is_the_same_every_time(file):
    file.write_text("\n\n".join(sentences(3_000)))
    found = find_corpus([file])
    assert list(found.sentences()) == list(found.sentences())


@pytest.mark.parametrize("language", ALL_LANGUAGES)
def test_googles_form_is_seen_in_every_language(file, language):
    sentences = ALL_LANGUAGES[language]
    file.write_text("\n\n".join(["\n".join(sentences)] * 24), encoding="utf-8")
    assert read(file) == [sentences] * 24
    form = find_corpus([file]).form
    assert (form.by_line, form.prose, form.given, form.few) == ((str(file),), (), 20, False)


@pytest.mark.parametrize("language", ALL_LANGUAGES)
def test_running_prose_is_cut_into_documents_in_every_language(file, language):
    sentences = ALL_LANGUAGES[language]
    paragraph = ("" if language in WITHOUT_SPACES else " ").join(sentences)
    file.write_text("\n\n".join([paragraph] * 500), encoding="utf-8")
    documents = read(file)
    assert [s for document in documents for s in document] == sentences * 500
    # Of whole paragraphs, as many as make 50 sentences.
    assert {len(document) for document in documents[:-1]} == {-(-50 // len(sentences)) * len(sentences)}
    form = find_corpus([file]).form
    assert (form.by_line, form.prose, form.sentences) == ((), (str(file),), 50)


def in_paragraphs(documents):
    return "\n\n".join(" ".join(document) for document in documents)


def in_lines(documents):
    return "\n\n".join("\n".join(document) for document in documents)


def in_documents(number, length):
    """A number of documents, each of `length` sentences."""
    every = sentences(10 * number * length)
    return [every[i : i + length] for i in range(0, len(every), length)]


@pytest.mark.parametrize(
    ("text", "documents", "said"),
    [
        (
            in_paragraphs(in_documents(300, 10)),
            60,
            "running prose: a blank line ends a paragraph, and the paragraphs are put together to documents of at "
            "least 50 sentences, or fewer at the end of a file",
        ),
        (
            in_paragraphs(in_documents(40, 5)),
            20,
            "running prose: a blank line ends a paragraph, and the 40 paragraphs are put together to documents of "
            "at least 10 sentences (a twentieth of this small text, but no fewer than 5), or fewer at the end of "
            "a file",
        ),
        (in_lines(in_documents(40, 5)), 40, "one sentence in a line: a blank line ends a document"),
        (
            in_lines(in_documents(8, 10)),
            16,
            "one sentence in a line: a blank line ends a document, and so do 5 sentences (a twentieth of this "
            "small text, but no fewer than 5), as only 8 are given",
        ),
    ],
    ids=["a novel", "40 paragraphs", "40 documents", "8 documents"],
)
def test_the_form_that_was_seen_is_told_with_the_rule_for_small_texts(file, text, documents, said):
    file.write_text(text)
    assert str(find_corpus([file]).form) == said
    assert len(read(file)) == documents


def test_of_two_forms_it_is_told_which_file_has_which(tmp_path):
    paths = [tmp_path / "lines.txt", tmp_path / "prose.txt"]
    paths[0].write_text(in_lines(in_documents(30, 5)))
    paths[1].write_text(in_paragraphs(in_documents(20, 7)))
    assert str(find_corpus(paths).form) == (
        "one sentence in a line (lines.txt): a blank line ends a document; running prose (prose.txt): a blank "
        "line ends a paragraph, and the 20 paragraphs are put together to documents of at least 14 sentences (a "
        "twentieth of this small text, but no fewer than 5), or fewer at the end of a file"
    )


def form_and_boundaries(text):
    """Plainly: has it a sentence in each line, and after how many words may a document end?"""
    lines = text.removeprefix("\ufeff").replace("\r\n", "\n").replace("\r", "\n").split("\n")
    full = [line.rstrip() for line in lines if line.strip()]
    ended = sum(line.rstrip("'\"”’»“‘«)]」』）】》〉〕*_").endswith((*END_MARKS, *":;：；؛")) for line in full)
    blocks = sum(bool(b.strip()) and not a.strip() for a, b in zip(["", *lines], lines, strict=False))
    by_line = ended >= 0.8 * len(full) and len(full) >= 2 * blocks
    allowed, words = set(), 0
    for line in [*lines, ""]:
        if by_line or not line.strip():
            allowed |= {words, words + len(line.split())}
        words += len(line.split())
    return blocks, allowed


lines = st.sampled_from(
    ["", "", " ", "\t\u3000", "One.", "One is here. Two is", "two", "and. Three", 'Mr. X said: "No."', "4. Four!"]
)
texts = st.one_of(
    st.lists(st.one_of(lines, st.text(st.characters(codec="utf-8"), max_size=9)), max_size=80),
    st.lists(lines, max_size=80),
    st.lists(st.sampled_from(["One. Two.", "Three is here!", ""]), max_size=80),
).flatmap(lambda parts: st.sampled_from(["\n", "\r\n", "\r"]).map(lambda end: end.join(parts)))


@settings(max_examples=150, deadline=None)
@given(texts)
def test_any_text_is_refused_or_read_word_by_word_and_parted_where_it_may_be(file, text):
    file.write_bytes(text.encode())
    blocks, allowed = form_and_boundaries(text)
    if blocks <= 1 or "\0" in text:
        with pytest.raises(InputError) as caught:
            read(file)
        assert len(str(caught.value).splitlines()) == 1
        return
    documents = read(file)
    every = [sentence for document in documents for sentence in document]
    assert " ".join(every).split(" ") == text.removeprefix("\ufeff").split()
    assert all(documents)
    words = 0
    for document in documents:
        words += sum(len(sentence.split()) for sentence in document)
        assert words in allowed


# --- memory ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("space", [" ", ""], ids=["with spaces", "without"])
def test_a_line_of_megabytes_is_read_in_parts_and_loses_nothing(tmp_path, space):
    paths = [tmp_path / "a.txt", tmp_path / "b.txt"]
    texts = [space.join(f"{kind}{i:07}" for i in range(400_000)) for kind in "xy"]
    for path, text in zip(paths, texts, strict=True):
        path.write_text(text)
    documents = read(*paths)
    every = [sentence for document in documents for sentence in document]
    assert max(map(len, every)) <= 3 * corpus.SAMPLE
    assert space.join(every) == space.join(texts)


@settings(max_examples=200, deadline=None)
@given(
    st.lists(st.sampled_from([" ", "  ", "\t", "a", "bcd. ", "Ef.", "\n", " \n ", "ghijklmn"])), st.integers(1, 9)
)
@example(["a", "bcd. ", "\n", "a"], 5)
@example([" ", "ghijklmn", "\n", "a"], 4)
def test_the_parts_of_a_long_line_are_no_blank_lines(file, pieces, sample):
    text = "".join(pieces)
    while "\n\n" in "".join(character for character in text if character not in " \t"):
        text = text.replace("\n", "", 1)
    assume(text.strip())
    file.write_text(text)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(corpus, "SAMPLE", sample)
        with pytest.raises(InputError, match="is one document, as none of its lines is blank"):
            list(find_corpus([file]).sentences())


@settings(max_examples=200, deadline=None)
@given(texts, st.integers(1, 20))
def test_nothing_is_lost_wherever_the_parts_end_in_which_a_file_is_read(file, text, sample):
    file.write_bytes(text.encode())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(corpus, "SAMPLE", sample)
        try:
            documents = read(file)
        except InputError:
            return
    every = [sentence for document in documents for sentence in document]
    assert "".join("".join(every).split()) == "".join(text.removeprefix("\ufeff").split())


@pytest.mark.parametrize("form", [" ".join, "\n".join])
def test_reading_takes_no_more_memory_for_a_longer_text(file, monkeypatch, form):
    monkeypatch.setattr(corpus, "SAMPLE", 1 << 12)
    monkeypatch.setattr(corpus, "_CHUNK", 1 << 12)
    every = sentences(1_000)
    text = "\n\n".join(form(every[i : i + 10]) for i in range(0, len(every), 10)) + "\n\n"
    peaks = []
    for times in (10, 100):  # 60 KB, 600 KB
        file.write_text(text * times)
        tracemalloc.start()
        assert sum(sentence != "" for sentence in find_corpus([file]).sentences()) == 100 * times
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 2 * peaks[0] < 300_000


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
        "import sys; from numbert.text.documentation import default_roots; roots = default_roots();"
        "assert [root.name for root in roots[1:]] == ['numpy', 'scipy', 'matplotlib', 'mpl_toolkits'], roots;"
        "assert not {'scipy', 'matplotlib', 'mpl_toolkits'} & set(sys.modules), 'imported'"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
