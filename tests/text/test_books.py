"""Stories, verse and plays as books print them: which sentences and which documents come out."""

import re
from itertools import pairwise

import pytest
from made_up import read
from places import SHARED

from numbert.text.corpus import find_corpus
from numbert.text.sentences import split_sentences

BOOKS = SHARED / "data" / "english"

# --- sentences ---------------------------------------------------------------------------------------------------

DIALOGUE = {
    "a quotation goes on": [
        '"The boat," said Nell, "is gone; and with it," she sighed, "our supper."',
        "He nodded.",
    ],
    "a quotation of sentences": ['"It is late.', 'We had better go," said Tom.', '"Must we?"', '"Yes."'],
    "before a small letter": ['"Is it far?" asked the boy.', '"Hush!" said Nell; "not a word!" and she rose.'],
    "I asked": ['"Is it far?" I asked.', '"Hardly!" I answered, laughing.', '"Oh…" I began.'],
    "Nell asked": [
        '"Is it far?" Nell asked.',
        '"No!" Mrs. Day cried.',
        '"Ay!" old Tom said.',
        '"Eh?" Élise repeated.',
    ],
    "long names": ['"Come!" Sir Hugh Marlow shouted.', '"Why?" Captain Day quietly returned.'],
    "what is no name": [
        '"Is it far?"',
        "He asked in vain.",
        '"Come!"',
        "Nobody answered.",
        '"Eh?"',
        "The boy cried.",
    ],
    "no verb of saying": [
        '"Is it far?"',
        "I looked at the map.",
        '"Come!"',
        "Nell shut the door.",
        '"No!"',
        "I went.",
    ],
    "a full stop in quotes": ['"It is far."', "I said no more.", '"Come in."', "Nell said it twice."],
    "broken off": ['"If I could only--" and he stopped.', '"Then—"'],
    "hesitating": ['"Well . . . perhaps," he said.', '"I... think so.', 'But... no."'],
}


@pytest.mark.parametrize("quotes", ['""', "''", "“”", "‘’", "«»"])
@pytest.mark.parametrize("kind", DIALOGUE)
def test_dialogue_in_quotation_marks_of_every_kind(kind, quotes):
    sentences = [
        re.sub('"(?=[A-Z])|"(?=not|is|our)', quotes[0], s).replace('"', quotes[1]) for s in DIALOGUE[kind]
    ]
    assert split_sentences(" ".join(sentences)) == sentences
    assert split_sentences("\n".join(" ".join(sentences).split(" "))) == sentences  # wherever a line is broken


@pytest.mark.parametrize(
    "sentences",
    [
        [
            "\"He called out, 'Who is it?' and fled,\" she said.",
            "\"So I cried, 'Stay!'\"",
            "\"'Why?' Tom asked.\"",
            "Ah.",
        ],
        ["“She wrote ‘Never.’”", "“‘Never!’ I repeated.”", "“Did she?”"],
        ["'Twas night.", "'Tis morning.", '"\'Tis late," he said.', "It is.", "’Tis he.", "‘’Twas well.’"],
        ["They were the boys' books.", "'The boys'?'", "'No, the girls'.'", "It was done."],
    ],
    ids=["within others", "within curly ones", "apostrophes that open", "apostrophes that close"],
)
def test_quotation_marks_within_others_and_apostrophes(sentences):
    assert split_sentences(" ".join(sentences)) == sentences


@pytest.mark.parametrize(
    ("text", "sentences"),
    [
        (
            'He left.--She stayed. "Is he?"--"So they say."',
            ["He left.--", "She stayed.", '"Is he?"--', '"So they say."'],
        ),
        ("He is gone!—Gone. Oh?—I see.", ["He is gone!—", "Gone.", "Oh?—", "I see."]),
        ("May 5th.— Rain. June 1st. -- Sun.", ["May 5th.—", "Rain.", "June 1st.", "-- Sun."]),
        ("It was over. --So he thought.", ["It was over.", "--So he thought."]),
        (
            "He left.--he had to. Gone!—for a day. She--well, she stayed.",
            ["He left.--he had to.", "Gone!—for a day.", "She--well, she stayed."],
        ),
    ],
    ids=["--", "—", "white space after it or on both sides", "white space before it", "a small letter"],
)
def test_a_sentence_ends_at_a_dash_before_a_capital(text, sentences):
    assert split_sentences(text) == sentences


@pytest.mark.parametrize(
    "sentences",
    [
        [
            "Mr. and Mrs. Day met Dr. Low, Capt. Hay and M. Roux.",
            "Mdlle. Roux was at St. Anne's.",
            "Wm. Day sang.",
        ],
        ["It was her uncle--Mr. Day.", "The others—Mrs. Low, Dr. Hay—were out.", "One remained,--M. Roux."],
        ["G. W. Day, Jr., left at 5 p.m. with No. 7.", "He met Messrs. Low & Hay."],
        ["It was signed, John Day, Esq.", "She had tea, cake, etc.", "It cost him ten per cent.", "He paid."],
        ["It was I.", "“No.”", "It was he--I.", "We left."],
    ],
    ids=["titles", "titles after a dash", "initials and numbers", "what may end a sentence", "words like them"],
)
def test_abbreviations(sentences):
    assert split_sentences(" ".join(sentences)) == sentences


# --- documents ---------------------------------------------------------------------------------------------------

CHAPTER = """CHAPTER {number}.

The Old Mill

'Is it far?' I asked. 'A mile,' said Mr. Low,
'and all of it uphill.' We set out at once.

It rained.--We were glad of it.
"""
SENTENCES_OF_A_CHAPTER = [
    "The Old Mill",
    "'Is it far?' I asked.",
    "'A mile,' said Mr. Low, 'and all of it uphill.'",
    "We set out at once.",
    "It rained.--",
    "We were glad of it.",
]


@pytest.fixture
def book(tmp_path):
    return tmp_path / "book.txt"


def test_a_heading_is_a_sentence_of_the_document_that_it_stands_in(book):
    """A chapter's number and title are paragraphs like others: a document may begin within a chapter."""
    numbers = [f"{tens}{ones}" for tens in ("", "X", "XX") for ones in ("I", "II", "III", "IV", "V", "VI", "VII")]
    book.write_text("\n".join(CHAPTER.format(number=number) for number in numbers))
    sentences = [s for number in numbers for s in (f"CHAPTER {number}.", *SENTENCES_OF_A_CHAPTER)]
    documents = read(book)
    assert [s for document in documents for s in document] == sentences
    # 147 sentences are a small text: a twentieth is 7, which paragraphs of 1, 1, 3 and 2 make.
    assert documents == [sentences[i : i + 7] for i in range(0, 147, 7)]
    assert find_corpus([book]).form.paragraphs == 4 * 21


def test_a_title_and_its_text_in_one_paragraph_are_two_sentences():
    assert split_sentences("CHAPTER IV. The Old Mill") == ["CHAPTER IV.", "The Old Mill"]
    assert split_sentences("III. It was late.") == ["III.", "It was late."]


STANZA = """The miller sat beside his door,
  And watched the water run;
"I had," he said, "a wheel before,
  And now, O Lord! have none."
"""


def test_verse_is_cut_into_sentences_not_into_lines(book):
    """Most lines of a poem end within a sentence, so that it is not taken for a sentence in each line."""
    book.write_text("\n".join([STANZA] * 60))
    sentence = " ".join(STANZA.split())
    assert not find_corpus([book]).form.by_line
    assert read(book) == [[sentence] * 5] * 12


def test_verse_within_prose(book):
    prose = "Then he sang to us. It was an old song:"
    book.write_text(f"{prose}\n\n{STANZA}\nHe wept.\n\n" * 20)
    sentences = ["Then he sang to us.", "It was an old song:", " ".join(STANZA.split()), "He wept."]
    assert [s for document in read(book) for s in document] == sentences * 20


@pytest.mark.parametrize(
    ("speech", "sentences"),
    [
        ("Nell: [Rising.] Never! [She goes.]", ["Nell: [Rising.]", "Never!", "[She goes.]"]),
        ("Nell. (Rising.) Never! (She goes.)", ["Nell.", "(Rising.)", "Never!", "(She goes.)"]),
        ("NELL [to Tom]. Never!", ["NELL [to Tom].", "Never!"]),
        ("Mrs. Day. Is it you, Mr. Low?", ["Mrs. Day.", "Is it you, Mr. Low?"]),
    ],
)
@pytest.mark.parametrize("between", ["\n\n", "\n"], ids=["a speech a paragraph", "a speech a line"])
def test_a_play(book, speech, sentences, between):
    """A speaker's name with a full stop is a sentence: so is "Nell. Nobody else." in a story."""
    scene = between.join([speech, "Tom: Stay. I am", "sorry!" if between == "\n" else "Off: Oh!"])
    book.write_text(f"{scene}\n\n" * 25)
    every = [s for document in read(book) for s in document]
    assert every[: len(sentences)] == sentences
    assert every[len(sentences)] == "Tom: Stay."


def test_the_last_document_of_each_book_may_be_short(tmp_path):
    books = [tmp_path / f"{name}.txt" for name in "ab"]
    for path, number in zip(books, (104, 51), strict=True):
        path.write_text("".join(f"{path.stem.upper()} is {i}.\n\n" for i in range(number)))
    books.append(tmp_path / "c.txt")
    books[2].write_text("".join(f"C is {i}.\n\n" for i in range(900)))
    assert [len(document) for document in read(*books)] == [50, 50, 4, 50, 1, *[50] * 18]
    assert str(find_corpus(books).form).endswith("of at least 50 sentences, or fewer at the end of a file")


# --- real books --------------------------------------------------------------------------------------------------

# At most this part of the sentences has no end mark, as they are broken off, lead to a quotation, or are verse.
WITHOUT_END_MARK = {
    "doyle-the-hound-of-the-baskervilles": 0.01,  # straight double quotes
    "dickens-david-copperfield": 0.03,  # straight single quotes, long sentences
    "twain-adventures-of-huckleberry-finn": 0.08,  # dialect, —
    "carroll-through-the-looking-glass": 0.05,  # verse within prose
    "wilde-an-ideal-husband": 0.02,  # a play
}


@pytest.mark.skipif(not BOOKS.exists(), reason="needs the books in ../shared/data/english")
@pytest.mark.parametrize("name", WITHOUT_END_MARK)
def test_real_books(name):
    path = BOOKS / f"{name}.txt"
    documents = read(path)
    sentences = [sentence for document in documents for sentence in document]
    # Nothing is lost; without white space, as a dash may have had none.
    assert "".join("".join(sentences).split()) == "".join(path.read_text(encoding="utf-8").split())
    assert all(len(document) >= 50 for document in documents[:-1])

    def part(pattern):
        return sum(re.search(pattern, sentence) is not None for sentence in sentences) / len(sentences)

    assert part(r"^([”’)\]]|[\"'](\s|$))") == 0  # a closing quotation mark at the beginning
    assert part(r"(\b|--|—)(Mr|Mrs|Dr)\.$") == 0
    assert part(r"^\W*[a-z]") < 0.005  # paragraphs that go on after verse
    assert part(r"^(?!.*[.!?…][\"'”’)\]]*(--+|—)?$)") < WITHOUT_END_MARK[name]
    asked = [
        second
        for first, second in pairwise(sentences)
        if re.search(r"[!?][\"'”’]+$", first) and re.match(r"(I|Alice|Tom|Jim) (said|says|asked|cried)\b", second)
    ]
    assert len(asked) < 0.002 * len(sentences)  # those that begin paragraphs
