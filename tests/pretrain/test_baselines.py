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
from numbert.pretrain.baselines import PieceCounts
from numbert.pretrain.batches import Batch
from numbert.text.vocabulary import CLS, FIRST_PIECE, MASK

VOCAB = 12
texts = st.lists(st.integers(FIRST_PIECE, VOCAB - 2), min_size=1, max_size=60).map(
    lambda ids: np.array(ids, np.uint16)
)


def batch_of(lefts, masked):
    """A masked token in each row, after the token to its left."""
    lefts, masked = np.array(lefts), np.array(masked)
    input_ids = np.stack([np.full_like(lefts, CLS), lefts, np.full_like(lefts, MASK)], axis=1)
    labels = np.stack([np.full_like(masked, -100), np.full_like(masked, -100), masked], axis=1)
    ones = np.ones_like(input_ids)
    return Batch(input_ids, 0 * ones, ones, labels, np.zeros(len(lefts), int))


def frequency(ids, piece):
    """Plainly: with one more of each."""
    return (list(ids).count(piece) + 1) / (len(ids) + VOCAB)


def after(ids, left, piece):
    """Plainly: Witten and Bell's estimate."""
    followers = Counter(int(following) for before, following in pairwise(ids) if before == left)
    different = len(followers)
    if not different:
        return frequency(ids, piece)
    return (followers[piece] + different * frequency(ids, piece)) / (followers.total() + different)


def assert_same(a, b):
    for name, array in vars(a).items():
        np.testing.assert_array_equal(array, getattr(b, name))


@settings(max_examples=60, deadline=None)
@given(texts)
def test_pieces_and_pairs_are_counted(ids):
    counts = PieceCounts.of(ids, VOCAB)
    assert counts.pieces.tolist() == [list(ids).count(piece) + 1 for piece in range(VOCAB)]
    pairs = Counter(int(before) * VOCAB + int(piece) for before, piece in pairwise(ids))
    assert counts.pairs.tolist() == sorted(pairs)
    assert counts.times.tolist() == [pairs[pair] for pair in sorted(pairs)]


@settings(max_examples=60, deadline=None)
@given(texts, st.integers(1, 20))
def test_counting_some_at_a_time_gives_the_same(ids, size):
    whole = PieceCounts.of(ids, VOCAB)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(baselines, "_TOKENS_AT_A_TIME", size)
        assert_same(PieceCounts.of(ids, VOCAB), whole)


@settings(max_examples=60, deadline=None)
@given(
    texts,
    st.lists(st.tuples(st.sampled_from([CLS, MASK, *range(5, VOCAB)]), st.integers(0, VOCAB - 1)), min_size=1),
)
def test_the_guesses_are_as_good_as_plain_counting_says(ids, masked):
    counts = PieceCounts.of(ids, VOCAB)
    halves = [masked[: len(masked) // 2], masked[len(masked) // 2 :]]
    batches = [batch_of(*zip(*half, strict=True)) for half in halves if half]

    by_frequency = counts.by_frequency(batches)
    losses = [-log(frequency(ids, piece)) for _, piece in masked]
    assert by_frequency.mlm_loss == pytest.approx(sum(losses) / len(masked), rel=1e-12)
    most_frequent = max(range(VOCAB), key=lambda piece: frequency(ids, piece))
    right = sum(piece == most_frequent for _, piece in masked)
    assert by_frequency.mlm_accuracy == pytest.approx(right / len(masked))

    by_left = counts.by_token_to_the_left(batches)
    losses = [-log(after(ids, left, piece)) for left, piece in masked]
    assert by_left.mlm_loss == pytest.approx(sum(losses) / len(masked), rel=1e-12)


@settings(max_examples=30, deadline=None)
@given(texts, st.sampled_from([CLS, MASK, *range(5, VOCAB)]))
def test_probabilities_sum_to_one(ids, left):
    counts = PieceCounts.of(ids, VOCAB)
    for guess in (counts.by_frequency, counts.by_token_to_the_left):
        each = [np.exp(-guess([batch_of([left], [piece])]).mlm_loss) for piece in range(VOCAB)]
        assert sum(each) == pytest.approx(1, rel=1e-12)
        assert min(each) > 0


def test_the_best_guess_is_the_most_probable_piece():
    ids = np.array([5, 6, 7, 6, 7, 8, 6, 9, 9, 9, 9])
    counts = PieceCounts.of(ids, VOCAB)
    assert counts.by_frequency([batch_of([5, 6], [9, 7])]).mlm_accuracy == 0.5
    # After 6 there was 7 twice and 9 once; after 10 nothing ever, so that 9, the most frequent, is the best guess.
    assert counts.by_token_to_the_left([batch_of([6, 6, 10, 5], [7, 9, 9, 6])]).mlm_accuracy == 0.75


def test_every_masked_token_counts_alike_whatever_its_batch():
    counts = PieceCounts.of(np.arange(5, 11), VOCAB)
    lefts, masked = [5, 6, 7, 8, 5], [6, 9, 8, 5, 6]
    for guess in (counts.by_frequency, counts.by_token_to_the_left):
        whole = guess([batch_of(lefts, masked)])
        split = guess([batch_of(lefts[:1], masked[:1]), batch_of(lefts[1:], masked[1:])])
        assert split.mlm_loss == pytest.approx(whole.mlm_loss, rel=1e-12)
        assert split.mlm_accuracy == whole.mlm_accuracy


@given(seeds)
@settings(max_examples=10, deadline=None)
def test_a_text_that_repeats_is_guessed_from_the_left(seed):
    ids = np.tile(np.random.default_rng(seed).permutation(np.arange(FIRST_PIECE, VOCAB)), 500)
    counts = PieceCounts.of(ids, VOCAB)
    batch = [batch_of(ids[:7], ids[1:8])]
    assert counts.by_token_to_the_left(batch).mlm_accuracy == 1
    assert counts.by_token_to_the_left(batch).mlm_loss < 0.01 < 1.9 < counts.by_frequency(batch).mlm_loss
