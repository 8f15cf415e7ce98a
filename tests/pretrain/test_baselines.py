"""What guessing gives, against counting in plain Python."""

from collections import Counter
from itertools import pairwise
from math import log

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from made_up import seeds

from numbert.pretrain import baselines
from numbert.pretrain.baselines import WordCounts
from numbert.pretrain.batches import Batch
from numbert.text.vocabulary import CLS, FIRST_WORD, MASK

VOCAB = 12
texts = st.lists(st.integers(FIRST_WORD, VOCAB - 2), min_size=1, max_size=60).map(
    lambda ids: np.array(ids, np.uint16)
)


def batch_of(lefts, words):
    """A masked word in each row, after the token to its left."""
    lefts, words = np.array(lefts), np.array(words)
    input_ids = np.stack([np.full_like(lefts, CLS), lefts, np.full_like(lefts, MASK)], axis=1)
    labels = np.stack([np.full_like(words, -100), np.full_like(words, -100), words], axis=1)
    ones = np.ones_like(input_ids)
    return Batch(input_ids, 0 * ones, ones, labels, np.zeros(len(lefts), int))


def frequency(ids, word):
    """Plainly: with one more of each."""
    return (list(ids).count(word) + 1) / (len(ids) + VOCAB)


def after(ids, left, word):
    """Plainly: Witten and Bell's estimate."""
    followers = Counter(int(following) for before, following in pairwise(ids) if before == left)
    different = len(followers)
    if not different:
        return frequency(ids, word)
    return (followers[word] + different * frequency(ids, word)) / (followers.total() + different)


def assert_same(a, b):
    for name, array in vars(a).items():
        np.testing.assert_array_equal(array, getattr(b, name))


@settings(max_examples=60, deadline=None)
@given(texts)
def test_words_and_pairs_are_counted(ids):
    counts = WordCounts.of(ids, VOCAB)
    assert counts.words.tolist() == [list(ids).count(word) + 1 for word in range(VOCAB)]
    pairs = Counter(int(before) * VOCAB + int(word) for before, word in pairwise(ids))
    assert counts.pairs.tolist() == sorted(pairs)
    assert counts.times.tolist() == [pairs[pair] for pair in sorted(pairs)]


@settings(max_examples=60, deadline=None)
@given(texts, st.integers(1, 20))
def test_counting_some_at_a_time_gives_the_same(ids, size):
    whole = WordCounts.of(ids, VOCAB)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(baselines, "_TOKENS_AT_A_TIME", size)
        assert_same(WordCounts.of(ids, VOCAB), whole)


@settings(max_examples=60, deadline=None)
@given(
    texts,
    st.lists(st.tuples(st.sampled_from([CLS, MASK, *range(5, VOCAB)]), st.integers(0, VOCAB - 1)), min_size=1),
)
def test_the_guesses_are_as_good_as_plain_counting_says(ids, masked):
    counts = WordCounts.of(ids, VOCAB)
    halves = [masked[: len(masked) // 2], masked[len(masked) // 2 :]]
    batches = [batch_of(*zip(*half, strict=True)) for half in halves if half]

    by_frequency = counts.by_frequency(batches)
    losses = [-log(frequency(ids, word)) for _, word in masked]
    assert by_frequency.mlm_loss == pytest.approx(sum(losses) / len(masked), rel=1e-12)
    most_frequent = max(range(VOCAB), key=lambda word: frequency(ids, word))
    right = sum(word == most_frequent for _, word in masked)
    assert by_frequency.mlm_accuracy == pytest.approx(right / len(masked))

    by_left = counts.by_word_to_the_left(batches)
    losses = [-log(after(ids, left, word)) for left, word in masked]
    assert by_left.mlm_loss == pytest.approx(sum(losses) / len(masked), rel=1e-12)


@settings(max_examples=30, deadline=None)
@given(texts, st.sampled_from([CLS, MASK, *range(5, VOCAB)]))
def test_probabilities_sum_to_one(ids, left):
    counts = WordCounts.of(ids, VOCAB)
    for guess in (counts.by_frequency, counts.by_word_to_the_left):
        each = [np.exp(-guess([batch_of([left], [word])]).mlm_loss) for word in range(VOCAB)]
        assert sum(each) == pytest.approx(1, rel=1e-12)
        assert min(each) > 0


def test_the_best_guess_is_the_most_probable_word():
    ids = np.array([5, 6, 7, 6, 7, 8, 6, 9, 9, 9, 9])
    counts = WordCounts.of(ids, VOCAB)
    assert counts.by_frequency([batch_of([5, 6], [9, 7])]).mlm_accuracy == 0.5
    # After 6 there was 7 twice and 9 once; after 10 nothing ever, so that 9, the most frequent, is the best guess.
    assert counts.by_word_to_the_left([batch_of([6, 6, 10, 5], [7, 9, 9, 6])]).mlm_accuracy == 0.75


def test_every_masked_word_counts_alike_whatever_its_batch():
    counts = WordCounts.of(np.arange(5, 11), VOCAB)
    lefts, words = [5, 6, 7, 8, 5], [6, 9, 8, 5, 6]
    for guess in (counts.by_frequency, counts.by_word_to_the_left):
        whole = guess([batch_of(lefts, words)])
        split = guess([batch_of(lefts[:1], words[:1]), batch_of(lefts[1:], words[1:])])
        assert split.mlm_loss == pytest.approx(whole.mlm_loss, rel=1e-12)
        assert split.mlm_accuracy == whole.mlm_accuracy


@given(seeds)
@settings(max_examples=10, deadline=None)
def test_a_text_that_repeats_is_guessed_from_the_left(seed):
    ids = np.tile(np.random.default_rng(seed).permutation(np.arange(FIRST_WORD, VOCAB)), 500)
    counts = WordCounts.of(ids, VOCAB)
    batch = [batch_of(ids[:7], ids[1:8])]
    assert counts.by_word_to_the_left(batch).mlm_accuracy == 1
    assert counts.by_word_to_the_left(batch).mlm_loss < 0.01 < 1.9 < counts.by_frequency(batch).mlm_loss
