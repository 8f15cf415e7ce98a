"""export_optimizer: PyTorch goes on with a run where numbert left it."""

import importlib.util
import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from runs import digests
from safetensors.numpy import load_file
from tokenizers import Tokenizer

import numbert
from numbert import BertForPreTraining, InputError
from numbert.pretrain.entry import pretrain
from numbert.pretrain.export import export_optimizer
from numbert.pretrain.run import PretrainRun
from numbert.text.corpus import Corpus
from numbert.text.documents import Documents
from numbert.train.metrics import read_metrics
from numbert.train.schedule import warmup_then_linear_decay

STEPS, HALF, WARMUP, LR = 30, 15, 6, 5e-3
SETTINGS = {
    "vocab_size": 120,
    "hidden_size": 16,
    "layers": 2,
    "length": 24,
    "batch_size": 8,
    "warmup": WARMUP / STEPS,
    "learning_rate": LR,
    "weight_decay": 0.1,
    "max_grad_norm": 1.5,  # below some of the gradients' norms and above others
}


def train(folder, **settings):
    """30 steps, with a checkpoint after each and every loss in the metrics."""
    text = folder.with_suffix(".txt")
    rng = np.random.default_rng(0)
    kinds = [kind.split() for kind in ("red blue green brown", "cat dog bird fish", "one two three four")]
    documents = (
        "\n".join(" ".join(rng.choice(kinds[i % 3], 5)).capitalize() + "." for _ in range(8)) for i in range(30)
    )
    text.write_text("\n\n".join(documents))
    every_step = {"save_every": 1, "eval_every": 1, "keep": STEPS}
    return pretrain([text], folder, STEPS, progress=False, **every_step, **(SETTINGS | settings)).folder


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return train(tmp_path_factory.mktemp("runs") / "run")


@pytest.fixture(scope="module")
def checkpoint(run):
    return run / "checkpoints" / f"step-{HALF}"


@pytest.fixture(scope="module")
def exported(checkpoint, tmp_path_factory):
    return export_optimizer(checkpoint, tmp_path_factory.mktemp("exported") / "new" / "folder")


# --- what is in the folder ---------------------------------------------------------------------------------------


def test_the_folder_is_the_checkpoints_model_and_what_goes_with_it(exported, checkpoint, run):
    model = {"config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json", "vocab.txt"}
    text = {"train.ids", "train.sentences", "train.documents"}
    rest = {"optimizer.safetensors", "training.json", "continue.py"}
    assert {path.name for path in exported.iterdir()} == model | text | rest
    content, of_model, of_text = digests(exported), digests(checkpoint), digests(run / "data")
    assert {name: content[name] for name in model} == {name: of_model[name] for name in model}
    assert {name: content[name] for name in text} == {name: of_text[name] for name in text}
    assert BertForPreTraining.from_pretrained(exported).config.vocab_size <= 120
    tokenizer = Tokenizer.from_file(str(exported / "tokenizer.json"))
    assert len(Documents.open(exported, "train", tokenizer.get_vocab_size())) == 28


def test_the_moments_are_the_checkpoints_under_the_names_of_the_parameters(exported, checkpoint):
    ours, theirs = load_file(checkpoint / "optimizer.safetensors"), load_file(exported / "optimizer.safetensors")
    shapes = {name: p.shape for name, p in BertForPreTraining.from_pretrained(checkpoint).named_parameters()}
    assert set(theirs) == {f"{moment}.{name}" for name in shapes for moment in ("exp_avg", "exp_avg_sq")}
    for name, shape in shapes.items():
        for moment, letter in (("exp_avg", "m"), ("exp_avg_sq", "v")):
            array = theirs[f"{moment}.{name}"]
            assert array.shape == shape
            assert array.dtype == np.float32
            np.testing.assert_array_equal(array, ours[f"{letter}.{name}"])
    assert not any("decoder.weight" in name for name in theirs), "the tied weight is there once"


def test_the_plan_says_all_that_the_optimizer_and_the_schedule_need(exported):
    plan = json.loads((exported / "training.json").read_text())
    assert plan["schedule"] == {
        "kind": "linear warm-up to the peak, then linear decay to 0",
        "warmup_steps": WARMUP,
        "total_steps": STEPS,
        "steps_done": HALF,
        "peak_learning_rate": LR,
    }
    assert plan["bias_correction"] is True
    assert plan["max_grad_norm"] == 1.5
    decayed, rest = plan["param_groups"]
    assert (decayed["weight_decay"], rest["weight_decay"]) == (0.1, 0.0)
    for group in (decayed, rest):
        assert (group["betas"], group["eps"]) == ([0.9, 0.98], 1e-8)
        assert group["initial_lr"] == LR
        assert group["lr"] == pytest.approx(LR * (STEPS - HALF) / (STEPS - WARMUP))
    names = [name for name, _ in BertForPreTraining.from_pretrained(exported).named_parameters()]
    spared = {name for name in names if name.endswith("bias") or "LayerNorm" in name}
    assert set(rest["params"]) == spared
    assert sorted(decayed["params"] + rest["params"]) == sorted(names)


def test_the_plan_is_made_of_the_runs_settings(tmp_path):
    run = train(tmp_path / "run", bias_correction=False, accumulate=2, whole_words=True, near=2, seed=3)
    plan = json.loads((export_optimizer(run) / "training.json").read_text())
    assert plan["bias_correction"] is False
    position = plan["data"].pop("position")
    assert plan["data"] == {
        "seed": 3,
        "length": 24,
        "batch_size": 8,
        "accumulate": 2,
        "max_predictions": 4,
        "whole_words": True,
        "near": 2,
    }
    assert position["epoch"] + position["part"] + position["pair"] > 0
    assert [group["lr"] for group in plan["param_groups"]] == [LR * warmup_then_linear_decay(30, 30, 6)] * 2


def test_the_script_is_the_one_in_the_package(exported):
    source = Path(numbert.__file__).parent / "pretrain" / "continue_in_torch.py"
    assert (exported / "continue.py").read_text() == source.read_text()


# --- where it is found and where it goes -------------------------------------------------------------------------


def steps_done(folder):
    return json.loads((folder / "training.json").read_text())["schedule"]["steps_done"]


def test_a_run_stands_for_its_latest_checkpoint_and_the_folder_is_beside_it(tmp_path, monkeypatch):
    run = train(tmp_path / "run")
    monkeypatch.chdir(run)
    folder = export_optimizer(".")
    assert folder == tmp_path / "run-torch"
    assert steps_done(folder) == STEPS
    with pytest.raises(InputError, match="run-torch is not empty"):
        export_optimizer(run / "checkpoints" / "step-7")
    empty = tmp_path / "empty"
    empty.mkdir()
    assert steps_done(export_optimizer("checkpoints/step-7", empty)) == 7


def refused(*given):
    """What an InputError says: one line."""
    with pytest.raises(InputError) as error:
        export_optimizer(*given)
    assert "\n" not in str(error.value)
    return str(error.value)


def test_what_cannot_be_exported_is_named_and_nothing_is_made(run, tmp_path):
    out = tmp_path / "out"
    assert "there is no run.json" in refused(tmp_path, out)
    assert "there is no run.json" in refused(tmp_path / "missing", out)
    assert "step-99 does not exist" in refused(run / "checkpoints" / "step-99", out)
    new = PretrainRun.begin_with(tmp_path / "new", PretrainRun.read(run).settings, Corpus(()), None).folder
    assert "no checkpoint yet" in refused(new, out)

    broken = new / "checkpoints" / "step-4"
    broken.mkdir(parents=True)
    assert "train.ids" in refused(new, out)
    (new / "data").symlink_to(run / "data")
    assert "config.json" in refused(new, out)
    for path in (run / "checkpoints" / "step-4").iterdir():
        (broken / path.name).write_bytes(path.read_bytes())
    (broken / "optimizer.safetensors").write_bytes(b"half of it")
    assert "not a whole checkpoint" in refused(new, out)
    assert not out.exists()


def test_a_folder_that_holds_something_stays_as_it_is(run, tmp_path):
    (tmp_path / "file").write_text("mine")
    assert "is not empty" in refused(run, tmp_path)
    assert "cannot be made" in refused(run, tmp_path / "file")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
    assert (tmp_path / "file").read_text() == "mine"


# --- in PyTorch --------------------------------------------------------------------------------------------------


def needs_torch():
    for name in ("torch", "transformers"):
        pytest.importorskip(name, reason=f"needs {name}")


def continued(folder, *options):
    """Runs continue.py -> the losses that it printed, step by step."""
    command = [sys.executable, "-W", "error::UserWarning", str(folder / "continue.py"), "--device", "cpu"]
    done = subprocess.run([*command, *options], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return {int(step): float(loss) for step, loss in re.findall(r"^step (\d+)  loss (\S+)", done.stdout, re.M)}


def script_in_this_process(folder):
    spec = importlib.util.spec_from_file_location("continue_in_torch", folder / "continue.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def numberts_losses(run):
    return {line["step"]: line["loss"] for line in read_metrics(run / "metrics.jsonl") if "loss" in line}


def assert_the_same_losses(theirs, ours, first):
    """Both are printed or stored to 7 places and more; a float32 has as many."""
    assert list(theirs) == list(range(first, STEPS + 1))
    differences = {step: abs(loss / ours[step] - 1) for step, loss in theirs.items()}
    assert max(differences.values()) < 2e-6, differences


def assert_the_same_weights(folder, run):
    theirs, ours = (dict(BertForPreTraining.from_pretrained(at).named_parameters()) for at in (folder, run))
    for name, parameter in ours.items():
        # The gradient of a key's bias is 0 but for rounding, and Adam makes steps of full length of that.
        limit = 2 * LR * (STEPS - HALF) if name.endswith("key.bias") else 1e-6
        np.testing.assert_allclose(theirs[name].data, parameter.data, rtol=0, atol=limit, err_msg=name)


@pytest.mark.live
@pytest.mark.parametrize(
    "settings", [{}, {"bias_correction": False}, {"accumulate": 3, "whole_words": True, "near": 1}], ids=str
)
def test_pytorch_has_the_losses_that_numbert_had_and_comes_to_the_same_weights(tmp_path, settings):
    needs_torch()
    run = train(tmp_path / "run", **settings)
    lines = read_metrics(run / "metrics.jsonl")
    norms = [line["gradient_norm"] for line in lines if "loss" in line and line["step"] > HALF]
    assert min(norms) < SETTINGS["max_grad_norm"] < max(norms), "the run is to clip in some steps only"

    folder = export_optimizer(run / "checkpoints" / f"step-{HALF}")
    assert_the_same_losses(continued(folder), numberts_losses(run), HALF + 1)
    assert_the_same_weights(folder / f"step-{STEPS}", run)


@pytest.mark.live
def test_the_script_goes_on_where_it_was_stopped(run, checkpoint, tmp_path, monkeypatch):
    needs_torch()
    folder = export_optimizer(checkpoint, tmp_path / "run-torch")
    script = script_in_this_process(folder)
    save = script.save

    def save_and_stop_at_20(model, optimizer, plan):
        assert model.training, "so that there is dropout where the run has it"
        save(model, optimizer, plan)
        if plan["schedule"]["steps_done"] == 20:
            raise KeyboardInterrupt

    monkeypatch.setattr(script, "save", save_and_stop_at_20)
    with pytest.raises(KeyboardInterrupt):
        script.train(folder, "cpu", save_every=2)
    assert [path.name for path in folder.glob("step-*")] == ["step-20"]
    assert steps_done(folder / "step-20") == 20
    assert_the_same_losses(continued(folder, "--save-every", "4"), numberts_losses(run), 21)
    assert [path.name for path in folder.glob("step-*")] == ["step-30"]
    assert_the_same_weights(folder / "step-30", run)
