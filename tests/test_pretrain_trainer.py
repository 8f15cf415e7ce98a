"""pretrain, from text files to a folder: it learns, repeats, overwrites nothing and says what is wrong."""

import json
import math
import sys

import numpy as np
import pytest

from numbert import BertForPreTraining, InputError
from numbert.checkpoint.tokenizer import load_tokenizer
from numbert.nn.functional import cross_entropy
from numbert.pretrain import progress, trainer
from numbert.pretrain.batches import Batch
from numbert.pretrain.evaluation import evaluate, frequency_loss
from numbert.pretrain.trainer import pretrain

TINY = {
    "vocab_size": 200,
    "hidden_size": 16,
    "layers": 1,
    "heads": 2,
    "length": 24,
    "batch_size": 8,
    "progress": False,
}
FILES = {"config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json", "vocab.txt"}


WORDS = (
    ("cat dog bird fish horse mouse", "sun rain wind snow cloud moon", "red blue green white brown pink"),
    ("bread cheese apple milk soup rice", "door wall roof floor stair room"),
)


@pytest.fixture(scope="module")
def text(tmp_path_factory):
    """Documents of words of one kind: who knows a word of a document knows the kind of the others."""
    rng = np.random.default_rng(0)
    kinds = [kind.split() for kinds in WORDS for kind in kinds]
    documents = []
    for _ in range(60):
        kind = kinds[rng.integers(len(kinds))]
        documents.append("\n".join(" ".join(rng.choice(kind, 7)).capitalize() + "." for _ in range(12)))
    path = tmp_path_factory.mktemp("text") / "kinds.txt"
    path.write_text("\n\n".join(documents))
    return path


def test_it_learns_from_text_what_frequencies_do_not_tell(text, tmp_path):
    result = pretrain([text], tmp_path / "model", steps=400, learning_rate=3e-3, **(TINY | {"hidden_size": 32}))
    assert result.first_loss == pytest.approx(result.uniform_loss, abs=0.3)
    assert result.final_loss < result.first_loss - 1
    assert result.held_out.loss < result.frequency_loss - 1
    assert result.held_out.mlm_accuracy > 0.15
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


def test_the_folder_is_a_model_with_its_tokenizer(text, tmp_path):
    pretrain([text], tmp_path / "new" / "model", steps=2, **TINY)
    folder = tmp_path / "new" / "model"
    assert {path.name for path in folder.iterdir()} == FILES
    model, tokenizer = BertForPreTraining.from_pretrained(folder), load_tokenizer(folder)
    assert model.config.vocab_size == tokenizer.get_vocab_size() <= 200
    encoding = tokenizer.encode("Cat sun red bread door.")
    assert tokenizer.decode(encoding.ids) == "Cat sun red bread door."
    out = model(np.array([encoding.ids]), token_type_ids=np.array([encoding.type_ids]))
    assert np.isfinite(out.prediction_logits).all()
    assert json.loads((folder / "tokenizer_config.json").read_text())["model_max_length"] == 24


def weights(folder):
    return (folder / "model.safetensors").read_bytes()


def test_one_seed_gives_one_model_bit_for_bit(text, tmp_path):
    first, again, other = (
        pretrain([text], tmp_path / name, steps=5, seed=seed, dropout=0.1, **TINY)
        for name, seed in (("a", 3), ("b", 3), ("c", 4))
    )
    assert weights(first.folder) == weights(again.folder)
    assert (first.first_loss, first.held_out, first.fills) == (again.first_loss, again.held_out, again.fills)
    assert weights(first.folder) != weights(other.folder)


# --- what is measured --------------------------------------------------------------------------------------------


def test_the_held_out_scores_are_means_over_words_and_pairs(text, tmp_path):
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
    assert model.saved is None
    assert all(module.saved is None for module in model.modules())

    outputs = [model(**(vars(batch) | {"labels": None, "next_sentence_label": None})) for batch in batches]
    logits = np.concatenate([out.prediction_logits.reshape(-1, model.config.vocab_size) for out in outputs])
    labels = np.concatenate([batch.labels.reshape(-1) for batch in batches])
    nsp_logits = np.concatenate([out.seq_relationship_logits for out in outputs])
    nsp_labels = np.concatenate([batch.next_sentence_label for batch in batches])
    assert scores.mlm_loss == pytest.approx(float(cross_entropy(logits, labels)[0]), rel=1e-5)
    assert scores.nsp_loss == pytest.approx(float(cross_entropy(nsp_logits, nsp_labels)[0]), rel=1e-5)
    right = (logits.argmax(-1) == labels)[labels != -100]
    assert scores.mlm_accuracy == pytest.approx(right.mean())
    assert scores.nsp_accuracy == pytest.approx((nsp_logits.argmax(-1) == nsp_labels).mean())
    assert scores.loss == scores.mlm_loss + scores.nsp_loss


def test_the_baseline_is_the_cross_entropy_of_add_one_frequencies():
    labels = np.array([[-100, 7, 8], [7, -100, 9]])
    batch = Batch(labels, labels, labels, labels, np.zeros(2, int))
    train_ids = np.array([7, 7, 7, 8])
    # With 10 words: 7 has 4 of 14, 8 has 2, and 9, which was never seen, has 1.
    expected = -(2 * math.log(4 / 14) + math.log(2 / 14) + math.log(1 / 14)) / 4
    assert frequency_loss(train_ids, 10, [batch]) == pytest.approx(expected + math.log(2), rel=1e-12)


# --- the folder --------------------------------------------------------------------------------------------------


def test_nothing_of_the_users_is_overwritten(text, tmp_path):
    folder = tmp_path / "mine"
    folder.mkdir()
    (folder / "thesis.txt").write_text("mine")
    with pytest.raises(InputError, match="mine is not empty; give another folder"):
        pretrain([text], folder, steps=1, **TINY)
    with pytest.raises(InputError, match=r"thesis\.txt cannot be written"):
        pretrain([text], folder / "thesis.txt", steps=1, **TINY)
    assert [path.name for path in folder.iterdir()] == ["thesis.txt"]
    assert (folder / "thesis.txt").read_text() == "mine"


def test_an_empty_folder_will_do(text, tmp_path):
    pretrain([text], tmp_path, steps=1, **TINY)
    assert {path.name for path in tmp_path.iterdir()} == FILES


def test_the_folder_is_checked_before_anything_is_read(tmp_path):
    (tmp_path / "mine.txt").touch()
    with pytest.raises(InputError, match="is not empty"):
        pretrain([tmp_path / "no such text"], tmp_path, **TINY)


def test_a_folder_that_cannot_be_written_is_refused(text, tmp_path, monkeypatch):
    def refuse(**kwargs):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(trainer.tempfile, "TemporaryFile", refuse)
    with pytest.raises(InputError, match="cannot be written: Permission denied"):
        pretrain([text], tmp_path / "model", **TINY)


def test_a_failure_leaves_no_folder_behind(tmp_path):
    (tmp_path / "short.txt").write_text("Too little text.")
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
        ({"batch_size": 0}, "batch_size is 0; it must be at least 1"),
        ({"heads": 3}, "num_attention_heads, 3, does not divide"),
        ({"dropout": 1.5}, "hidden_dropout_prob is 1.5"),
        ({"learning_rate": -1.0}, "learning_rate is -1.0; it must be above 0"),
        ({"max_grad_norm": 0.0}, "max_grad_norm is 0.0; it must be above 0"),
        ({"weight_decay": -0.5}, "weight_decay is -0.5; it must be at least 0"),
        ({"vocab_size": 10}, "vocab_size is 10; the special tokens"),
    ],
)
def test_an_option_outside_its_limits_is_refused(option, message, text, tmp_path):
    with pytest.raises(InputError, match=message):
        pretrain([text], tmp_path / "model", **(TINY | option))
    assert not (tmp_path / "model").exists()


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_a_loss_that_is_not_finite_stops_and_names_the_step(text, tmp_path):
    with pytest.raises(InputError, match=r"step \d+: the loss is .*a learning rate below 1e\+30 may help"):
        pretrain([text], tmp_path / "model", steps=20, learning_rate=1e30, **TINY)
    assert not (tmp_path / "model").exists()


def test_an_interrupt_saves_the_model_so_far(text, tmp_path, monkeypatch, capsys):
    step, updates = trainer.AdamW.step, []

    def interrupted(self):
        if len(updates) == 3:
            raise KeyboardInterrupt
        updates.append(step(self))

    monkeypatch.setattr(trainer.AdamW, "step", interrupted)
    with pytest.raises(KeyboardInterrupt):
        pretrain([text], tmp_path / "model", steps=9, **(TINY | {"progress": True}))
    assert "Interrupted after 3 steps" in capsys.readouterr().err
    assert {path.name for path in (tmp_path / "model").iterdir()} == FILES
    BertForPreTraining.from_pretrained(tmp_path / "model")


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


def test_on_a_terminal_there_is_a_bar(text, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    pretrain([text], tmp_path / "model", steps=4, **(TINY | {"progress": True}))
    error = capsys.readouterr().err
    assert "4/4" in error
    assert "step/s" in error


def test_quiet_is_quiet(text, tmp_path, capsys):
    pretrain([text], tmp_path / "model", steps=2, **TINY)
    assert capsys.readouterr() == ("", "")
