"""publish: what is given to others is the run's model, and the card's numbers are its own."""

import hashlib
import os
import re
import signal
import subprocess
import sys

import numpy as np
import pytest
from runs import MODEL_FILES, TINY, by_kind, weights
from safetensors.numpy import load_file

from numbert import AdamW, BertForPreTraining, InputError
from numbert.pretrain import publish
from numbert.pretrain.entry import pretrain
from numbert.pretrain.publish import publish as publish_run
from numbert.pretrain.run import PretrainRun


@pytest.fixture(scope="module")
def result(tmp_path_factory):
    """Of a run on longer pairs, which began from one on shorter ones."""
    folder = tmp_path_factory.mktemp("runs")
    text = by_kind(folder / "kinds.txt")
    pretrain([text], folder / "short", steps=60, positions=40, **(TINY | {"learning_rate": 5e-3}))
    return pretrain(
        [text], folder / "long", steps=5, init=folder / "short", length=40, batch_size=8, progress=False
    )


@pytest.fixture(scope="module")
def given(result, tmp_path_factory):
    """The run, published."""
    folder = tmp_path_factory.mktemp("published") / "given"
    assert publish_run(result.folder, folder) == folder
    return folder


@pytest.fixture
def without_pictures(monkeypatch):
    """Drawing them takes most of the time."""
    monkeypatch.setattr(publish, "plot_run", lambda folder, output: None)


def test_half_precision_where_it_costs_nothing(result, given):
    assert {path.name for path in given.iterdir()} == MODEL_FILES | {
        *("MODEL_CARD.md", "curves-1.png", "curves-2.png")
    }
    arrays = load_file(given / "model.safetensors")
    assert {array.dtype for array in arrays.values()} == {np.dtype(np.float16)}
    model, halved = (BertForPreTraining.from_pretrained(folder) for folder in (result.folder, given))
    assert halved.dtype == np.float32
    for name, array in model.state_dict().items():
        np.testing.assert_allclose(halved.state_dict()[name], array, rtol=1e-3, atol=1e-7)


def test_single_precision_where_half_would_cost_something(result, tmp_path, monkeypatch, without_pictures):
    monkeypatch.setattr(publish, "COST_AT_MOST", -1.0)
    publish_run(result.folder, tmp_path / "given")
    assert weights(tmp_path / "given") == weights(result.folder)
    assert "Saved as single precision" in (tmp_path / "given" / "MODEL_CARD.md").read_text()


@pytest.mark.skipif(sys.platform != "linux", reason="other systems' file names are Unicode")
def test_the_name_of_a_text_may_be_no_utf_8(tmp_path, without_pictures):
    text = by_kind(tmp_path / "caf\udce9.txt")
    result = pretrain([text], tmp_path / "run", steps=2, **TINY)
    publish_run(result.folder, tmp_path / "given")
    assert "caf\\udce9.txt (SHA-256" in (tmp_path / "given" / "MODEL_CARD.md").read_text()


def test_the_card_has_the_scores_the_text_and_the_commands(result, given):
    card = (given / "MODEL_CARD.md").read_text()
    scores = result.held_out  # of the same pairs: there are fewer than either looks at
    for number in (scores.mlm_accuracy, scores.mlm_top5_accuracy, scores.nsp_accuracy):
        assert f"| {number:.1%} " in card
    assert f"{result.bigrams.mlm_loss:.3f}" in card
    assert f"{result.frequencies.mlm_accuracy:.1%}" in card
    assert f"single precision {scores.loss:.5f}" in card
    text = PretrainRun.read(result.folder).corpus.files[0]
    assert f"kinds.txt (SHA-256 {text.sha256[:16]}...): 0.03 MB, 60 documents, 720 sentences" in card
    commands = re.findall(r"^numbert pretrain .*$", card, re.MULTILINE)
    assert commands == [
        "numbert pretrain kinds.txt --output run-1 --steps 60 --vocab-size 200 --hidden-size 16 --length 24 "
        "--positions 40 --batch-size 8 --learning-rate 0.005",
        "numbert pretrain kinds.txt --output run-2 --init run-1 --steps 5 --length 40 --positions 40 "
        "--batch-size 8",
    ]


def test_the_card_tells_where_a_run_was_stopped_that_another_began_from(tmp_path, monkeypatch, without_pictures):
    step, updates, text = AdamW.step, [], by_kind(tmp_path / "kinds.txt")

    def interrupted(self, *factor):
        updates.append(step(self, *factor))
        if len(updates) == 3:
            os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr(AdamW, "step", interrupted)
    with pytest.raises(KeyboardInterrupt):
        pretrain([text], tmp_path / "first", steps=50, **TINY)
    (done,) = PretrainRun.read(tmp_path / "first").steps()
    second = pretrain([text], tmp_path / "second", steps=3, init=tmp_path / "first", length=24).folder
    publish_run(second, tmp_path / "given")
    card = (tmp_path / "given" / "MODEL_CARD.md").read_text()
    rows = re.findall(r"^\| (.*?) \| \d+ x \d+ \|", card, re.MULTILINE)
    assert rows == [f"{done} of 50", "3"]


def test_the_card_tells_what_was_held_out(tmp_path, without_pictures):
    learned, held_out = (by_kind(tmp_path / f"{name}.txt", seed=seed) for seed, name in enumerate(("a", "b")))
    folder = pretrain([learned], tmp_path / "run", steps=2, held_out=held_out, **TINY).folder
    publish_run(folder, tmp_path / "given")
    card = (tmp_path / "given" / "MODEL_CARD.md").read_text()
    assert re.search(r"^a\.txt \(SHA-256 .*\); held out: b\.txt \(SHA-256 ", card, re.MULTILINE)
    assert "numbert pretrain a.txt --held-out b.txt --output run-1 " in card


def test_many_texts_are_listed_in_a_file_beside_the_card(tmp_path, without_pictures):
    texts = [by_kind(tmp_path / f"{i}.txt", seed=i, documents=4) for i in range(8)]
    first = pretrain(texts[:6], tmp_path / "first", steps=2, held_out=texts[6:], **TINY).folder
    second = pretrain(texts[:6], tmp_path / "second", steps=2, held_out=texts[6:], init=first, length=32).folder
    publish_run(second, tmp_path / "given")
    card = (tmp_path / "given" / "MODEL_CARD.md").read_text()
    assert "6 texts; held out: 2 texts ([texts.txt](texts.txt) lists them with their SHA-256): " in card
    rows = [line.split("\t") for line in (tmp_path / "given" / "texts.txt").read_text().splitlines()]
    for path, (side, checksum, name) in zip(texts, rows, strict=True):
        assert (side, name) == ("learned" if path in texts[:6] else "held_out", path.name)
        assert checksum == hashlib.sha256(path.read_bytes()).hexdigest()

    # The commands find them there.
    (commands,) = re.findall(r"^```sh\n(.*?)```", card, re.MULTILINE | re.DOTALL)
    script = commands.replace("numbert pretrain", "echo")
    done = subprocess.run(["sh", "-c", script], cwd=tmp_path / "given", capture_output=True, text=True, check=True)
    names = "0.txt 1.txt 2.txt 3.txt 4.txt 5.txt --held-out 6.txt 7.txt --output"
    assert [line.partition(" run-")[0] for line in done.stdout.splitlines()] == [names] * 2


def test_other_files_in_the_folder_stay(result, tmp_path, without_pictures):
    (tmp_path / "README.md").write_text("mine")
    publish_run(result.folder, tmp_path)
    assert (tmp_path / "README.md").read_text() == "mine"


def test_what_is_no_finished_run_is_refused(result, tmp_path):
    with pytest.raises(InputError, match=r"holds no run: there is no run\.json"):
        publish_run(tmp_path, tmp_path / "given")
    (tmp_path / "run.json").write_bytes((result.folder / "run.json").read_bytes())
    with pytest.raises(InputError, match="is not finished: it has no checkpoint of step 5"):
        publish_run(tmp_path, tmp_path / "given")
    assert not (tmp_path / "given").exists()
