"""docs/what_it_knows.py counts rightly, and what docs/what-the-model-knows.md says of the shipped model is so."""

import importlib.util
import json
import re
import sys

import numpy as np
import pytest
from places import ROOT, SHARED

import numbert
from numbert.errors import InputError
from numbert.files.shipped import shipped_models

spec = importlib.util.spec_from_file_location("what_it_knows", ROOT / "docs" / "what_it_knows.py")
script = importlib.util.module_from_spec(spec)
sys.modules[spec.name] = script  # where its dataclasses look for the names of their types
spec.loader.exec_module(script)

# --- what heads look at ------------------------------------------------------------------------------------------

PIECES = {"[PAD]": 0, "[CLS]": 1, "[SEP]": 2, "cat": 3, "dog": 4, ",": 5, ".": 6, '"': 7}
MARKS = {"[CLS]": [1], "[SEP]": [2], "comma": [5], "stop": [6], "quote": [7]}


def batch_of(*texts):
    rows = [[PIECES[piece] for piece in f"[CLS] {text} [SEP]".split()] for text in texts]
    length = max(map(len, rows))
    return {
        "input_ids": np.array([row + [0] * (length - len(row)) for row in rows]),
        "attention_mask": np.array([[1] * len(row) + [0] * (length - len(row)) for row in rows]),
    }


def uniform(batch, n=2, h=3):
    """Attention [b,n,h,l,l] that is the same to every token and 0 to padding."""
    mask = batch["attention_mask"]
    b, length = mask.shape
    rows = mask / mask.sum(axis=1, keepdims=True)
    return np.broadcast_to(rows[:, None, None, None, :], (b, n, h, length, length)).copy()


def looking(batch, kind, layer, head, **sizes):
    """The same, but one head divides all its attention among the tokens of one kind, where there are any."""
    attention = uniform(batch, **sizes)
    target = script.targets(batch, MARKS)[list(script.KINDS).index(kind)]  # [b,l,l]
    some = target.any(axis=-1)
    attention[:, layer, head][some] = (target / np.maximum(1, target.sum(axis=-1, keepdims=True)))[some]
    return attention


def counted(attention, batch):
    return script.kinds(script.tally(attention, script.targets(batch, MARKS), batch["attention_mask"]))


LONG = "cat dog , dog cat . cat , dog cat dog"


def test_the_tokens_of_each_kind_as_seen_from_each_token():
    batch = batch_of('cat , cat , " .')
    targets = dict(zip(script.KINDS, script.targets(batch, MARKS)[:, 0], strict=True))  # [l,l] each
    seen = {kind: [np.flatnonzero(row).tolist() for row in rows] for kind, rows in targets.items()}
    # Places: 0 [CLS], 1 cat, 2 comma, 3 cat, 4 comma, 5 quote, 6 stop, 7 [SEP]
    assert seen == {
        "previous": [[], [], [1], [2], [3], [4], [5], []],
        "next": [[], [2], [3], [4], [5], [6], [], []],
        "itself": [[], [1], [2], [3], [4], [5], [6], []],
        "same": [[], [3], [4], [1], [2], [], [], []],
        "comma": [[], [2, 4], [4], [2, 4], [2], [2, 4], [2, 4], []],
        "stop": [[], [6], [6], [6], [6], [6], [], []],
        "quote": [[], [5], [5], [5], [5], [], [5], []],
        "[CLS]": [[], [0], [0], [0], [0], [0], [0], []],
        "[SEP]": [[], [7], [7], [7], [7], [7], [7], []],
    }


def test_no_kind_has_padding_in_it():
    together = script.targets(batch_of("cat , cat", LONG), MARKS)[:, 0]
    alone = script.targets(batch_of("cat , cat"), MARKS)[:, 0]
    assert np.array_equal(together[:, :5, :5], alone)
    assert together.sum() == alone.sum()


def test_the_baseline_is_what_uniform_attention_gives_the_same_tokens():
    found = counted(uniform(batch := batch_of("cat , cat .")), batch)  # 6 tokens with [CLS] and [SEP]
    assert {kind: one.tokens for kind, one in found.items()} == {
        "previous": 3,
        "next": 3,
        "itself": 4,
        "same": 2,
        "comma": 3,
        "stop": 3,
        "quote": 0,
        "[CLS]": 4,
        "[SEP]": 4,
    }
    for kind, one in found.items():
        assert one.uniform == pytest.approx(0 if kind == "quote" else 1 / 6, abs=1e-6)


def test_the_baseline_weighs_tokens_alike_whatever_the_length_of_their_text():
    batch = batch_of(", cat , dog", ", cat")  # 6 and 4 tokens
    # Of the first: two commas from cat and dog, one from each comma; of the second: one, from cat.
    assert counted(uniform(batch), batch)["comma"].uniform == pytest.approx((6 / 6 + 1 / 4) / 5, abs=1e-6)


def test_uniform_attention_gives_no_head_that_looks_at_anything():
    found = counted(uniform(batch := batch_of(LONG, "cat , cat .", 'dog " cat')), batch)
    assert not any(one.passes for one in found.values())
    for one in found.values():
        assert np.allclose(one.shares, one.uniform, atol=1e-6)
        assert one.share == one.shares[one.layer][one.head]


@pytest.mark.parametrize("kind", script.KINDS)
def test_a_head_that_looks_at_one_kind_is_found_by_its_number(kind):
    batch = batch_of(LONG, f'{LONG} " {LONG}')
    found = counted(looking(batch, kind, layer=1, head=2), batch)[kind]
    assert (found.layer, found.head) == (1, 2)
    assert found.share == pytest.approx(1, abs=1e-6)
    assert found.passes
    others = np.delete(np.ravel(found.shares), 1 * 3 + 2)
    assert np.allclose(others, found.uniform, atol=1e-6)


def test_a_head_of_the_token_before_passes_for_that_alone():
    batch = batch_of(LONG)
    found = counted(looking(batch, "previous", layer=0, head=1), batch)
    assert [kind for kind, one in found.items() if one.passes] == ["previous"]


@pytest.mark.parametrize(
    ("share", "uniform", "passes"),
    [
        (0.34, 0.05, True),
        (0.33, 0.05, False),
        (0.34, 0.1, False),
        (0.4, 0.1, True),
        (0.2, 0.01, False),
        (0, 0, False),
    ],
)
def test_the_rule_asks_for_a_third_of_the_attention_and_four_times_the_uniform(share, uniform, passes):
    assert script.looks_at(share, uniform) is passes


def test_texts_counted_apart_are_the_same_as_together():
    texts = ("cat , cat .", LONG, 'dog " cat " dog')
    alone = []
    for text in texts:
        batch = batch_of(text)
        attention = looking(batch, "same", layer=1, head=0)
        alone.append(script.tally(attention, script.targets(batch, MARKS), batch["attention_mask"]))
    batch = batch_of(*texts)
    assert script.kinds(script.joined(alone)) == counted(looking(batch, "same", layer=1, head=0), batch)


def test_the_standard_error_is_that_of_a_share_over_texts():
    # Four texts of one length, in two of which the head looks at the token before: the mean of 1, 1, 0.2, 0.2.
    batch = batch_of(*["cat dog cat"] * 4)
    attention = uniform(batch)
    attention[:2] = looking(batch, "previous", layer=0, head=0)[:2]
    found = counted(attention, batch)["previous"]
    assert found.share == pytest.approx(0.6, abs=1e-6)
    assert found.standard_error == pytest.approx(0.4 / np.sqrt(4), abs=1e-6)


# --- the other counts --------------------------------------------------------------------------------------------


def test_the_nearest_sentence_is_by_cosine_and_never_the_sentence_itself():
    vectors = np.array([[1, 0.0], [10, 1], [0, 1], [1, 4]])
    found = script.nearest_sentences(vectors, ["a", "b", "c", "d"], ["x", "x", "y", "x"])
    assert [(one.text, one.nearest) for one in found] == [("a", "b"), ("b", "a"), ("c", "d"), ("d", "c")]
    assert script.same_things(found) == 2
    assert found[0].cosine == pytest.approx(10 / np.sqrt(101), abs=1e-6)
    assert found[0].margin == pytest.approx(10 / np.sqrt(101), abs=1e-6)  # c is at a right angle to a
    assert found[3].margin == pytest.approx(14 / np.sqrt(101 * 17) - 4 / np.sqrt(17), abs=1e-6)
    assert script.chance(found) == pytest.approx((3 * 2 / 3 + 0) / 4)


def test_the_rank_is_the_place_of_the_best_expected_word():
    guesses = {"was": 0.5, "is": 0.3, "are": 0.1}
    assert script.rank(["are", "is"], guesses) == 2
    assert script.rank(["were"], guesses) is None


def test_guessing_reaches_its_number_with_the_probability_of_a_coin():
    assert "8 or more of 10 are right with a probability of 5.5%" in script.luck(8, 10)
    assert "0 or more of 10 are right with a probability of 100%" in script.luck(0, 10)


def test_each_form_is_the_right_one_as_often_as_the_wrong_one():
    for pairs in (script.PLAIN_PAIRS, script.DISTANT_PAIRS):
        assert sorted(right for _, right, _ in pairs) == sorted(wrong for _, _, wrong in pairs)


def test_each_sentence_is_there_once_and_each_mask_too():
    masked = [text for texts in script.FILLS.values() for text in texts]
    masked += [text for text, *_ in (*script.PLAIN_PAIRS, *script.DISTANT_PAIRS)]
    assert all(text.count("[MASK]") == 1 for text in masked)
    about = [text for texts in script.THINGS.values() for text in texts]
    assert len(about) == 50
    for texts in (masked, about, script.ATTENDED):
        assert len(set(texts)) == len(texts)


# --- page and card -----------------------------------------------------------------------------------------------


def test_the_score_is_read_from_a_card():
    card = (numbert.shipped_model("python") / script.CARD).read_text(encoding="utf-8")
    score = r"MLM top-1 [\d.]+%, MLM top-5 [\d.]+%, MLM nats [\d.]+, perplexity [\d.]+, NSP [\d.]+%"
    assert re.fullmatch(score, script.score_on(card))
    assert script.score_on("# Model card\n") == ""


OLD, NEW = (f"{script.HEADING}\n\n{word}.\n" for word in ("Old", "New"))


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("# Card\n\nA.\n", f"# Card\n\nA.\n\n{NEW}"),
        (f"# Card\n\n{OLD}", f"# Card\n\n{NEW}"),
        (f"# Card\n\n{OLD}\n## B\n\nC.\n", f"# Card\n\n{NEW}\n## B\n\nC.\n"),
    ],
    ids=["not there", "at the end", "in the middle"],
)
def test_the_cards_section_is_appended_or_replaced(before, after):
    assert script.with_section(before, NEW) == after
    assert script.with_section(after, NEW) == after


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    """A model of random weights and python's vocabulary, with a card; and a book."""
    folder = tmp_path_factory.mktemp("tiny")
    tokenizer = numbert.load_tokenizer(numbert.shipped_model("python"))
    sizes = {"hidden_size": 8, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 8}
    config = numbert.BertConfig(vocab_size=tokenizer.get_vocab_size(), max_position_embeddings=40, **sizes)
    numbert.BertForPreTraining(config).save_pretrained(folder)
    tokenizer.save(str(folder / "tokenizer.json"))
    (folder / script.CARD).write_text("# Model card\n", encoding="utf-8")
    book = folder / "book.txt"
    book.write_text("\n\n".join(f"Here is line {i}, which is read." for i in range(2_000)), encoding="utf-8")
    return folder, book


def test_one_command_writes_the_page_its_data_and_the_cards_section(tiny, capsys):
    folder, book = tiny
    output = folder / "page.md"
    script.main(["--model", str(folder), "--held-out", str(book), "--output", str(output), "--card"])
    page, section = output.read_text(encoding="utf-8"), capsys.readouterr().out
    known = script.Knowledge.from_json((folder / "page.json").read_text(encoding="utf-8"))

    assert page == script.page(known)
    shown = [*(fill.text for fill in known.fills), *(pair.text for pair in known.pairs), *script.ATTENDED]
    assert all(script.plain(text) in page for text in shown)
    for table in re.findall(r"(?:^\|.*\n)+", page, re.MULTILINE):
        assert len({len(re.findall(r"(?<!\\)\|", line)) for line in table.splitlines()}) == 1
    assert known.heads.books == ["book.txt"]
    assert np.shape(known.heads.kinds["previous"].shares) == (2, 2)

    card = (folder / script.CARD).read_text(encoding="utf-8")
    assert card == f"# Model card\n\n{section}"
    assert section.startswith("## What it knows\n")
    assert 10 <= len(section.splitlines()) <= 20


def test_a_book_with_too_few_sentences_is_refused(tiny):
    folder, book = tiny
    with pytest.raises(InputError, match=r"the books have 2,000 sentences of 8 to 40 tokens; 2,001 are needed"):
        script.look([book], folder, sentences=2_001)


# --- the page as it is there -------------------------------------------------------------------------------------

AGAIN = "out of date: python docs/what_it_knows.py --card --held-out BOOK ..."


@pytest.fixture(scope="module")
def stored():
    """The folder of the model and what docs/ has of it."""
    if script.MODEL not in shipped_models():
        pytest.skip(f"weights/{script.MODEL} is not there yet")
    text = script.PAGE.with_suffix(".json").read_text(encoding="utf-8")
    return numbert.shipped_model(script.MODEL), script.Knowledge.from_json(text)


def alike(one, other, path=""):
    """Asserts that words and structure are the same, and numbers nearly so."""
    assert type(one) is type(other), path
    if isinstance(one, dict):
        assert one.keys() == other.keys(), path
        for key in one:
            alike(one[key], other[key], f"{path}/{key}")
    elif isinstance(one, list):
        assert len(one) == len(other), path
        for index, pair in enumerate(zip(one, other, strict=True)):
            alike(*pair, f"{path}/{index}")
    elif isinstance(one, float):
        assert one == pytest.approx(other, abs=1e-3), path
    elif type(one) is int:
        assert one == pytest.approx(other, rel=0.01), path  # a rank of some thousands
    else:
        assert one == other, path


def test_page_and_card_say_what_the_data_say(stored):
    folder, known = stored
    assert script.PAGE.read_text(encoding="utf-8") == script.page(known), AGAIN
    card = (folder / script.CARD).read_text(encoding="utf-8")
    assert script.with_section(card, script.card_section(known)) == card, AGAIN


def test_the_model_does_what_the_data_say(stored):
    folder, known = stored
    alike(json.loads(script.know(folder, known.heads).to_json()), json.loads(known.to_json()))


def test_heads_look_at_what_the_data_say(stored):
    folder, known = stored
    books = [SHARED / "data" / "english" / name for name in known.heads.books]
    if not all(book.exists() for book in books):
        pytest.skip("../shared/data/english does not have the held-out books")
    sentences = 300  # the first of those that were drawn
    found = script.look(books, folder, sentences)
    for kind, one in known.heads.kinds.items():
        share = found.kinds[kind].shares[one.layer][one.head]
        error = one.standard_error * np.sqrt(known.heads.sentences / sentences)
        assert share == pytest.approx(one.share, abs=5 * error + 0.005), kind
