"""What is said of a run in the end: how sure its figures are, and whether another checkpoint was better."""

import dataclasses
import json
import math

import numpy as np
import pytest
from made_up import made_up
from runs import TINY, by_kind

from numbert import BertForPreTraining
from numbert.pretrain.entry import pretrain
from numbert.pretrain.evaluation import evaluate, share
from numbert.pretrain.held_out import BatchMaker, HeldOut
from numbert.pretrain.pairs import PairStream
from numbert.pretrain.run import PretrainRun
from numbert.randomness import Purpose
from numbert.text.prepare import Data
from numbert.text.vocabulary import FIRST_PIECE


@pytest.fixture(scope="module")
def spoiled(tmp_path_factory):
    """A run whose learning rate is too high: its best model is not the last one."""
    folder = tmp_path_factory.mktemp("spoiled")
    text = by_kind(folder / "kinds.txt")
    return pretrain([text], folder / "run", steps=40, save_every=4, eval_every=2, learning_rate=0.05, **TINY)


@pytest.fixture(scope="module")
def held_out(spoiled):
    run = PretrainRun.read(spoiled.folder)
    return HeldOut(Data.open(run.data), run.settings)


def test_it_says_how_many_masked_tokens_and_pairs_the_figures_are_of(spoiled, held_out):
    masked = sum(int((batch.labels != -100).sum()) for batch in held_out.batches)
    pairs = sum(len(batch.next_sentence_label) for batch in held_out.batches)
    assert (spoiled.held_out_words, spoiled.held_out_pairs) == (masked, pairs)
    assert 0 < pairs < masked < 1_000
    report = spoiled.report()
    assert f"held out are {masked} masked tokens in {pairs} pairs" in report
    scores = spoiled.held_out
    assert f"MLM {share(scores.mlm_accuracy, masked)} (frequencies" in report
    assert f"NSP {share(scores.nsp_accuracy, pairs)}" in report
    assert "±" in share(scores.nsp_accuracy, pairs)


@pytest.mark.parametrize("near", [0, 1])
def test_a_run_is_measured_with_pairs_as_near_as_those_it_learns_from(spoiled, near):
    run = PretrainRun.read(spoiled.folder)
    settings, data = dataclasses.replace(run.settings, near=near), Data.open(run.data)
    documents = made_up([[4] * 6] * 30)
    documents = dataclasses.replace(documents, ids=documents.ids % 9 + FIRST_PIECE)  # which the vocabulary has
    held_out = HeldOut(dataclasses.replace(data, held_out=documents), settings)

    pairs = PairStream(documents, settings.length, (settings.seed, Purpose.HELD_OUT), near=near).one_epoch()
    first = pairs[: settings.batch_size]
    batch = BatchMaker(data, settings).make(documents, first, Purpose.HELD_OUT_MASKS, 0)
    np.testing.assert_array_equal(held_out.batches[0].input_ids, batch.input_ids)


def test_the_best_checkpoint_is_named_where_the_last_model_is_worse(spoiled, held_out):
    best = spoiled.best
    assert best.loss < spoiled.held_out.loss
    assert best.folder == spoiled.folder / "checkpoints" / f"step-{best.step}"
    assert evaluate(BertForPreTraining.from_pretrained(best.folder), held_out.batches).loss == best.loss
    line = f"the best held-out loss was {best.loss:.4f}, at step {best.step}: that model is in {best.folder}"
    assert line in spoiled.report().splitlines()
    # The model in the folder is the last one all the same.
    last = BertForPreTraining.from_pretrained(spoiled.folder)
    assert evaluate(last, held_out.batches) == spoiled.held_out


def test_where_the_last_model_is_the_best_no_other_is_named(tmp_path):
    result = pretrain([by_kind(tmp_path / "kinds.txt")], tmp_path / "run", steps=3, **TINY)
    assert result.best is None
    assert result.to_dict()["best"] is None
    assert "best" not in result.report()


def test_json_has_it_all(spoiled):
    values = json.loads(json.dumps(spoiled.to_dict()))
    assert values["held_out_words"] == spoiled.held_out_words
    assert values["held_out_pairs"] == spoiled.held_out_pairs
    best = spoiled.best
    assert values["best"] == {"step": best.step, "loss": best.loss, "folder": str(best.folder)}
    assert values["folder"] == str(spoiled.folder)


def test_while_it_trains_too_a_share_of_few_pairs_has_its_error(tmp_path, capsys):
    result = pretrain([by_kind(tmp_path / "kinds.txt")], tmp_path / "run", steps=2, **(TINY | {"progress": True}))
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("step 2, held out: ")]
    assert line.endswith(f"NSP {share(result.held_out.nsp_accuracy, result.held_out_pairs)}")


@pytest.mark.parametrize(
    ("value", "count", "text"),
    [
        (4 / 9, 9, "44.4% ± 16.6%"),
        (1.0, 9, "100.0% ± 9.6%"),  # sqrt(10/11 1/11 / 9): 9 of 9 prove little
        (0.0, 9, "0.0% ± 9.6%"),
        (0.5, 100, "50.0% ± 5.0%"),
        (0.5, 999, "50.0% ± 1.6%"),
        (0.5, 1_000, "50.0%"),
        (0.25, 4_000, "25.0%"),
    ],
)
def test_a_share_of_few_has_its_standard_error(value, count, text):
    assert share(value, count) == text
    if 0 < value < 1 and "±" in text:
        assert math.sqrt(value * (1 - value) / count) == pytest.approx(
            float(text.split("± ")[1].rstrip("%")) / 100, abs=6e-4
        )
