"""Relative positions: a score for each distance, the same in steps with a cache, trained, saved and read back."""

import dataclasses

import numpy as np
import pytest
import relative_steps
import runs
import tiny
from parity_cases import assert_same
from safetensors.numpy import load_file

import numbert
from numbert import InputError
from numbert.bert.positions import DistanceEmbedding
from numbert.nn.functional import relative_rows, relative_scores
from numbert.pretrain.beginning import Beginning
from numbert.pretrain.entry import pretrain
from numbert.pretrain.settings import Settings

KINDS = relative_steps.KINDS


def test_the_row_of_a_distance():
    """Three queries, the last of five tokens, and a table for sequences of up to six: row 5 is distance 0."""
    assert relative_rows(query_length=3, key_length=5, table_rows=11).tolist() == [
        [7, 6, 5, 4, 3],  # the query at position 2: the key at 0 is two before it
        [8, 7, 6, 5, 4],
        [9, 8, 7, 6, 5],
    ]


def test_a_score_is_the_query_times_the_embedding_of_the_distance_and_with_key_the_key_too():
    table = np.array([[1.0], [10.0], [100.0]])  # [2p-1,d] of distance -1, 0, 1, where p is 2 and d is 1
    query, key = np.array([[[[2.0], [3.0]]]]), np.array([[[[5.0], [7.0]]]])
    np.testing.assert_array_equal(relative_scores(query, None, table, 2)[0, 0], [[20, 2], [300, 30]])
    np.testing.assert_array_equal(
        relative_scores(query, key, table, 2)[0, 0], [[20 + 50, 2 + 7], [300 + 500, 30 + 70]]
    )


class TestParity:
    """With PyTorch: the gradients of a decoder with cross-attention and pruned heads, and steps of one token."""

    @pytest.mark.parametrize("kind", KINDS)
    def test_float64(self, kind):
        theirs = load_file(relative_steps.file_of(kind))
        assert_same(relative_steps.numbert_numbers(kind, theirs, np.float64), theirs, tolerance=1e-12)

    @pytest.mark.parametrize("kind", KINDS)
    def test_float32(self, kind):
        theirs = load_file(relative_steps.file_of(kind))
        ours = relative_steps.numbert_numbers(kind, theirs, np.float32)
        assert {array.dtype for array in ours.values()} == {np.dtype(np.float32)}
        assert_same(ours, theirs, tolerance=2e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_steps_of_any_length_are_the_whole(kind):
    """Query i of a step stands at position past + i, where the published code is right for steps of one only."""
    model = numbert.BertModel(
        tiny.config(position_embedding_type=kind, is_decoder=True, initializer_range=0.5), dtype=np.float64
    ).eval()
    ids = tiny.batch()["input_ids"]
    with numbert.no_grad():
        whole = model(ids).last_hidden_state
        for cut in ((1, 6), (3, 4), (2, 1, 4)):
            past, states = None, []
            for part in np.split(ids, np.cumsum(cut)[:-1], axis=1):
                outputs = model(part, past_key_values=past, use_cache=True)
                past = outputs.past_key_values
                states.append(outputs.last_hidden_state)
            np.testing.assert_allclose(np.concatenate(states, axis=1), whole, rtol=0, atol=1e-12)


def test_absolute_positions_count_for_nothing():
    model = numbert.BertModel(tiny.config(position_embedding_type="relative_key"), seed=1).eval()
    given = tiny.inputs()
    before = model(**given).last_hidden_state
    table = model.embeddings.position_embeddings.weight
    table.data = table.data + 1
    np.testing.assert_array_equal(model(**given, position_ids=given["token_type_ids"]).last_hidden_state, before)
    model.backward(np.ones_like(before))
    assert table.grad is None
    assert not table.trainable


def test_cross_attention_has_no_distances():
    config = tiny.config(position_embedding_type="relative_key", is_decoder=True, add_cross_attention=True)
    layer = numbert.BertModel(config).encoder.layer[0]
    assert isinstance(layer.attention.self.distance_embedding, DistanceEmbedding)
    assert layer.crossattention.self.distance_embedding is None


def test_a_table_of_each_layer_serves_all_its_heads_also_when_some_are_pruned():
    model = numbert.BertModel(tiny.config(position_embedding_type="relative_key_query"))
    tables = [layer.attention.self.distance_embedding.weight for layer in model.encoder.layer]
    assert [table.shape for table in tables] == [(2 * 11 - 1, 4)] * 2
    model.prune_heads({0: [0, 2]})
    assert tables[0] is model.encoder.layer[0].attention.self.distance_embedding.weight
    assert tables[0].shape == (21, 4)


@pytest.mark.parametrize("positions", [None, np.zeros((1, 12), np.int64)])
def test_a_sequence_longer_than_the_table_is_one_line(positions):
    """Also where position_ids say something else, since distances are counted from the tokens."""
    model = numbert.BertModel(tiny.config(position_embedding_type="relative_key"))
    with pytest.raises(InputError, match=r"^a sequence of 12 tokens; the model has 11 positions$"):
        model(np.ones((1, 12), np.int64), position_ids=positions)


def test_a_cache_counts_for_the_length():
    model = numbert.BertModel(tiny.config(position_embedding_type="relative_key", is_decoder=True))
    past = model(np.ones((1, 8), np.int64)).past_key_values
    model(np.ones((1, 3), np.int64), past_key_values=past)
    for positions in (None, np.zeros((1, 4), np.int64)):
        with pytest.raises(InputError, match=r"^a sequence of 12 tokens; the model has 11 positions$"):
            model(np.ones((1, 4), np.int64), past_key_values=past, position_ids=positions)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """The folders of a relative model with drawn weights, and of two steps on longer pairs that began from it."""
    folder = tmp_path_factory.mktemp("relative")
    text = runs.by_kind(folder / "kinds.txt")
    drawn = pretrain([text], folder / "run", steps=1, **runs.TINY).folder  # has a vocabulary
    config = dataclasses.replace(
        numbert.BertConfig.from_file(drawn / "config.json"), position_embedding_type=KINDS[1]
    )
    numbert.BertForPreTraining(config, seed=3).save_pretrained(drawn)
    longer = pretrain([text], folder / "longer", steps=2, init=drawn, length=30, batch_size=8, progress=False)
    return drawn, longer.folder


class TestTraining:
    """`numbert pretrain --init` with a model whose positions are relative."""

    def test_every_table_of_distances_learns_and_that_of_absolute_positions_stays(self, trained):
        before, after = (load_file(folder / "model.safetensors") for folder in trained)
        absolute = "bert.embeddings.position_embeddings.weight"
        np.testing.assert_array_equal(after[absolute][:24], before[absolute])
        distances = "bert.encoder.layer.0.attention.self.distance_embedding.weight"
        changed = (after[distances][6:-6] != before[distances]).any(
            axis=1
        )  # from 24 positions to 30, at both ends
        assert changed.all()
        moments = load_file(trained[1] / "checkpoints" / "step-2" / "optimizer.safetensors")
        assert f"m.{distances}" in moments
        assert f"m.{absolute}" not in moments

    def test_what_is_saved_is_read_back(self, trained):
        model = numbert.BertForPreTraining.from_pretrained(trained[1])
        assert model.config.position_embedding_type == KINDS[1]
        for name, array in load_file(trained[1] / "model.safetensors").items():
            np.testing.assert_array_equal(model.state_dict()[name], array)

    def test_a_distance_that_was_never_seen_begins_as_the_longest_one_that_was(self, trained):
        name = "bert.encoder.layer.0.attention.self.distance_embedding.weight"
        before = load_file(trained[0] / "model.safetensors")[name]  # distances -23 to 23
        begun = Beginning.of(trained[0]).model(Settings(length=30, vocab_size=200)).state_dict()[name]  # -29 to 29
        np.testing.assert_array_equal(begun[6:-6], before)
        np.testing.assert_array_equal(begun[:6], before[[0] * 6])
        np.testing.assert_array_equal(begun[-6:], before[[-1] * 6])
