"""From text to a folder of token ids: what is in it, that it is the same every time, and whole or not there."""

import json
import os
import subprocess
import sys
from itertools import pairwise

import numpy as np
import pytest
from made_up import read, sentences
from measure_preparation import measure, write_text
from runs import digests

from numbert import InputError
from numbert.files.tokenizer import SPECIAL_TOKENS, load_tokenizer
from numbert.progress import Progress
from numbert.text import prepare as module
from numbert.text.corpus import find_corpus
from numbert.text.documents import Documents, DocumentsWriter
from numbert.text.prepare import MIN_WORDS, Data, prepare, tokenize
from numbert.text.vocabulary import CLS, MASK, PAD, SEP, UNK, pieces_that_go_on, train_tokenizer

# --- vocabulary --------------------------------------------------------------------------------------------------

SENTENCES = [f"The {a} array of {b} numbers isn't a {c}-list." for a in "xyz" for b in "pqr" for c in "uvw"]


def test_special_tokens_come_first_and_the_case_is_kept():
    tokenizer = train_tokenizer(SENTENCES, 120)
    assert [tokenizer.id_to_token(i) for i in range(5)] == list(SPECIAL_TOKENS.values())
    assert (PAD, UNK, CLS, SEP, MASK) == (0, 1, 2, 3, 4)
    assert tokenizer.token_to_id("The") is not None
    assert tokenizer.token_to_id("array") is not None
    assert tokenizer.token_to_id("##.") is None  # punctuation is never within a word
    ids = sorted(tokenizer.get_vocab().values())
    assert ids == list(range(len(ids)))
    assert len(ids) <= 120


def test_a_pair_is_put_together_as_bert_wants_it():
    tokenizer = train_tokenizer(SENTENCES, 120)
    encoding = tokenizer.encode("The array.", "x")
    assert encoding.tokens == ["[CLS]", "The", "array", ".", "[SEP]", "x", "[SEP]"]
    assert encoding.type_ids == [0, 0, 0, 0, 0, 1, 1]
    assert tokenizer.decode(encoding.ids) == "The array. x"


def test_the_same_text_gives_the_same_vocabulary_in_every_process():
    code = (
        "from numbert.text.vocabulary import train_tokenizer;"
        "text = [f'{word} {word[::-1]}{word}' for word in open(__import__('ast').__file__).read().split()];"
        "print(sorted(train_tokenizer(text, 700).get_vocab().items(), key=lambda item: item[1]))"
    )
    runs = [subprocess.run([sys.executable, "-c", code], capture_output=True, check=True).stdout for _ in range(3)]
    assert len(runs[0]) > 5000
    assert runs[0] == runs[1] == runs[2]


def test_a_vocabulary_too_small_for_the_characters_is_refused():
    with pytest.raises(InputError, match="vocab_size is 20; the special tokens and the characters"):
        train_tokenizer(SENTENCES, 20)


def test_sentences_become_ids_without_special_tokens():
    tokenizer = train_tokenizer([*SENTENCES, "[] SEP MASK"], 150)
    ids = tokenize(tokenizer, ["The x array.", "\u200b", "", "The [SEP] numbers.", "The 語 [MASK]"])
    pieces = [[tokenizer.id_to_token(i) for i in sentence] for sentence in ids]
    assert pieces[:4] == [["The", "x", "array", "."], [], [], ["The", "[", "SEP", "]", "numbers", "."]]
    assert pieces[4][:2] == ["The", "[UNK]"]
    assert not {PAD, CLS, SEP, MASK} & {i for sentence in ids for i in sentence}
    assert tokenizer.encode("[MASK]").ids == [CLS, MASK, SEP]  # as before for everyone else


# --- documents on disk -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("vocab_size", "dtype"), [(1 << 16, np.uint16), ((1 << 16) + 1, np.int32)])
def test_what_is_written_is_read_back_with_as_few_bytes_as_the_vocabulary_allows(tmp_path, vocab_size, dtype):
    last = vocab_size - 1
    with DocumentsWriter(tmp_path, "some", vocab_size) as writer:
        for document in ([[5, 6], [last]], [[7, 8, 9]], [[last, 5], [6], [7]]):
            for sentence in document:
                writer.add(sentence)
            writer.end_document()
    documents = Documents.open(tmp_path, "some", vocab_size)
    assert len(documents) == 3
    assert documents.ids.dtype == dtype
    assert documents.ids.tolist() == [5, 6, last, 7, 8, 9, last, 5, 6, 7]
    assert documents.sentences.tolist() == [0, 2, 3, 6, 8, 9, 10]
    assert documents.documents.tolist() == [0, 2, 3, 6]
    assert documents.starts().tolist() == [0, 3, 6, 10]
    assert (tmp_path / "some.ids").stat().st_size == 10 * np.dtype(dtype).itemsize


def test_sentences_without_a_token_and_then_empty_documents_are_left_out(tmp_path):
    with DocumentsWriter(tmp_path, "some", 100) as writer:
        for document in ([[5], [], [6]], [[]], [], [[7]]):
            for sentence in document:
                writer.add(sentence)
            writer.end_document()
    documents = Documents.open(tmp_path, "some", 100)
    assert documents.sentences.tolist() == [0, 1, 2, 3]
    assert documents.documents.tolist() == [0, 2, 3]


# --- the data folder ---------------------------------------------------------------------------------------------

FILES = [
    "data.json",
    *(f"{name}.{suffix}" for name in ("held-out", "train") for suffix in ("documents", "ids", "sentences")),
    "sentences.txt",
    "tokenizer.json",
    "tokenizer_config.json",
    "vocab.txt",
]


def prepare_in(folder, *paths, held_out=(), vocab_size=150, seed=0):
    """-> the folder, opened."""
    prepare(find_corpus(paths, held_out), folder, vocab_size, seed, Progress(shown=False))
    return Data.open(folder)


def ids_of(documents):
    """Per document and sentence."""
    sentences = np.split(documents.ids, documents.sentences[1:-1])
    starts = documents.documents.tolist()
    return [[sentence.tolist() for sentence in sentences[a:b]] for a, b in pairwise(starts)]


def in_lines(documents):
    return "\n\n".join("\n".join(document) for document in documents) + "\n"


@pytest.fixture(scope="module")
def novel(tmp_path_factory):
    """60 documents of running prose."""
    path = tmp_path_factory.mktemp("novel") / "novel.txt"
    every = sentences(30_000)
    path.write_text("\n\n".join(" ".join(every[i : i + 5]) for i in range(0, len(every), 5)))
    return path


@pytest.fixture(scope="module")
def data(tmp_path_factory, novel):
    return prepare_in(tmp_path_factory.mktemp("run") / "data", novel)


def test_the_folder_holds_each_step_as_a_file(data):
    assert sorted(path.name for path in data.folder.iterdir()) == sorted(FILES)


def test_the_sentences_are_in_googles_format_and_read_again_as_the_same_documents(data, novel):
    documents = read(novel)
    assert (data.folder / "sentences.txt").read_text() == in_lines(documents) + "\n"
    assert read(data.folder / "sentences.txt") == documents


def test_the_ids_are_those_of_the_sentences(data, novel):
    documents = read(novel)
    held_out = sorted(data.held_out_documents)
    train = [document for i, document in enumerate(documents) if i not in data.held_out_documents]
    for found, texts in ((data.train, train), (data.held_out, [documents[i] for i in held_out])):
        ids = ids_of(found)
        assert found.ids.dtype == np.uint16
        assert len(ids) == len(texts)
        assert [[data.tokenizer.decode(sentence) for sentence in document] for document in ids] == texts
    assert list(data.held_out_sentences()) == [sentence for i in held_out for sentence in documents[i]]


def test_one_document_in_twenty_is_held_out_by_the_seed(data, novel, tmp_path):
    assert len(read(novel)) == data.counts.documents == 60
    assert len(data.held_out_documents) == len(data.held_out) == 3
    assert len(data.train) == 57
    other = prepare_in(tmp_path / "data", novel, seed=1)
    assert len(other.held_out_documents) == 3
    assert other.held_out_documents != data.held_out_documents
    assert digests(other.folder)["sentences.txt"] == digests(data.folder)["sentences.txt"]


@pytest.fixture(scope="module")
def books(tmp_path_factory):
    folder = tmp_path_factory.mktemp("books")
    texts = {name: sentences(words) for name, words in (("one", 4_000), ("two", 4_050), ("three", 4_100))}
    texts["three"][7] = "Xenophon met Quagmire."  # words of no other book
    for name, text in texts.items():
        paragraphs = (" ".join(text[i : i + 5]) for i in range(0, len(text), 5))
        (folder / f"{name}.txt").write_text("\n\n".join(paragraphs))
    return folder


@pytest.fixture(scope="module")
def prepared(books, tmp_path_factory):
    one, two, three = (books / f"{name}.txt" for name in ("one", "two", "three"))
    return prepare_in(tmp_path_factory.mktemp("run") / "data", two, one, held_out=[three], vocab_size=300)


class TestFilesHeldOut:
    def test_they_are_held_out_whole_and_nothing_else_is(self, prepared, books):
        learned, held_out = (
            [sentence for name in names for document in read(books / f"{name}.txt") for sentence in document]
            for names in (("two", "one"), ("three",))
        )
        assert list(prepared.held_out_sentences()) == held_out
        decoded = [prepared.tokenizer.decode(s) for document in ids_of(prepared.train) for s in document]
        assert decoded == learned
        documents = len(prepared.train) + len(prepared.held_out)
        assert prepared.counts.documents == documents
        assert prepared.held_out_documents == frozenset(range(len(prepared.train), documents))

    def test_no_piece_is_learned_from_them(self, prepared):
        pieces = "".join(prepared.tokenizer.get_vocab())
        assert "X" not in pieces.replace("[SEP]", "")
        assert "Q" not in pieces

    def test_the_seed_does_not_matter(self, prepared, books, tmp_path):
        one, two, three = (books / f"{name}.txt" for name in ("one", "two", "three"))
        other = prepare_in(tmp_path / "data", two, one, held_out=[three], vocab_size=300, seed=1)
        assert digests(other.folder) == digests(prepared.folder)

    def test_a_random_next_sentence_needs_two_documents_on_each_side(self, books, tmp_path):
        short = tmp_path / "short.txt"
        short.write_text("A cat sat.\n\nIt was black.")
        with pytest.raises(InputError, match="files that are held out have 1 document of two or more sentences"):
            prepare_in(tmp_path / "data", books / "one.txt", held_out=[short])
        with pytest.raises(InputError, match="files to learn from have 1 document of two or more sentences"):
            prepare_in(tmp_path / "data", short, held_out=[books / "one.txt"])
        assert not list(tmp_path.glob("*data*"))

    def test_a_book_is_on_one_side(self, books):
        with pytest.raises(InputError, match=r"one\.txt and .*one\.txt are the same text; give it once"):
            find_corpus([books / "one.txt", books / "two.txt"], [books / "one.txt"])

    def test_the_documentation_on_this_machine_is_no_book(self, books):
        with pytest.raises(InputError, match="held out only where others are given to learn from"):
            find_corpus([], [books / "one.txt"])


def test_the_same_text_gives_the_same_files_in_every_process(data, novel, tmp_path):
    code = (
        "import sys; from pathlib import Path; from numbert.text.corpus import find_corpus;"
        "from numbert.text.prepare import prepare; from numbert.progress import Progress;"
        "prepare(find_corpus([sys.argv[1]]), Path(sys.argv[2]), 150, 0, Progress(False))"
    )
    subprocess.run([sys.executable, "-c", code, str(novel), str(tmp_path / "data")], check=True)
    assert digests(tmp_path / "data") == digests(data.folder)


def test_sentences_are_tokenized_alike_however_many_at_a_time(data, novel, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "_CHARACTERS_AT_A_TIME", 1_000)
    assert digests(prepare_in(tmp_path / "data", novel).folder) == digests(data.folder)


def test_a_given_vocabulary_is_kept(novel, tmp_path):
    tokenizer = train_tokenizer([*SENTENCES, "bcdefghijk BCDEFGHIJK"], 130)
    prepare(find_corpus([novel]), tmp_path / "data", 999, 0, Progress(shown=False), tokenizer)
    found = Data.open(tmp_path / "data").tokenizer
    assert found.get_vocab() == tokenizer.get_vocab()


def test_a_given_vocabulary_may_have_ids_without_a_token_and_added_tokens(novel, tmp_path):
    learned = train_tokenizer([*SENTENCES, "bcdefghijk BCDEFGHIJK"], 130)
    lines = [token for token, _ in sorted(learned.get_vocab().items(), key=lambda item: item[1])]
    given = tmp_path / "given"
    given.mkdir()
    (given / "vocab.txt").write_text("\n".join([*lines, lines[-1], "##abc", lines[-1]]))
    (given / "tokenizer_config.json").write_text('{"do_lower_case": false}')
    word = sentences(30_000)[0].split()[1]
    (given / "added_tokens.json").write_text(json.dumps({word: 70_000}))
    tokenizer = load_tokenizer(given)
    prepare(find_corpus([novel]), tmp_path / "data", 999, 0, Progress(shown=False), tokenizer)
    data = Data.open(tmp_path / "data")
    assert data.tokenizer.get_vocab() == tokenizer.get_vocab()
    assert data.train.ids.dtype == np.int32  # for the highest id, not for the number of tokens
    assert (np.concatenate([data.train.ids, data.held_out.ids]) == 70_000).sum() == novel.read_text().count(word)
    goes_on = pieces_that_go_on(data.tokenizer)
    assert len(goes_on) == 70_001
    assert goes_on[len(lines) + 1]


def test_the_text_is_counted_with_what_comes_again(tmp_path):
    every = sentences(480)
    documents = [[f"Grün ist {i}.", every[2 * i], every[2 * i + 1]] for i in range(24)]
    documents[5] = documents[7] = documents[2]  # twice the same again
    documents[9] = [every[0], every[1], "Grün."]  # two sentences of the first document
    alone = [["Alone it is."], ["Alone it is."]]
    path = tmp_path / "text.txt"
    path.write_text(in_lines([*alone[:1], *documents, *alone[1:]]), encoding="utf-8")
    data = prepare_in(tmp_path / "data", path)
    kept = [sentence for document in documents for sentence in document]
    assert "Alone" not in (data.folder / "sentences.txt").read_text(encoding="utf-8")
    counts = data.counts
    assert counts.documents == 24
    assert counts.sentences == len(kept) == 72
    assert counts.words == sum(len(sentence.split()) for sentence in kept)
    assert counts.megabytes == sum(len(sentence.encode()) + 1 for sentence in kept) / 1e6
    assert counts.repeated_sentences == len(kept) - len(set(kept)) == 3 + 3 + 2
    assert counts.repeated_documents == 2
    assert json.loads((data.folder / "data.json").read_text())["text"] == vars(counts)


def test_what_was_read_and_what_is_left_out_is_said_on_stderr(tmp_path, capsys):
    every = sentences(1_000)
    path = tmp_path / "text.txt"
    path.write_text(in_lines([*[every[4 * i : 4 * i + 4] for i in range(22)], *[[one] for one in every[90:100]]]))
    prepare(find_corpus([path]), tmp_path / "data", 150, 0, Progress(shown=True))
    out, err = capsys.readouterr()
    assert out == ""
    assert err.splitlines()[:2] == [
        f"Text: 0.01 MB from {path}: 22 documents, 88 sentences (0 of them, and 0 documents, the same as one "
        "before); 10 documents of one sentence are left out",
        "Form: one sentence in a line: a blank line ends a document",
    ]


def test_chinese_is_counted_by_its_characters_and_each_is_one_piece_of_the_vocabulary(tmp_path):
    sentence = "我们在{0}里读书。"  # 9 characters, 7 of them no punctuation
    own = [chr(ord("一") + 7 * i) for i in range(60)]
    path = tmp_path / "text.txt"
    path.write_text("\n\n".join("".join(sentence.format(c) for c in own[i : i + 3]) for i in range(0, 60, 3)))
    data = prepare_in(tmp_path / "data", path, vocab_size=90)
    assert data.counts.documents == 10
    assert data.counts.sentences == 60
    assert data.counts.words == 60 * 8  # the full stop stands by the last one
    assert data.tokenizer.encode("我们读书。").tokens == ["[CLS]", "我", "们", "读", "书", "。", "[SEP]"]
    assert data.tokenizer.token_to_id("##我") is None


@pytest.mark.parametrize("seed", range(3))
def test_nothing_of_a_held_out_document_is_in_the_vocabulary_or_the_training_text(tmp_path, seed):
    own = [chr(ord("а") + i) for i in range(30)]  # each document has a letter of its own
    every = sentences(1_200)
    documents = [[f"{every[4 * i + j]} {own[i]}." for j in range(4)] for i in range(30)]
    path = tmp_path / "text.txt"
    path.write_text(in_lines(documents), encoding="utf-8")
    data = prepare_in(tmp_path / "data", path, seed=seed)
    assert len(data.held_out_documents) == 2
    for i, letter in enumerate(own):
        assert (data.tokenizer.token_to_id(letter) is None) == (i in data.held_out_documents)
    assert not (data.train.ids == UNK).any()
    assert (data.held_out.ids == UNK).sum() == 8


def test_a_large_text_has_a_spread_of_its_documents_for_the_vocabulary(tmp_path, monkeypatch):
    own = [chr(ord("а") + i) for i in range(30)]
    every = sentences(1_200)
    path = tmp_path / "text.txt"
    path.write_text(
        in_lines([[f"{every[4 * i + j]} {own[i]}." for j in range(4)] for i in range(30)]), encoding="utf-8"
    )
    monkeypatch.setattr(module, "VOCABULARY_BYTES", path.stat().st_size // 2)
    data = prepare_in(tmp_path / "data", path)
    learned = {i for i, letter in enumerate(own) if data.tokenizer.token_to_id(letter) is not None}
    assert learned == {*[i for i in range(30) if i not in data.held_out_documents][::2]}


def test_too_little_text_is_refused_with_the_numbers(tmp_path):
    path = tmp_path / "short.txt"
    path.write_text("\n\n".join(sentences(MIN_WORDS - 10)))
    with pytest.raises(
        InputError, match=f"290 words; pretraining needs at least 4 documents and {MIN_WORDS}"
    ) as e:
        prepare_in(tmp_path / "data", path)
    assert str(path) in str(e.value)
    assert os.listdir(tmp_path) == ["short.txt"]
    path.write_text("\n\n".join(sentences(MIN_WORDS)))
    data = prepare_in(tmp_path / "data", path)
    assert len(data.held_out) == 2
    assert len(data.train) >= 2


@pytest.mark.parametrize("number", [3, 4])
def test_four_files_of_a_document_each_are_just_enough(tmp_path, number):
    every = sentences(400)
    paths = [tmp_path / f"{i}.txt" for i in range(number)]
    for i, path in enumerate(paths):
        path.write_text(" ".join(every[10 * i : 10 * i + 10]))
    if number == 3:
        with pytest.raises(InputError, match="3 documents of two or more sentences, 300 words"):
            prepare_in(tmp_path / "data", *paths)
        return
    data = prepare_in(tmp_path / "data", *paths)
    assert (len(data.train), len(data.held_out)) == (2, 2)


# --- whole or not at all -----------------------------------------------------------------------------------------

STEPS = ["_write_sentences", "_held_out", "train_tokenizer", "save_tokenizer", "_tokenize", "to_disk"]


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("error", [KeyboardInterrupt, OSError])
def test_an_interruption_leaves_nothing_behind(tmp_path, novel, monkeypatch, step, error):
    def interrupted(*_):
        raise error("interrupted")

    monkeypatch.setattr(module, step, interrupted)
    with pytest.raises(error, match="interrupted"):
        prepare_in(tmp_path / "data", novel)
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("step", ["_write_sentences", "_tokenize", "to_disk"])
def test_a_process_that_is_killed_leaves_no_data_folder_and_the_next_begins_anew(tmp_path, novel, data, step):
    code = (
        "import os, sys; from pathlib import Path; from numbert.text import prepare;"
        "from numbert.text.corpus import find_corpus; from numbert.progress import Progress;"
        f"step = prepare.{step}; prepare.{step} = lambda *given: (step(*given), os._exit(9));"
        "prepare.prepare(find_corpus([sys.argv[1]]), Path(sys.argv[2]), 150, 0, Progress(False))"
    )
    killed = subprocess.run([sys.executable, "-c", code, str(novel), str(tmp_path / "data")])
    assert killed.returncode == 9
    assert os.listdir(tmp_path) == [".data.unfinished"]
    (tmp_path / ".data.unfinished" / "junk").write_text("of an earlier attempt")
    assert digests(prepare_in(tmp_path / "data", novel).folder) == digests(data.folder)
    assert os.listdir(tmp_path) == ["data"]


# --- memory ------------------------------------------------------------------------------------------------------


def test_memory_hardly_grows_with_the_text(tmp_path):
    """1.4 megabytes more take less than 4 bytes for each; their ids in lists would take 10, and all encodings
    together 25. Learning the vocabulary takes more, from a text that is limited. `measure_preparation.py` does the
    same with a gigabyte."""
    peaks = []
    for megabytes in (2, 4):  # 2.9 and 4.3 MB, as they are written in blocks
        text = tmp_path / f"{megabytes}.txt"
        write_text(text, megabytes)
        peaks.append(measure(text, tmp_path / f"data-{megabytes}", vocabulary_bytes=300_000)["peak"])
    assert peaks[1] - peaks[0] < 5.6
    assert peaks[0] < 200


@pytest.mark.parametrize("length", [1, 1_000])
def test_no_more_is_tokenized_at_a_time_than_fits(novel, tmp_path, monkeypatch, length):
    """Text without full stops has a sentence in each paragraph, which may be as long as a megabyte."""
    every = [sentence.strip(".").lower() for sentence in sentences(20_000)]
    path = tmp_path / "text.txt"
    paragraphs = [" ".join(every[i : i + length]) for i in range(0, len(every), length)]
    path.write_text("\n\n".join([*paragraphs, *sentences(400)]))
    sizes = []

    def tokenize(tokenizer, some):
        sizes.append(sum(map(len, some[:-1])))
        return original(tokenizer, some)

    original = module.tokenize
    monkeypatch.setattr(module, "tokenize", tokenize)
    monkeypatch.setattr(module, "_CHARACTERS_AT_A_TIME", 5_000)
    prepare_in(tmp_path / "data", path)
    assert len(sizes) > 2
    assert max(sizes) < 5_000
