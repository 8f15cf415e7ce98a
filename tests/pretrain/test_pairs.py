"""Pairs of segments: what each keeps to, how often what is random comes, and a stream that can be resumed."""

import copy

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from made_up import any_documents, assert_frequency, document_of, made_up, seeds

from numbert import InputError
from numbert.pretrain import pairs as module
from numbert.pretrain.pairs import IS_NEXT, NOT_NEXT, PairStream, Position, make_pairs
from numbert.randomness import Purpose
from numbert.text.documents import Documents


def all_pairs(documents, max_length, rng):
    return make_pairs(documents, max_length, rng, range(len(documents)))


# --- pairs -------------------------------------------------------------------------------------------------------


@settings(max_examples=60, deadline=None)
@given(any_documents, st.integers(8, 60), seeds)
def test_what_every_pair_keeps_to(documents, max_length, seed):
    pairs = all_pairs(documents, max_length, np.random.default_rng(seed))
    assert pairs.dtype == np.int64
    assert pairs.shape[1] == 5
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
            assert label == NOT_NEXT
            assert in_a != in_b


@settings(max_examples=60, deadline=None)
@given(any_documents, st.integers(8, 60), seeds, st.data())
def test_the_first_segment_is_of_the_chosen_documents(documents, max_length, seed, data):
    chosen = data.draw(st.lists(st.sampled_from(range(len(documents))), unique=True))
    pairs = make_pairs(documents, max_length, np.random.default_rng(seed), chosen)
    assert pairs.shape == (len(pairs), 5)
    with_two = {i for i in chosen if documents.documents[i + 1] - documents.documents[i] >= 2}
    assert {document_of(documents, a_start) for a_start in pairs[:, 0]} == with_two


@settings(max_examples=20, deadline=None)
@given(any_documents, st.integers(8, 60), seeds)
def test_one_seed_gives_the_same_pairs_and_another_others(documents, max_length, seed):
    first, again = (all_pairs(documents, max_length, np.random.default_rng(seed)) for _ in range(2))
    np.testing.assert_array_equal(first, again)
    rng = np.random.default_rng(seed)
    passes = {all_pairs(documents, max_length, rng).tobytes() for _ in range(20)}
    assert len(passes) > 1 or len(first) == 0


def test_a_pass_reads_nearly_all_text():
    documents = made_up([[5, 9, 7, 11, 6, 8, 10]] * 50)
    pairs = all_pairs(documents, 64, np.random.default_rng(0))
    read = np.zeros(len(documents.ids), bool)
    for a_start, a_stop, *_ in pairs.tolist():
        read[a_start:a_stop] = True
    for _, _, b_start, b_stop, label in pairs.tolist():
        read[b_start:b_stop] |= label == IS_NEXT
    assert read.mean() > 0.85


def test_half_of_the_pairs_are_next_sentences():
    rng = np.random.default_rng(0)
    lengths = [rng.integers(1, 40, rng.integers(2, 30)).tolist() for _ in range(3000)]
    labels = all_pairs(made_up(lengths), 64, rng)[:, 4]
    assert len(labels) > 10_000
    assert_frequency(int((labels == IS_NEXT).sum()), len(labels), 0.5)


def test_label_0_is_next_as_the_model_has_it():
    documents = Documents(np.arange(20), sentences=np.array([0, 5, 10, 15, 20]), documents=np.array([0, 2, 4]))
    pairs = np.concatenate([all_pairs(documents, 64, np.random.default_rng(seed)) for seed in range(20)])
    _, a_stop, b_start, _, label = pairs.T
    assert set(label) == {0, 1}
    assert np.array_equal(label == 0, a_stop == b_start)


def test_the_other_document_is_any_of_the_others():
    documents = made_up([[10] * 4] * 5)
    rng = np.random.default_rng(1)
    pairs = np.concatenate([all_pairs(documents, 40, rng) for _ in range(500)])
    random = pairs[pairs[:, 4] != IS_NEXT]
    a, b = random[:, 0] // 40, random[:, 2] // 40
    for step in range(1, 5):
        assert_frequency(int(((b - a) % 5 == step).sum()), len(random), 1 / 4)


@pytest.mark.parametrize(
    ("near", "steps"),
    [
        (1, [1, 8]),
        (2, [1, 2, 7, 8]),
        (3, [1, 2, 3, 6, 7, 8]),
        (4, range(1, 9)),
        (7, range(1, 9)),
        (99, range(1, 9)),
    ],
)
def test_a_near_document_is_any_of_those_before_and_after(near, steps):
    """Of nine, in a circle: 8 is the one before, and from 4 on it is any of the others."""
    documents = made_up([[10] * 4] * 9)
    rng = np.random.default_rng(1)
    pairs = np.concatenate([make_pairs(documents, 40, rng, range(9), near) for _ in range(200)])
    random = pairs[pairs[:, 4] != IS_NEXT]
    a, b = random[:, 0] // 40, random[:, 2] // 40
    assert set((b - a) % 9) == set(steps)
    for step in steps:
        assert_frequency(int(((b - a) % 9 == step).sum()), len(random), 1 / len(steps))


def test_the_other_segment_begins_with_any_sentence():
    documents = made_up([[10] * 4] * 2)
    rng = np.random.default_rng(1)
    pairs = np.concatenate([all_pairs(documents, 200, rng) for _ in range(1000)])
    begins = pairs[pairs[:, 4] != IS_NEXT][:, 2] % 40 // 10
    for sentence in range(4):
        assert_frequency(int((begins == sentence).sum()), len(begins), 1 / 4)


def test_one_in_ten_is_made_shorter():
    documents = made_up([[1] * 400] * 10)
    rng = np.random.default_rng(2)
    pairs = np.concatenate([all_pairs(documents, 40, rng) for _ in range(30)])
    is_next = pairs[pairs[:, 4] == IS_NEXT]
    is_next = is_next[is_next[:, 3] % 400 != 0]  # at the end of a document what is left over is short
    length = is_next[:, 1] - is_next[:, 0] + is_next[:, 3] - is_next[:, 2]
    # A short one draws its length from 2 to 37 alike, so one in 36 of them is full too.
    assert_frequency(int((length < 37).sum()), len(length), 0.1 * 35 / 36)


def test_too_long_pairs_lose_tokens_of_the_longer_segment_at_both_ends():
    documents = made_up([[6, 100]] * 2)
    rng = np.random.default_rng(3)
    pairs = np.concatenate([all_pairs(documents, 29, rng) for _ in range(400)])
    is_next = pairs[pairs[:, 4] == IS_NEXT]
    assert len(is_next) > 300
    a, b = is_next[:, 1] - is_next[:, 0], is_next[:, 3] - is_next[:, 2]
    assert set(a.tolist()) == {6}
    assert set(b.tolist()) == {20}
    lost_in_front = is_next[:, 2] % 106 - 6
    assert_frequency(int(lost_in_front.sum()), 80 * len(is_next), 0.5)


def test_equally_long_segments_lose_equally_much_at_both_ends():
    rng = np.random.default_rng(4)
    pairs = np.concatenate([all_pairs(made_up([[100, 100]] * 2), 30, rng) for _ in range(200)])
    assert set((pairs[:, 1] - pairs[:, 0]).tolist()) == {14}
    assert set((pairs[:, 3] - pairs[:, 2]).tolist()) == {13}
    assert_frequency(int((pairs[:, 0] % 200).sum()), 86 * len(pairs), 0.5)
    assert_frequency(int((pairs[:, 2] % 100).sum()), 87 * len(pairs), 0.5)


# --- the stream --------------------------------------------------------------------------------------------------

with_a_pair = any_documents.filter(lambda documents: np.diff(documents.documents).max() > 1)
counts = st.lists(st.integers(1, 40), min_size=1, max_size=8)
part_sizes = st.sampled_from([1, 20, 100, 1 << 20])  # in tokens; a document has up to 360


def stream(documents, seed=0, max_length=40, position=None):
    return PairStream(documents, max_length, (seed, Purpose.PAIRS), position)


def epochs(stream, number):
    """The pairs of the first epochs, each by itself."""
    pairs = [[] for _ in range(number)]
    while True:
        pair, position = stream.take(1), stream.position
        epoch = position.epoch - (position.part == position.pair == 0)
        if epoch == number:
            return [np.concatenate(epoch) for epoch in pairs]
        pairs[epoch].append(pair)


@settings(max_examples=60, deadline=None)
@given(with_a_pair, seeds, counts, part_sizes)
def test_any_split_gives_the_same_pairs(documents, seed, counts, size):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "TOKENS_AT_A_TIME", size)
        whole = stream(documents, seed).take(sum(counts))
        split = stream(documents, seed)
        parts = [split.take(count) for count in counts]
    assert [len(part) for part in parts] == counts
    np.testing.assert_array_equal(np.concatenate(parts), whole)


@settings(max_examples=60, deadline=None)
@given(with_a_pair, seeds, counts, counts, part_sizes)
def test_a_stream_resumed_at_any_point_goes_on_as_the_first_one(documents, seed, before, after, size):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "TOKENS_AT_A_TIME", size)
        first = stream(documents, seed)
        for count in before:
            first.take(count)
        resumed = stream(documents, seed, position=copy.copy(first.position))
        for count in after:
            np.testing.assert_array_equal(first.take(count), resumed.take(count))
    assert first.position == resumed.position


@settings(max_examples=40, deadline=None)
@given(with_a_pair, seeds, part_sizes)
def test_each_epoch_goes_through_all_documents_once(documents, seed, size):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "TOKENS_AT_A_TIME", size)
        found = epochs(stream(documents, seed), 3)
        np.testing.assert_array_equal(stream(documents, seed).one_epoch(), found[0])
    with_two = set(np.flatnonzero(np.diff(documents.documents) >= 2).tolist())
    for pairs in found:
        read = np.zeros(len(documents.ids), int)
        for a_start, a_stop, b_start, b_stop, label in pairs.tolist():
            read[a_start:a_stop] += 1
            read[b_start:b_stop] += label == IS_NEXT
        assert read.max() == 1  # no text comes twice, but as the random next sentence of another
        assert {document_of(documents, a_start) for a_start in pairs[:, 0]} == with_two


@settings(max_examples=40, deadline=None)
@given(with_a_pair, seeds, part_sizes)
def test_the_parts_of_an_epoch_have_each_document_once_and_in_random_order(documents, seed, size):
    chosen = []

    def recorded(documents, max_length, rng, some, near):
        chosen.append(list(some))
        return make_pairs(documents, max_length, rng, chosen[-1], near)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "TOKENS_AT_A_TIME", size)
        patch.setattr(module, "make_pairs", recorded)
        stream(documents, seed).one_epoch()
    tokens = np.diff(documents.starts())
    assert sorted(document for part in chosen for document in part) == list(range(len(documents)))
    for part in chosen:  # one document more than fits, at most
        assert tokens[part[:-1]].sum() <= size + tokens.max()
    if size == 1 << 20:
        assert len(chosen) == 1
    if size == 1:
        assert len(chosen) == len(documents)


def test_an_epoch_has_another_order_and_other_pairs_than_the_one_before():
    documents = made_up([[5, 6, 7, 8]] * 30)
    first, second = epochs(stream(documents), 2)
    assert [document_of(documents, a) for a in first[:30, 0]] != [
        document_of(documents, a) for a in second[:30, 0]
    ]
    as_set = [{tuple(pair) for pair in epoch.tolist()} for epoch in (first, second)]
    assert len(as_set[0] & as_set[1]) < 0.7 * len(first)


def test_each_part_of_each_epoch_has_random_numbers_of_its_own(monkeypatch):
    monkeypatch.setattr(module, "TOKENS_AT_A_TIME", 1)  # each document is a part
    states = []

    def recorded(documents, max_length, rng, chosen, near):
        states.append(rng.bit_generator.state["state"]["state"])
        return make_pairs(documents, max_length, rng, chosen, near)

    monkeypatch.setattr(module, "make_pairs", recorded)
    epochs(stream(made_up([[5, 6, 7, 8]] * 20)), 3)
    assert len(set(states)) == len(states) >= 60


def test_another_seed_and_another_purpose_give_other_pairs():
    documents = made_up([[5, 6, 7, 8]] * 30)
    keys = [(0, Purpose.PAIRS), (1, Purpose.PAIRS), (0, Purpose.HELD_OUT)]
    assert len({PairStream(documents, 40, key).take(20).tobytes() for key in keys}) == 3


def test_documents_without_a_pair_are_refused():
    with pytest.raises(InputError, match="there is no pair of sentences to learn from: no document has two"):
        stream(made_up([[3]] * 5))


def test_a_document_alone_is_refused():
    with pytest.raises(InputError, match="there is 1 document"):
        stream(made_up([[3, 4, 5]]))


def test_a_new_stream_is_at_the_beginning():
    assert stream(made_up([[3, 4]] * 2)).position == Position(epoch=0, part=0, pair=0)
