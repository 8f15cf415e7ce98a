"""Batches and masks: what every batch keeps to, and how often what is random comes."""

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from made_up import any_documents, assert_frequency, made_up, seeds

from numbert.pretrain.batches import Batch, assemble, make_batch, mask_tokens
from numbert.pretrain.pairs import make_pairs
from numbert.text.vocabulary import CLS, FIRST_PIECE, MASK, PAD, SEP, UNK

VOCAB = 1000

# --- batches -----------------------------------------------------------------------------------------------------


@settings(max_examples=60, deadline=None)
@given(any_documents, st.integers(8, 60), seeds)
def test_what_every_assembled_batch_keeps_to(documents, max_length, seed):
    pairs = make_pairs(documents, max_length, np.random.default_rng(seed), range(len(documents)))[:16]
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


def some_batch(rows=13, seed=0, whole_words=False):
    documents = made_up([[5, 6, 7, 8]] * 30)
    rng = np.random.default_rng(seed)
    pairs = make_pairs(documents, 24, rng, range(30))[:rows]
    goes_on = np.arange(VOCAB) % 3 == 0 if whole_words else None
    return documents, pairs, make_batch(documents, pairs, VOCAB, 4, rng, goes_on)


@pytest.mark.parametrize("whole_words", [False, True])
def test_a_batch_is_its_pairs_with_masks(whole_words):
    documents, pairs, batch = some_batch(whole_words=whole_words)
    assert {array.dtype for array in vars(batch).values()} == {np.dtype(np.int64)}
    input_ids, token_type_ids, attention_mask = assemble(documents.ids, pairs)
    np.testing.assert_array_equal(np.where(batch.labels == -100, batch.input_ids, batch.labels), input_ids)
    np.testing.assert_array_equal(batch.token_type_ids, token_type_ids)
    np.testing.assert_array_equal(batch.attention_mask, attention_mask)
    np.testing.assert_array_equal(batch.next_sentence_label, pairs[:, 4])
    count = (batch.labels != -100).sum(axis=1)
    assert ((count >= 1) & (count <= 4)).all()
    assert (batch.pairs, batch.masked, batch.tokens) == (13, count.sum(), attention_mask.sum())


def test_ids_of_any_width_make_the_same_batch():
    documents, pairs, _ = some_batch()
    for dtype in (np.uint16, np.int32):
        input_ids, *_ = assemble(documents.ids.astype(dtype), pairs)
        assert input_ids.dtype == np.int64
        np.testing.assert_array_equal(input_ids, assemble(documents.ids, pairs)[0])


def test_the_same_random_numbers_give_the_same_masks_and_others_others():
    documents, pairs, _ = some_batch()
    masks = [make_batch(documents, pairs, VOCAB, 4, np.random.default_rng(seed)).labels for seed in (1, 1, 2)]
    np.testing.assert_array_equal(masks[0], masks[1])
    assert (masks[0] != masks[2]).any()


@pytest.mark.parametrize("count", [1, 2, 3, 13])
def test_the_parts_of_a_batch_together_are_the_batch(count):
    *_, batch = some_batch()
    parts = [batch.part(index, count) for index in range(count)]
    assert all(isinstance(part, Batch) for part in parts)
    sizes = [part.pairs for part in parts]
    assert sum(sizes) == 13
    assert max(sizes) - min(sizes) <= 1
    assert sum(part.masked for part in parts) == batch.masked
    for name, whole in vars(batch).items():
        for index, part in enumerate(parts):
            np.testing.assert_array_equal(getattr(part, name), [whole[row] for row in range(index, 13, count)])


# --- masks -------------------------------------------------------------------------------------------------------


rows = st.lists(st.integers(0, VOCAB - 1), min_size=1, max_size=50)


@settings(max_examples=100, deadline=None)
@given(st.lists(rows, min_size=1, max_size=8), st.integers(1, 12), seeds)
def test_what_every_masking_keeps_to(ragged, max_predictions, seed):
    input_ids = np.full((len(ragged), max(map(len, ragged))), PAD)
    for row, ids in zip(input_ids, ragged, strict=True):
        row[: len(ids)] = ids
    before = input_ids.copy()
    masked, labels = mask_tokens(input_ids, VOCAB, max_predictions, np.random.default_rng(seed))
    np.testing.assert_array_equal(input_ids, before)
    chosen = labels != -100
    np.testing.assert_array_equal(labels[chosen], input_ids[chosen])
    np.testing.assert_array_equal(masked[~chosen], input_ids[~chosen])
    assert (input_ids[chosen] >= FIRST_PIECE).all()  # no special token is predicted
    assert ((masked[chosen] >= FIRST_PIECE) | (masked[chosen] == MASK)).all()  # and none but [MASK] put in
    assert (masked < VOCAB).all()
    pieces = (input_ids >= FIRST_PIECE).sum(axis=1)
    count = chosen.sum(axis=1)
    assert (count <= max_predictions).all()
    assert (count >= np.minimum(pieces, 1)).all()
    assert (count <= np.maximum(np.ceil(0.15 * pieces), np.minimum(pieces, 1))).all()
    assert (count >= np.minimum(np.floor(0.15 * pieces), max_predictions)).all()


def test_fifteen_in_a_hundred_are_masked_and_of_these_eighty_ten_and_ten():
    rng = np.random.default_rng(5)
    shape = (4000, 61)  # 0.15 * 61 is 9.15: neither always 9 nor always 10
    input_ids = rng.integers(FIRST_PIECE, VOCAB, shape)
    masked, labels = mask_tokens(input_ids, VOCAB, 20, rng)
    chosen = labels != -100
    total = int(chosen.sum())
    assert_frequency(total, chosen.size, 0.15)
    is_mask = masked[chosen] == MASK
    same = masked[chosen] == input_ids[chosen]
    by_chance = 0.1 / (VOCAB - FIRST_PIECE)  # a random piece may be the one that was there
    assert_frequency(int(is_mask.sum()), total, 0.8)
    assert_frequency(int((~is_mask & ~same).sum()), total, 0.1 - by_chance)
    assert_frequency(int(same.sum()), total, 0.1 + by_chance)


def test_every_position_is_masked_equally_often():
    rng = np.random.default_rng(6)
    input_ids = np.full((20_000, 40), PAD)
    input_ids[:, 1:21] = FIRST_PIECE  # 20 tokens: 3 are chosen
    _, labels = mask_tokens(input_ids, VOCAB, 20, rng)
    for count in (labels[:, 1:21] != -100).sum(axis=0).tolist():
        assert_frequency(count, 20_000, 3 / 20)


def test_random_pieces_are_any_pieces():
    rng = np.random.default_rng(7)
    vocab = FIRST_PIECE + 4
    masked, labels = mask_tokens(np.full((20_000, 20), FIRST_PIECE), vocab, 20, rng)
    random = masked[(labels != -100) & (masked != MASK) & (masked != FIRST_PIECE)]
    assert set(random.tolist()) == {FIRST_PIECE + 1, FIRST_PIECE + 2, FIRST_PIECE + 3}
    for piece in range(FIRST_PIECE + 1, vocab):
        assert_frequency(int((random == piece).sum()), len(random), 1 / 3)


def test_a_row_of_special_tokens_is_left_as_it_is():
    input_ids = np.array([[CLS, UNK, SEP, UNK, UNK, SEP, PAD], [CLS, 9, SEP, UNK, SEP, PAD, PAD]])
    for goes_on in (None, np.zeros(VOCAB, bool)):
        _, labels = mask_tokens(input_ids, VOCAB, 3, np.random.default_rng(0), goes_on)
        assert (labels[0] == -100).all()
        assert labels[1].tolist() == [-100, 9] + [-100] * 5


# --- whole words -------------------------------------------------------------------------------------------------

GOES_ON = np.arange(VOCAB) >= 600


def words_of(row):
    """Plainly: the places of the pieces of each word of a row of ids."""
    words, before_is_word = [], False
    for place, piece in enumerate(row):
        ordinary = piece >= FIRST_PIECE
        if ordinary and before_is_word and GOES_ON[piece]:
            words[-1].append(place)
        elif ordinary:
            words.append([place])
        before_is_word = ordinary
    return words


def ragged_rows(ragged):
    input_ids = np.full((len(ragged), max(map(len, ragged))), PAD)
    for row, ids in zip(input_ids, ragged, strict=True):
        row[: len(ids)] = ids
    return input_ids


@settings(max_examples=200, deadline=None)
@given(st.lists(rows, min_size=1, max_size=8), st.integers(1, 12), seeds)
@example([[CLS, 700, 701, 702, SEP, 703, SEP]], 1, 0)
@example([[CLS, UNK, SEP, UNK, SEP]], 5, 0)
def test_every_word_is_masked_whole_or_not_at_all(ragged, max_predictions, seed):
    input_ids = ragged_rows(ragged)
    masked, labels = mask_tokens(input_ids, VOCAB, max_predictions, np.random.default_rng(seed), GOES_ON)
    chosen = labels != -100
    np.testing.assert_array_equal(labels[chosen], input_ids[chosen])
    np.testing.assert_array_equal(masked[~chosen], input_ids[~chosen])
    assert (input_ids[chosen] >= FIRST_PIECE).all()
    for row, places in zip(input_ids.tolist(), chosen, strict=True):
        words = words_of(row)
        pieces = sum(map(len, words))
        most = min(max(1, int(np.ceil(0.15 * pieces))), max_predictions)
        least = min(max(1, int(np.floor(0.15 * pieces))), max_predictions)
        count = int(places.sum())
        assert count <= most
        assert count >= min(1, pieces)
        if not words:
            continue
        shortest = min(map(len, words))
        if shortest <= least:
            assert all(len(set(places[word].tolist())) == 1 for word in words)
            left = [len(word) for word in words if not places[word].any()]
            assert not left or count + min(left) > least  # no word is left out that would fit
        elif shortest > most:
            assert count == 1


def mixed_rows(rng, rows, length):
    """Words of one to three pieces."""
    heads = rng.random((rows, length)) < 0.6
    heads[:, 0] = True
    heads[:, 3:] |= ~(heads[:, 2:-1] | heads[:, 1:-2])
    return np.where(
        heads, rng.integers(FIRST_PIECE, 600, (rows, length)), rng.integers(600, VOCAB, (rows, length))
    )


def test_fifteen_in_a_hundred_pieces_are_masked_in_whole_words_too():
    rng = np.random.default_rng(9)
    input_ids = mixed_rows(rng, 3000, 61)
    masked, labels = mask_tokens(input_ids, VOCAB, 20, rng, GOES_ON)
    chosen = labels != -100
    # As long as a word of one piece is left there is no room left over: 9.15 in each row.
    assert set(chosen.sum(axis=1).tolist()) == {9, 10}
    total = int(chosen.sum())
    assert_frequency(total - 9 * 3000, 3000, 0.15)
    by_chance = 0.1 / (VOCAB - FIRST_PIECE)
    is_mask, same = masked[chosen] == MASK, masked[chosen] == input_ids[chosen]
    assert_frequency(int(is_mask.sum()), total, 0.8)
    assert_frequency(int(same.sum()), total, 0.1 + by_chance)


def test_every_word_is_as_likely_as_every_other_wherever_it_stands():
    rng = np.random.default_rng(10)
    input_ids = np.full((20_000, 42), PAD)
    input_ids[:, 1:41:2], input_ids[:, 2:41:2] = 5, 700  # 20 words of two pieces: 6 pieces are 3 words
    _, labels = mask_tokens(input_ids, VOCAB, 20, rng, GOES_ON)
    for count in (labels[:, 1:41] != -100).sum(axis=0).tolist():
        assert_frequency(count, 20_000, 3 / 20)


def test_a_word_that_lost_its_head_begins_with_what_is_left_of_it():
    """Truncation may cut through a word: after [CLS] or [SEP] its rest is a word by itself."""
    input_ids = np.tile([CLS, 700, SEP, 701, 702, SEP], (500, 1))
    _, labels = mask_tokens(input_ids, VOCAB, 1, np.random.default_rng(11), GOES_ON)
    assert set(map(tuple, (labels != -100).tolist())) == {(False, True, False, False, False, False)}


def test_words_that_are_all_too_long_have_one_piece_masked_any_of_them():
    input_ids = np.tile([CLS, 5, 700, 701, SEP, 6, 702, 703, SEP], (12_000, 1))
    _, labels = mask_tokens(input_ids, VOCAB, 5, np.random.default_rng(12), GOES_ON)
    chosen = labels != -100
    assert (chosen.sum(axis=1) == 1).all()
    for place in (1, 2, 3, 5, 6, 7):
        assert_frequency(int(chosen[:, place].sum()), 12_000, 1 / 6)
