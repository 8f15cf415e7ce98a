"""Vocabulary, pairs, masks and batches: what every batch keeps to, and how often what is random comes."""

import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binom

from numbert import InputError
from numbert.checkpoint.tokenizer import SPECIAL_TOKENS
from numbert.pretrain.batches import assemble, mask_words, one_pass
from numbert.pretrain.pairs import IS_NEXT, Documents, make_pairs, tokenize
from numbert.pretrain.vocabulary import CLS, FIRST_WORD, MASK, PAD, SEP, UNK, train_tokenizer

VOCAB = 1000


def made_up(lengths):
    """Documents with sentences of these lengths; every id is new, so that each token tells where it is from."""
    sentences = [length for document in lengths for length in document]
    starts = np.concatenate([[0], np.cumsum(sentences)])
    return Documents(
        ids=np.arange(FIRST_WORD, FIRST_WORD + starts[-1], dtype=np.int32),
        sentences=starts,
        documents=np.concatenate([[0], np.cumsum([len(document) for document in lengths])]),
    )


def document_of(documents, position):
    sentence = np.searchsorted(documents.sentences, position, side="right") - 1
    return int(np.searchsorted(documents.documents, sentence, side="right") - 1)


def assert_frequency(count, trials, probability):
    """The count is one that a fair coin of this probability gives all but once in 10^9 times."""
    assert binom.cdf(count, trials, probability) > 5e-10, (count, trials)
    assert binom.sf(count - 1, trials, probability) > 5e-10, (count, trials)


any_documents = st.lists(st.lists(st.integers(1, 30), min_size=1, max_size=12), min_size=2, max_size=8).map(
    made_up
)
seeds = st.integers(0, 2**32 - 1)


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
        "from numbert.pretrain.vocabulary import train_tokenizer;"
        "text = [f'{word} {word[::-1]}{word}' for word in open(__import__('ast').__file__).read().split()];"
        "print(sorted(train_tokenizer(text, 700).get_vocab().items(), key=lambda item: item[1]))"
    )
    runs = [subprocess.run([sys.executable, "-c", code], capture_output=True, check=True).stdout for _ in range(3)]
    assert len(runs[0]) > 5000
    assert runs[0] == runs[1] == runs[2]


def test_a_vocabulary_too_small_for_the_characters_is_refused():
    with pytest.raises(InputError, match="vocab_size is 20; the special tokens and the characters"):
        train_tokenizer(SENTENCES, 20)


def test_documents_as_ids_are_the_sentences_without_special_tokens():
    texts = [["The x array.", "The list."], ["\u200b"], ["The [SEP] numbers.", "", "The 語 [MASK]"]]
    tokenizer = train_tokenizer([*SENTENCES, "[] SEP MASK"], 150)
    documents = tokenize(tokenizer, texts)
    assert len(documents) == 2
    pieces = [
        [tokenizer.id_to_token(int(i)) for i in documents.ids[start:stop]]
        for start, stop in zip(documents.sentences[:-1], documents.sentences[1:], strict=True)
    ]
    assert pieces[0] == ["The", "x", "array", "."]
    assert pieces[2][:3] == ["The", "[", "SEP"]
    assert documents.documents.tolist() == [0, 2, 4]
    assert not np.isin(documents.ids, [PAD, CLS, SEP, MASK]).any()
    assert (documents.ids == UNK).sum() == 1
    assert tokenizer.encode("[MASK]").ids == [CLS, MASK, SEP]  # as before for everyone else


# --- pairs -------------------------------------------------------------------------------------------------------


@settings(max_examples=60, deadline=None)
@given(any_documents, st.integers(8, 60), seeds)
def test_what_every_pair_keeps_to(documents, max_length, seed):
    pairs = make_pairs(documents, max_length, np.random.default_rng(seed))
    for a_start, a_stop, b_start, b_stop, label in pairs.tolist():
        assert a_start < a_stop
        assert b_start < b_stop
        assert a_stop - a_start + b_stop - b_start + 3 <= max_length
        in_a, in_b = document_of(documents, a_start), document_of(documents, b_start)
        assert document_of(documents, a_stop - 1) == in_a
        assert document_of(documents, b_stop - 1) == in_b
        if label == IS_NEXT:
            assert in_a == in_b
            assert a_stop <= b_start
            # A ends and B begins with a sentence, but for what truncation took away between them.
            between = (documents.sentences >= a_stop) & (documents.sentences <= b_start)
            assert between.any()
            assert a_stop == b_start or a_stop - a_start + b_stop - b_start + 3 == max_length
        else:
            assert in_a != in_b


@settings(max_examples=20, deadline=None)
@given(any_documents, st.integers(8, 60), seeds)
def test_one_seed_gives_the_same_pairs_and_another_others(documents, max_length, seed):
    first, again = (make_pairs(documents, max_length, np.random.default_rng(seed)) for _ in range(2))
    np.testing.assert_array_equal(first, again)
    rng = np.random.default_rng(seed)
    passes = {make_pairs(documents, max_length, rng).tobytes() for _ in range(20)}
    assert len(passes) > 1 or len(first) == 0


def test_a_pass_reads_nearly_all_text():
    documents = made_up([[5, 9, 7, 11, 6, 8, 10]] * 50)
    pairs = make_pairs(documents, 64, np.random.default_rng(0))
    read = np.zeros(len(documents.ids), bool)
    for a_start, a_stop, *_ in pairs.tolist():
        read[a_start:a_stop] = True
    for _, _, b_start, b_stop, label in pairs.tolist():
        read[b_start:b_stop] |= label == IS_NEXT
    assert read.mean() > 0.85


def test_half_of_the_pairs_are_next_sentences():
    rng = np.random.default_rng(0)
    lengths = [rng.integers(1, 40, rng.integers(2, 30)).tolist() for _ in range(3000)]
    labels = make_pairs(made_up(lengths), 64, rng)[:, 4]
    assert len(labels) > 10_000
    assert_frequency(int((labels == IS_NEXT).sum()), len(labels), 0.5)


def test_label_0_is_next_as_the_model_has_it():
    documents = Documents(np.arange(20), sentences=np.array([0, 5, 10, 15, 20]), documents=np.array([0, 2, 4]))
    pairs = np.concatenate([make_pairs(documents, 64, np.random.default_rng(seed)) for seed in range(20)])
    _, a_stop, b_start, _, label = pairs.T
    assert set(label) == {0, 1}
    assert np.array_equal(label == 0, a_stop == b_start)


def test_the_other_document_is_any_of_the_others():
    documents = made_up([[10] * 4] * 5)
    rng = np.random.default_rng(1)
    pairs = np.concatenate([make_pairs(documents, 40, rng) for _ in range(500)])
    random = pairs[pairs[:, 4] != IS_NEXT]
    a, b = random[:, 0] // 40, random[:, 2] // 40
    for step in range(1, 5):
        assert_frequency(int(((b - a) % 5 == step).sum()), len(random), 1 / 4)


def test_one_in_ten_is_made_shorter():
    documents = made_up([[1] * 400] * 10)
    rng = np.random.default_rng(2)
    pairs = np.concatenate([make_pairs(documents, 40, rng) for _ in range(30)])
    is_next = pairs[pairs[:, 4] == IS_NEXT]
    lengths = is_next[:, 1] - is_next[:, 0] + is_next[:, 3] - is_next[:, 2]
    full = document_end = lengths == 37
    assert full.any()
    # A short one draws its length from 2 to 37 alike, so one in 36 of them is full too; the ends of documents
    # are left out, where what is left over is short.
    at_end = is_next[:, 3] % 400 == 0
    assert document_end.any()
    assert_frequency(int((~full & ~at_end).sum()), int((~at_end).sum()), 0.1 * 35 / 36)


def test_too_long_pairs_lose_tokens_of_the_longer_segment_at_both_ends():
    documents = made_up([[6, 100]] * 2)
    rng = np.random.default_rng(3)
    pairs = np.concatenate([make_pairs(documents, 29, rng) for _ in range(400)])
    is_next = pairs[pairs[:, 4] == IS_NEXT]
    assert len(is_next) > 300
    a, b = is_next[:, 1] - is_next[:, 0], is_next[:, 3] - is_next[:, 2]
    assert set(a.tolist()) == {6}
    assert set(b.tolist()) == {20}
    lost_in_front = is_next[:, 2] % 106 - 6
    assert_frequency(int(lost_in_front.sum()), 80 * len(is_next), 0.5)


def test_equally_long_segments_lose_equally_much():
    pairs = make_pairs(made_up([[100, 100]] * 2), 30, np.random.default_rng(4))
    assert set((pairs[:, 1] - pairs[:, 0]).tolist()) == {14}
    assert set((pairs[:, 3] - pairs[:, 2]).tolist()) == {13}


# --- batches and masks -------------------------------------------------------------------------------------------


@settings(max_examples=60, deadline=None)
@given(any_documents, st.integers(8, 60), seeds)
def test_what_every_assembled_batch_keeps_to(documents, max_length, seed):
    pairs = make_pairs(documents, max_length, np.random.default_rng(seed))[:16]
    if not len(pairs):
        return
    input_ids, token_type_ids, attention_mask = assemble(documents.ids, pairs)
    assert input_ids.shape == token_type_ids.shape == attention_mask.shape
    assert attention_mask.sum(axis=1).max() == input_ids.shape[1] <= max_length
    for row, types, mask, (a_start, a_stop, b_start, b_stop, _) in zip(
        input_ids.tolist(), token_type_ids.tolist(), attention_mask.tolist(), pairs.tolist(), strict=True
    ):
        a, b = documents.ids[a_start:a_stop].tolist(), documents.ids[b_start:b_stop].tolist()
        text = [CLS, *a, SEP, *b, SEP]
        padding = len(row) - len(text)
        assert row == text + [PAD] * padding
        assert types == [0] * (len(a) + 2) + [1] * (len(b) + 1) + [0] * padding
        assert mask == [1] * len(text) + [0] * padding


rows = st.lists(st.integers(0, VOCAB - 1), min_size=1, max_size=50)


@settings(max_examples=100, deadline=None)
@given(st.lists(rows, min_size=1, max_size=8), st.integers(1, 12), seeds)
def test_what_every_masking_keeps_to(ragged, max_predictions, seed):
    input_ids = np.full((len(ragged), max(map(len, ragged))), PAD)
    for row, ids in zip(input_ids, ragged, strict=True):
        row[: len(ids)] = ids
    before = input_ids.copy()
    masked, labels = mask_words(input_ids, VOCAB, max_predictions, np.random.default_rng(seed))
    np.testing.assert_array_equal(input_ids, before)
    chosen = labels != -100
    np.testing.assert_array_equal(labels[chosen], input_ids[chosen])
    np.testing.assert_array_equal(masked[~chosen], input_ids[~chosen])
    assert (input_ids[chosen] >= FIRST_WORD).all()  # no special token is predicted
    assert ((masked[chosen] >= FIRST_WORD) | (masked[chosen] == MASK)).all()  # and none but [MASK] put in
    assert (masked < VOCAB).all()
    words = (input_ids >= FIRST_WORD).sum(axis=1)
    count = chosen.sum(axis=1)
    assert (count <= max_predictions).all()
    assert (count >= np.minimum(words, 1)).all()
    assert (count <= np.maximum(np.ceil(0.15 * words), np.minimum(words, 1))).all()
    assert (count >= np.minimum(np.floor(0.15 * words), max_predictions)).all()


def test_fifteen_in_a_hundred_are_masked_and_of_these_eighty_ten_and_ten():
    rng = np.random.default_rng(5)
    shape = (4000, 61)  # 0.15 * 61 is 9.15: neither always 9 nor always 10
    input_ids = rng.integers(FIRST_WORD, VOCAB, shape)
    masked, labels = mask_words(input_ids, VOCAB, 20, rng)
    chosen = labels != -100
    total = int(chosen.sum())
    assert_frequency(total, chosen.size, 0.15)
    is_mask = masked[chosen] == MASK
    same = masked[chosen] == input_ids[chosen]
    by_chance = 0.1 / (VOCAB - FIRST_WORD)  # a random word may be the one that was there
    assert_frequency(int(is_mask.sum()), total, 0.8)
    assert_frequency(int((~is_mask & ~same).sum()), total, 0.1 - by_chance)
    assert_frequency(int(same.sum()), total, 0.1 + by_chance)


def test_every_position_is_masked_equally_often():
    rng = np.random.default_rng(6)
    input_ids = np.full((20_000, 40), PAD)
    input_ids[:, 1:21] = FIRST_WORD  # 20 words: 3 are chosen
    _, labels = mask_words(input_ids, VOCAB, 20, rng)
    for count in (labels[:, 1:21] != -100).sum(axis=0).tolist():
        assert_frequency(count, 20_000, 3 / 20)


def test_random_words_are_any_words():
    rng = np.random.default_rng(7)
    vocab = FIRST_WORD + 4
    masked, labels = mask_words(np.full((20_000, 20), FIRST_WORD), vocab, 20, rng)
    random = masked[(labels != -100) & (masked != MASK) & (masked != FIRST_WORD)]
    assert set(random.tolist()) == {FIRST_WORD + 1, FIRST_WORD + 2, FIRST_WORD + 3}
    for word in range(FIRST_WORD + 1, vocab):
        assert_frequency(int((random == word).sum()), len(random), 1 / 3)


def test_a_pass_holds_every_pair_once_in_batches_and_the_next_pass_masks_anew():
    documents = made_up([[5, 6, 7, 8]] * 30)
    options = {"vocab_size": VOCAB, "max_length": 24, "batch_size": 8, "max_predictions": 4}
    rng = np.random.default_rng(8)
    first, second = (list(one_pass(documents, rng=rng, **options)) for _ in range(2))
    sizes = [len(batch.input_ids) for batch in first]
    assert set(sizes[:-1]) == {8}
    assert 1 <= sizes[-1] <= 8
    for batch in first:
        assert batch.next_sentence_label.shape == (len(batch.input_ids),)
        assert {array.dtype for array in vars(batch).values()} == {np.dtype(np.int64)}
        np.testing.assert_array_equal(batch.attention_mask, batch.input_ids != PAD)
        assert ((batch.labels != -100).sum(axis=1) >= 1).all()
        assert ((batch.labels != -100).sum(axis=1) <= 4).all()
    assert any(
        (a.labels.shape != b.labels.shape) or (a.labels != b.labels).any()
        for a, b in zip(first, second, strict=False)
    )
    again = list(one_pass(documents, rng=np.random.default_rng(8), **options))
    for batch, same in zip(first, again, strict=True):
        for name, array in vars(batch).items():
            np.testing.assert_array_equal(array, getattr(same, name))
