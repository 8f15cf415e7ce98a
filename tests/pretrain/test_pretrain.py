"""pretrain, from text files to a folder: it learns, repeats, overwrites nothing and says what is wrong."""

import gc
import json
import math
import sys
import time
import tracemalloc
from functools import partialmethod
from types import SimpleNamespace

import numpy as np
import pytest
from runs import MODEL_FILES, RUN_FILES, TINY, by_kind, digests, weights
from tqdm import tqdm

from numbert import BertConfig, BertForPreTraining, BertModel, InputError, progress
from numbert.files.tokenizer import SPECIAL_TOKENS, bert_tokenizer, load_tokenizer, save_tokenizer
from numbert.nn.functional import cross_entropy
from numbert.pretrain.batches import Batch
from numbert.pretrain.beginning import Beginning
from numbert.pretrain.entry import pretrain
from numbert.pretrain.evaluation import evaluate
from numbert.pretrain.settings import Settings
from numbert.train import run, trainer
from numbert.train.metrics import read_metrics
from numbert.train.trainer import Trainer


@pytest.fixture(scope="module")
def text(tmp_path_factory):
    return by_kind(tmp_path_factory.mktemp("text") / "kinds.txt")


def test_it_learns_from_text_what_frequencies_do_not_tell(text, tmp_path):
    result = pretrain([text], tmp_path / "model", steps=400, learning_rate=3e-3, **(TINY | {"hidden_size": 32}))
    # Scores of standard deviation 0.098 sqrt(32) = 0.55 cost 0.55^2 / 2 = 0.15 more, give or take 8 pairs' chance.
    assert result.first_loss == pytest.approx(result.uniform_loss + 0.15, abs=0.3)
    assert result.final_loss < result.first_loss - 1
    assert result.held_out.loss < result.frequency_loss - 1
    assert result.held_out.mlm_accuracy > 0.15
    assert result.held_out.mlm_top5_accuracy > 2 * result.held_out.mlm_accuracy
    assert result.bigram_loss < result.frequency_loss
    assert len(result.fills) == 5
    for fill in result.fills:
        assert fill.text.count("[MASK]") == 1
        assert len(fill.guesses) == 5
        probabilities = [probability for _, probability in fill.guesses]
        assert sorted(probabilities, reverse=True) == probabilities
        assert 0 < sum(probabilities) <= 1 + 1e-6
        assert fill.text.replace("[MASK]", fill.word) in text.read_text()
    report = result.report()
    for number in (result.first_loss, result.final_loss, result.held_out.loss, result.frequency_loss):
        assert f"{number:.4f}" in report
    assert json.loads(json.dumps(result.to_dict()))["held_out"]["mlm_loss"] == result.held_out.mlm_loss


def test_the_folder_is_a_model_with_its_tokenizer_and_the_run(text, tmp_path):
    folder = tmp_path / "new" / "model"
    pretrain([text], folder, steps=2, **TINY)
    assert {path.name for path in folder.iterdir()} == MODEL_FILES | RUN_FILES
    model, tokenizer = BertForPreTraining.from_pretrained(folder), load_tokenizer(folder)
    assert model.config.vocab_size == tokenizer.get_vocab_size() <= 200
    encoding = tokenizer.encode("Cat sun red bread door.")
    assert tokenizer.decode(encoding.ids) == "Cat sun red bread door."
    out = model(np.array([encoding.ids]), token_type_ids=np.array([encoding.type_ids]))
    assert np.isfinite(out.prediction_logits).all()
    assert json.loads((folder / "tokenizer_config.json").read_text())["model_max_length"] == 24


def test_one_seed_gives_one_model_bit_for_bit(text, tmp_path):
    first, again, other = (
        pretrain([text], tmp_path / name, steps=5, seed=seed, dropout=0.1, **TINY)
        for name, seed in (("a", 3), ("b", 3), ("c", 4))
    )
    assert weights(first.folder) == weights(again.folder)
    assert (first.first_loss, first.held_out, first.fills) == (again.first_loss, again.held_out, again.fills)
    assert weights(first.folder) != weights(other.folder)


def losses(folder):
    return [line["loss"] for line in read_metrics(folder / "metrics.jsonl") if "loss" in line]


@pytest.fixture(scope="module")
def whole(text, tmp_path_factory):
    """The losses of 12 steps of whole batches."""
    folder = tmp_path_factory.mktemp("whole") / "run"
    pretrain([text], folder, steps=12, save_every=1, eval_every=12, **TINY)
    return losses(folder)


class TestTheSameUpdateInOtherWays:
    """What saves memory may round differently, or not at all; it is the same training."""

    @pytest.mark.parametrize("accumulate", [2, 3, 8])
    def test_a_batch_in_parts(self, accumulate, whole, text, tmp_path):
        """Unequal parts too: 8 pairs in 3 parts, with different numbers of masked tokens."""
        pretrain([text], tmp_path / "run", steps=12, save_every=1, eval_every=12, accumulate=accumulate, **TINY)
        np.testing.assert_allclose(losses(tmp_path / "run"), whole, rtol=1e-6)

    def test_gradient_checkpointing_to_the_last_bit(self, text, tmp_path):
        for name, checkpointing in (("with", True), ("without", False)):
            pretrain(
                [text],
                tmp_path / name,
                steps=6,
                dropout=0.2,
                gradient_checkpointing=checkpointing,
                **(TINY | {"layers": 3}),
            )
        assert weights(tmp_path / "with") == weights(tmp_path / "without")


@pytest.mark.parametrize(("correction", "step"), [(True, 1.0), (False, 0.1 / math.sqrt(0.02))])
def test_the_first_step_with_and_without_bias_correction(correction, step, text, tmp_path):
    """Whatever the gradient is: without it (1 - beta1) / sqrt(1 - beta2) of the learning rate, else all of it."""
    pretrain([text], tmp_path / "run", steps=1, bias_correction=correction, warmup=0.0, **TINY)
    bias = BertForPreTraining.from_pretrained(tmp_path / "run").bert.pooler.dense.bias.data  # 0 at first, no decay
    np.testing.assert_allclose(np.abs(bias), 2e-3 * step, rtol=1e-3)


def test_a_run_begins_from_the_weights_of_another(text, tmp_path):
    """Google's second phase: longer pairs, for which the first one left positions."""
    first = pretrain([text], tmp_path / "short", steps=100, positions=40, learning_rate=5e-3, **TINY)
    options = {name: value for name, value in TINY.items() if name in ("batch_size", "progress")}
    second = pretrain(
        [text], tmp_path / "long", steps=3, init=first.folder, length=40, learning_rate=1e-4, **options
    )
    assert second.first_loss < first.first_loss - 1
    assert BertForPreTraining.from_pretrained(second.folder).config.max_position_embeddings == 40
    vocabularies = [load_tokenizer(folder).get_vocab() for folder in (first.folder, second.folder)]
    assert vocabularies[0] == vocabularies[1]
    with pytest.raises(InputError, match=r"layers is 7, but the model in .* has 1; leave it out"):
        pretrain([text], tmp_path / "other", init=first.folder, layers=7)
    assert not (tmp_path / "other").exists()


def test_what_a_model_has_learned_from_cannot_be_held_out_when_a_run_begins_from_it(text, tmp_path):
    other, third = (by_kind(tmp_path / f"{seed}.txt", seed=seed) for seed in (1, 2))
    options = {name: value for name, value in TINY.items() if name in ("batch_size", "progress", "length")}
    first = pretrain([text, other], tmp_path / "1", steps=1, held_out=third, **TINY).folder
    second = pretrain([text], tmp_path / "2", steps=1, init=first, held_out=third, **options).folder
    for init in (first, second):  # the second one began from the first
        with pytest.raises(
            InputError, match=r"/1\.txt cannot be held out, as the model in .*/1 has learned from it"
        ):
            pretrain([text], tmp_path / "3", steps=1, init=init, held_out=other, **options)
        assert not (tmp_path / "3").exists()


def test_positions_that_were_not_trained_begin_as_copies_of_those_that_were(text, tmp_path):
    first = pretrain([text], tmp_path / "short", steps=2, positions=30, **TINY)  # of which 24 are trained
    options = {name: value for name, value in TINY.items() if name in ("batch_size", "progress")}
    settings = Settings(length=60, positions=60, vocab_size=200, hidden_size=16, heads=2)
    table = Beginning.of(first.folder).model(settings).state_dict()["bert.embeddings.position_embeddings.weight"]
    trained = BertForPreTraining.from_pretrained(first.folder).bert.embeddings.position_embeddings.weight.data
    np.testing.assert_array_equal(table, trained[np.arange(60) % 24])
    longer = pretrain([text], tmp_path / "long", steps=1, init=first.folder, length=60, **options)
    assert BertForPreTraining.from_pretrained(longer.folder).config.max_position_embeddings == 60


def test_a_model_with_other_special_tokens_is_not_trained_on(text, tmp_path):
    """bert-base-cased has [PAD] 0 and [UNK], [CLS], [SEP], [MASK] 100 to 103."""
    words = ["[PAD]", *(f"[unused{i}]" for i in range(5)), "[UNK]", "[CLS]", "[SEP]", "[MASK]", "cat"]
    config = BertConfig(
        vocab_size=11, hidden_size=8, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16
    )
    BertForPreTraining(config).save_pretrained(tmp_path / "published")
    save_tokenizer(bert_tokenizer({word: i for i, word in enumerate(words)}), tmp_path / "published")
    with pytest.raises(InputError, match=r"tokens \[PAD\] 0, \[UNK\] 6, .*; to train on, they must be 0 to 4"):
        pretrain([text], tmp_path / "run", init=tmp_path / "published")
    assert not (tmp_path / "run").exists()


def a_model(folder, words=("cat", "dog"), **changes):
    """A tiny model's folder, with a tokenizer of these words, and of a configuration with changes."""
    sizes = {"vocab_size": 5 + len(words), "hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2}
    model = BertForPreTraining(BertConfig(**(sizes | {"intermediate_size": 16} | changes)))
    model.save_pretrained(folder)
    save_tokenizer(
        bert_tokenizer({word: i for i, word in enumerate([*SPECIAL_TOKENS.values(), *words])}, False), folder
    )
    return model


def spoiled(folder):
    model = a_model(folder)
    model.bert.pooler.dense.bias.data[3] = np.nan
    model.save_pretrained(folder)


def without_heads(folder):
    BertModel(a_model(folder).config).save_pretrained(folder)


def cut_off(folder):
    a_model(folder)
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-9])


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda folder: a_model(folder, vocab_size=6),
            r"the ids 0 to 6 \(6 is 'dog'\), but the model has 6 pieces; the two are not of one model",
        ),
        (
            lambda folder: a_model(folder, type_vocab_size=1),
            "has type_vocab_size 1; pairs need 2",
        ),
        (without_heads, r"has no cls\.predictions"),
        (cut_off, "is not whole"),
        (spoiled, r"bert\.pooler\.dense\.bias in .*published has numbers that are not finite"),
    ],
    ids=["fewer pieces than its tokenizer", "one segment", "without heads", "cut off", "NaN"],
)
def test_a_model_that_cannot_be_trained_on_is_refused_before_anything_is_written(make, message, text, tmp_path):
    make(tmp_path / "published")
    with pytest.raises(InputError, match=message) as caught:
        pretrain([text], tmp_path / "run", init=tmp_path / "published", progress=False)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "run").exists()


def test_a_model_with_more_pieces_than_its_tokenizer_is_trained_on(text, tmp_path):
    """Published ones have a table that is rounded up."""
    a_model(tmp_path / "published", words=("cat", "dog", *"abcdefghijklmnopqrstuvwxyz."), vocab_size=64)
    result = pretrain([text], tmp_path / "run", 2, init=tmp_path / "published", batch_size=4, progress=False)
    assert BertForPreTraining.from_pretrained(result.folder).config.vocab_size == 64


# --- what is measured --------------------------------------------------------------------------------------------


def test_the_held_out_scores_are_means_over_masked_tokens_and_pairs(text, tmp_path):
    folder = pretrain([text], tmp_path / "model", steps=20, learning_rate=1e-2, **TINY).folder
    model = BertForPreTraining.from_pretrained(folder)
    rng = np.random.default_rng(0)
    batches = []
    for size, masked in ((2, 0.5), (5, 0.1)):  # unequal, so that a mean of means would be another number
        ids = rng.integers(5, model.config.vocab_size, (size, 9))
        labels = np.where(rng.random(ids.shape) < masked, ids, -100)
        ones = np.ones_like(ids)
        batches.append(Batch(ids, 0 * ids, ones, labels, rng.integers(0, 2, size)))
    scores = evaluate(model, batches)
    assert not model.training
    assert evaluate(model.train(), batches) == scores
    assert model.training
    model.eval()
    assert model.saved is None
    assert all(module.saved is None for module in model.modules())

    outputs = [model(**(vars(batch) | {"labels": None, "next_sentence_label": None})) for batch in batches]
    logits = np.concatenate([out.prediction_logits.reshape(-1, model.config.vocab_size) for out in outputs])
    labels = np.concatenate([batch.labels.reshape(-1) for batch in batches])
    nsp_logits = np.concatenate([out.seq_relationship_logits for out in outputs])
    nsp_labels = np.concatenate([batch.next_sentence_label for batch in batches])
    assert scores.mlm_loss == pytest.approx(float(cross_entropy(logits, labels)[0]), rel=1e-5)
    assert scores.nsp_loss == pytest.approx(float(cross_entropy(nsp_logits, nsp_labels)[0]), rel=1e-5)
    assert scores.perplexity == pytest.approx(math.exp(scores.mlm_loss))
    expected = labels[labels != -100]
    best = np.argsort(-logits[labels != -100], axis=-1)
    assert scores.mlm_accuracy == pytest.approx((best[:, 0] == expected).mean())
    assert scores.mlm_top5_accuracy == pytest.approx((best[:, :5] == expected[:, None]).any(-1).mean())
    assert scores.nsp_accuracy == pytest.approx((nsp_logits.argmax(-1) == nsp_labels).mean())
    assert scores.loss == scores.mlm_loss + scores.nsp_loss


def test_metrics_are_lines_of_json(text, tmp_path):
    result = pretrain([text], tmp_path / "run", steps=25, save_every=12, eval_every=20, **(TINY | {"layers": 2}))
    lines = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    training = [line for line in lines if "loss" in line]
    assert [line["step"] for line in training] == [1, 10, 12, 20, 24, 25]
    parts = {"embeddings", "layer.0", "layer.1", "pooler", "cls"}
    for line in training:
        assert line["loss"] == pytest.approx(line["mlm_loss"] + line["nsp_loss"])
        assert set(line["gradient_norms"]) == parts
        whole = math.sqrt(sum(norm**2 for norm in line["gradient_norms"].values()))
        assert line["gradient_norm"] == pytest.approx(whole, rel=1e-5)  # before clipping
        assert 0 <= line["mlm_accuracy"] <= 1
        assert 0 < line["data_seconds"] < line["seconds"]
    assert training[-1]["tokens"] > training[0]["tokens"] > 0
    assert max(line["learning_rate"] for line in training) <= 2e-3
    held_out = [line for line in lines if "held_out" in line]
    assert [line["step"] for line in held_out] == [20, 25]
    assert held_out[-1]["held_out"]["mlm_loss"] == result.held_out.mlm_loss
    for line in held_out:
        assert line["frequencies"] == vars(result.frequencies)
        assert line["bigrams"] == vars(result.bigrams)


# --- the folder --------------------------------------------------------------------------------------------------


def test_nothing_of_the_users_is_overwritten(text, tmp_path):
    folder = tmp_path / "mine"
    folder.mkdir()
    (folder / ".thesis").write_text("mine")
    for resume in (False, True):
        with pytest.raises(InputError, match="mine is not empty; give another folder"):
            pretrain([text], folder, steps=1, resume=resume, **TINY)
    with pytest.raises(InputError, match=r"\.thesis cannot be written"):
        pretrain([text], folder / ".thesis", steps=1, **TINY)
    assert [path.name for path in folder.iterdir()] == [".thesis"]
    assert (folder / ".thesis").read_text() == "mine"


def test_an_empty_folder_will_do(text, tmp_path):
    pretrain([text], tmp_path, steps=1, **TINY)
    assert {path.name for path in tmp_path.iterdir()} == MODEL_FILES | RUN_FILES


def test_a_run_is_not_begun_anew_in_its_folder(text, tmp_path):
    pretrain([text], tmp_path / "run", steps=1, **TINY)
    before = weights(tmp_path / "run")
    with pytest.raises(InputError, match="run holds a run; --resume goes on with it"):
        pretrain([text], tmp_path / "run", steps=2, **TINY)
    assert weights(tmp_path / "run") == before


def test_the_folder_is_checked_before_anything_is_read(tmp_path):
    (tmp_path / "mine.txt").touch()
    with pytest.raises(InputError, match="is not empty"):
        pretrain([tmp_path / "no such text"], tmp_path, **TINY)


def test_a_folder_that_cannot_be_written_is_refused(text, tmp_path, monkeypatch):
    def refuse(**kwargs):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(run, "TemporaryFile", refuse)
    with pytest.raises(InputError, match="cannot be written: Permission denied"):
        pretrain([text], tmp_path / "model", **TINY)


def test_a_failure_before_training_leaves_no_folder_behind(tmp_path):
    (tmp_path / "short.txt").write_text("Too little text.\n\nIt is.")
    with pytest.raises(InputError, match="pretraining needs at least"):
        pretrain([tmp_path / "short.txt"], tmp_path / "model", **TINY)
    assert not (tmp_path / "model").exists()


# --- what can go wrong -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ({"steps": 0}, "steps is 0; it must be at least 1"),
        ({"seed": -1}, "seed is -1; it must be at least 0"),
        ({"length": 5}, "length is 5; it must be at least 8"),
        ({"positions": 20}, "positions is 20; it must be at least the length, 24"),
        ({"batch_size": 0}, "batch_size is 0; it must be at least 1"),
        ({"accumulate": 9}, "batch_size is 8; 1 process with accumulate 9 need at least 9"),
        ({"heads": 3}, "num_attention_heads, 3, does not divide"),
        ({"dropout": 1.5}, "hidden_dropout_prob is 1.5"),
        ({"warmup": 1.5}, "warmup is 1.5; it is a part of the steps"),
        ({"hidden_size": 0}, "hidden_size is 0; it must be at least 1"),
        ({"vocab_size": 10**20}, "vocab_size is 1000.*; it can be up to 1,000,000"),
        ({"learning_rate": -1.0}, "learning_rate is -1.0; it must be above 0"),
        ({"learning_rate": math.inf}, "learning_rate is inf; it must be above 0"),
        ({"learning_rate": math.nan}, "learning_rate is nan; it must be above 0"),
        ({"weight_decay": math.inf}, "weight_decay is inf; it must be at least 0"),
        ({"warmup": math.nan}, "warmup is nan; it must be at least 0"),
        ({"dropout": math.nan}, "hidden_dropout_prob is nan"),
        ({"max_grad_norm": 0.0}, "max_grad_norm is 0.0; it must be above 0"),
        ({"weight_decay": -0.5}, "weight_decay is -0.5; it must be at least 0"),
        ({"vocab_size": 10}, "vocab_size is 10; the special tokens"),
        ({"save_every": 0}, "save_every is 0; it must be at least 1"),
        ({"eval_every": -2}, "eval_every is -2; it must be at least 1"),
        ({"keep": 0}, "keep is 0; it must be at least 1"),
        ({"steps": 10**400}, "steps is 1000.*; it can be up to 2,147,483,647"),
        ({"steps": 10**5000}, "steps is a int that cannot be shown; it can be up to"),
        ({"seed": 10**5000}, "seed is a int that cannot be shown; it can be up to 340,282"),
        ({"batch_size": -(10**5000)}, "batch_size is a int that cannot be shown; it must be at least 1"),
        ({"hidden_size": 10**9}, r"no memory for a .*hidden_size 1000000000"),
    ],
)
def test_an_option_outside_its_limits_is_refused(option, message, text, tmp_path):
    with pytest.raises(InputError, match=message):
        pretrain([text], tmp_path / "model", **(TINY | option))
    assert not (tmp_path / "model").exists()


INTEGERS = (
    *("steps", "seed", "vocab_size", "hidden_size", "layers", "heads", "length", "positions", "batch_size"),
    *("accumulate", "save_every", "eval_every", "keep"),
)
REALS = ("learning_rate", "warmup", "weight_decay", "max_grad_norm", "dropout")
BOOLS = ("bias_correction", "whole_words", "resume", "gradient_checkpointing", "progress")
NO_NUMBERS = ("3", True, [3], 3j, np.array([3]), np.True_)


@pytest.mark.parametrize(
    ("name", "values", "wanted"),
    [
        *((name, (3.5, 4.0, np.float32(4), *NO_NUMBERS), "an integer") for name in INTEGERS),
        *((name, NO_NUMBERS, "a number") for name in REALS),
        *((name, (0, 1, "no", np.int64(1), []), "True or False") for name in BOOLS),
    ],
)
@pytest.mark.parametrize("resume", [False, True])
def test_an_option_of_another_type_is_refused(name, values, wanted, resume, text, tmp_path, finished):
    """Before anything is written; where a run is resumed, too."""
    folder = finished if resume else tmp_path / "model"
    before = digests(finished)
    for value in values:
        options = {"progress": False, "resume": resume, name: value}
        with pytest.raises(InputError, match=rf"^{name} is .*; it must be {wanted}$"):
            pretrain([text], folder, **options)
    assert not (tmp_path / "model").exists()
    assert digests(finished) == before


@pytest.fixture(scope="module")
def finished(text, tmp_path_factory):
    """A run of three steps."""
    folder = tmp_path_factory.mktemp("finished") / "run"
    pretrain([text], folder, steps=3, learning_rate=0.5**9, **TINY)
    return folder


def test_numpys_numbers_are_numbers(finished, text, tmp_path):
    numbers = {name: value for name, value in TINY.items() if name != "progress"} | {"steps": 3}
    numpys = {name: np.int64(value) for name, value in numbers.items()}
    more = {"learning_rate": np.float32(0.5**9), "weight_decay": np.float64(0.01), "whole_words": np.False_}
    for folder, resume in ((tmp_path / "run", False), (finished, True)):
        pretrain(
            [text],
            folder,
            resume=resume,
            save_every=np.int32(2),
            keep=np.int8(2),
            progress=np.False_,
            **numpys,
            **more,
        )
    settings = json.loads((tmp_path / "run" / "run.json").read_text())["settings"]
    assert settings == json.loads((finished / "run.json").read_text())["settings"]
    assert weights(tmp_path / "run") == weights(finished)


def test_one_text_needs_no_list(finished, text, tmp_path):
    options = TINY | {"steps": 3, "learning_rate": 0.5**9}
    for name, texts in (("path", text), ("string", str(text)), ("generator", (path for path in [text]))):
        assert weights(pretrain(texts, tmp_path / name, **options).folder) == weights(finished)


def test_an_option_that_does_not_exist(text, tmp_path):
    with pytest.raises(TypeError, match="no option hidden_dim"):
        pretrain([text], tmp_path / "model", hidden_dim=3)


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_a_loss_that_is_not_finite_stops_and_names_what_went_first(text, tmp_path):
    with pytest.raises(
        InputError, match=r"^step \d+: the loss is .*a learning rate below 1e\+30 may help"
    ) as caught:
        pretrain([text], tmp_path / "model", steps=20, save_every=1, learning_rate=1e30, **TINY)
    message = str(caught.value)
    assert "first to go was" in message
    assert "\n" not in message
    # The last good state stays, and is as good as the message says.
    assert "the last good state is" in message
    model = BertForPreTraining.from_pretrained(message.rsplit("the last good state is ", 1)[1])
    assert all(np.isfinite(array).all() for array in model.state_dict().values())


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("what", ["data", "grad"])
def test_the_parameter_that_went_first_is_named(what, text, tmp_path, monkeypatch):
    """A NaN in a weight spreads forward to the loss, one in a gradient backward to all layers below."""
    name = "bert.encoder.layer.1.output.dense.weight"
    backward = BertForPreTraining.backward

    def spoiled(self, *arguments):
        result = backward(self, *arguments)
        parameters = dict(self.named_parameters())
        if what == "data":
            parameters[name].data[2, 3] = np.nan
        else:
            for spread in (name, "bert.encoder.layer.0.output.dense.weight"):
                parameters[spread].grad[2, 3] = np.inf
        return result

    monkeypatch.setattr(BertForPreTraining, "backward", spoiled)
    prefix = "" if what == "data" else "the gradient of "
    with pytest.raises(InputError, match=f"first to go was {prefix}{name};.*no checkpoint was due yet"):
        pretrain([text], tmp_path / "model", steps=30, **(TINY | {"layers": 3}))


def test_a_parameter_that_no_gradient_reaches_is_named(text, tmp_path, monkeypatch):
    backward = BertForPreTraining.backward

    def forgetful(self, *arguments):
        result = backward(self, *arguments)
        self.bert.pooler.dense.bias.grad = None
        return result

    monkeypatch.setattr(BertForPreTraining, "backward", forgetful)
    with pytest.raises(InputError, match=r"step 1: no gradient reached bert\.pooler\.dense\.bias;"):
        pretrain([text], tmp_path / "model", steps=3, **TINY)


# --- what is shown -----------------------------------------------------------------------------------------------


def test_without_a_terminal_there_are_lines_and_no_bar(text, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(progress, "SECONDS_BETWEEN_LINES", 0.0)
    result = pretrain([text], tmp_path / "model", steps=4, **(TINY | {"progress": True}))
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "\r" not in captured.err
    for part in (str(text), "60 documents", "720 sentences", "MB", "step 1 of 4: loss", "step 4 of 4", "tokens/s"):
        assert part in captured.err, part
    assert (
        f"First loss: {result.first_loss:.4f}; expected is about ln v + ln 2 = {result.uniform_loss:.4f}"
        in captured.err
    )
    assert f"step 4, held out: loss {result.held_out.loss:.3f}" in captured.err


def test_on_a_terminal_there_is_a_bar(text, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    monkeypatch.setattr(tqdm, "__init__", partialmethod(tqdm.__init__, mininterval=0))
    pretrain([text], tmp_path / "model", steps=4, **(TINY | {"progress": True}))
    error = capsys.readouterr().err
    assert "4/4" in error
    for part in ("step/s", "loss ", "MLM ", "NSP ", "tokens/s", "<00:0"):
        assert part in error, part


def test_quiet_is_quiet(text, tmp_path, capsys):
    pretrain([text], tmp_path / "model", steps=2, **TINY)
    assert capsys.readouterr() == ("", "")


# --- what it takes -----------------------------------------------------------------------------------------------


def test_memory_does_not_grow_with_the_length_of_a_run(text, tmp_path, monkeypatch):
    """Over 60 steps after the first epoch, with checkpoints and evaluations: one batch is 6 KB."""
    update, used = Trainer._update, {}

    def watched(self, *arguments, **options):
        if self.state.step == 0:
            tracemalloc.start()
        values = update(self, *arguments, **options)
        if self.state.step in (50, 110):
            gc.collect()
            used[self.state.step] = tracemalloc.get_traced_memory()[0]
        return values

    monkeypatch.setattr(Trainer, "_update", watched)
    try:
        pretrain([text], tmp_path / "run", steps=110, save_every=20, eval_every=25, **TINY)
    finally:
        tracemalloc.stop()
    assert 0 < used[110] < used[50] + 60 * 1_000


def test_batches_are_made_in_a_twentieth_of_the_time(text, tmp_path, monkeypatch):
    """At the default sizes, the first pairs included; of the processor's time, in the median of three runs."""
    monkeypatch.setattr(trainer, "time", SimpleNamespace(perf_counter=time.process_time))
    shares = [pretrain([text], tmp_path / run, steps=20, progress=False).data_share for run in ("a", "b", "c")]
    assert 0 < sorted(shares)[1] < 0.05
