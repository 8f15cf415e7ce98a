"""Many texts, and a decoder that writes: what is raced is what the names say, and all answer alike."""

import dataclasses

import numpy as np
import pytest
from benches import TINY

from numbert import BertConfig, BertLMHeadModel, InputError, no_grad
from numbert.bench import bench
from numbert.bench.race import hold
from numbert.bench.texts import made_up_texts, made_up_tokenizer
from numbert.bench.workloads import make_workload
from numbert.bench.writing import writing_race

LONG = BertConfig(**TINY | {"max_position_embeddings": 512})


def test_lengths_are_lognormal_about_25_tokens_and_each_text_has_one_mask():
    tokenizer = made_up_tokenizer(LONG)
    encodings = tokenizer.encode_batch(made_up_texts(LONG, 1000, seed=0))
    lengths = np.array([len(encoding) for encoding in encodings])
    assert np.median(lengths) == pytest.approx(25, abs=2)
    assert np.log(lengths).std() == pytest.approx(0.6, abs=0.05)
    assert {encoding.tokens.count("[MASK]") for encoding in encodings} == {1}
    assert not any("[UNK]" in encoding.tokens for encoding in encodings)
    assert max(max(encoding.ids) for encoding in encodings) == LONG.vocab_size - 1


def test_texts_are_never_longer_than_the_models_positions_and_the_same_for_the_same_seed(config):
    texts = made_up_texts(config, 100, seed=1)
    lengths = [len(encoding) for encoding in made_up_tokenizer(config).encode_batch(texts)]
    assert max(lengths) == config.max_position_embeddings
    assert texts == made_up_texts(config, 100, seed=1)
    assert texts != made_up_texts(config, 100, seed=2)


@pytest.mark.parametrize("sizes", [{"vocab_size": 9}, {"max_position_embeddings": 2}])
def test_a_model_that_is_too_small_for_texts_is_named(sizes):
    with pytest.raises(InputError, match="texts need at least 10 ids and 3 positions"):
        made_up_texts(BertConfig(**TINY | sizes), 1, 0)


def test_both_works_are_counted_in_texts_a_second(config, without_peers):
    embed, fill = bench(["texts"], config=config, length=16, texts=5, rounds=1).races
    assert (embed.name, fill.name) == ("texts, embed", "texts, fill-mask")
    assert embed.to_dict()["contestants"]["numbert"]["texts_per_second"] == 5 / embed.seconds["numbert"][0]
    assert "torch" in embed.absent


def test_what_is_written_token_by_token_has_the_scores_of_the_whole_text(config, without_peers, monkeypatch):
    answers = []
    monkeypatch.setattr(
        "numbert.bench.writing.hold",
        lambda race, contestants, *rest: answers.append(contestants[0].answer()) or hold(race, contestants, *rest),
    )
    ids = make_workload(config, 3, 20, False, 0).inputs["input_ids"]
    race = writing_race(config, ids, 1, 0, False)
    with no_grad():
        whole = BertLMHeadModel(dataclasses.replace(config, is_decoder=True), seed=0).eval()(ids).logits
    assert np.abs(answers[0]["scores"] - whole[:, 9:].swapaxes(0, 1)).max() < 1e-5  # after 10 tokens, and 10 more
    assert (race.amount, race.unit) == (3 * 10, "tokens")


@pytest.mark.live
def test_torch_gives_the_same_answers_in_either_order_and_with_its_cache(config):
    for name in ("torch", "transformers"):
        pytest.importorskip(name, reason=f"needs {name}")
    embed, fill, decode = bench(["texts", "decode"], config=config, length=20, texts=70, rounds=1).races
    assert list(embed.differences) == list(fill.differences) == ["torch, given order", "torch, sorted by length"]
    assert list(decode.differences) == decode.forms["torch"] == ["torch, sdpa", "torch, eager"]
    assert all(0 < difference < 1e-5 for race in (embed, fill, decode) for difference in race.differences.values())
