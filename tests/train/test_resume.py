"""Nothing lost: runs that were killed, interrupted or ran into a full disk go on as if nothing had been."""

import json
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import threading
import time
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from lives import life
from runs import MODEL_FILES, RUN_FILES, TINY, by_kind, digests, fingerprints, weights
from safetensors.numpy import load_file

from numbert import BertForPreTraining, InputError
from numbert.pretrain.entry import pretrain
from numbert.train import trainer
from numbert.train.metrics import read_metrics
from numbert.train.optimizer import AdamW
from numbert.train.run import Run, locked

# Dropout draws from the model's generator; several epochs, and parts of batches, so that every state counts.
PLAN = TINY | {"steps": 18, "seed": 3, "dropout": 0.2, "layers": 2, "accumulate": 2}
OFTEN = {"save_every": 4, "eval_every": 9, "keep": 2}
NUMBERT = (sys.executable, "-m", "numbert")


@pytest.fixture(scope="module")
def text(tmp_path_factory):
    return by_kind(tmp_path_factory.mktemp("text") / "kinds.txt", documents=12)


@pytest.fixture(scope="module")
def result(text, tmp_path_factory):
    """Of an uninterrupted run."""
    return pretrain([text], tmp_path_factory.mktemp("whole") / "run", **PLAN, **OFTEN)


@pytest.fixture(scope="module")
def whole(result):
    """The uninterrupted run; whoever goes on with it finds it finished."""
    return result.folder


@pytest.fixture(scope="module")
def stopped_once(text, tmp_path_factory):
    folder = tmp_path_factory.mktemp("stopped") / "run"
    pretrain_until(folder, text, steps=7)
    return folder


@pytest.fixture
def stopped(stopped_once, tmp_path):
    """A run that ended after 7 steps, with a checkpoint after 4 of them."""
    return shutil.copytree(stopped_once, tmp_path / "run")


def assert_same_run(folder, whole):
    """The same weights, moments, state and metrics to the last bit; only the clock differs."""
    assert weights(folder) == weights(whole)
    last = f"checkpoints/step-{PLAN['steps']}"
    for name in ("model.safetensors", "optimizer.safetensors"):
        assert fingerprints(folder / last / name) == fingerprints(whole / last / name)
    states = [json.loads((run / last / "state.json").read_text()) for run in (folder, whole)]
    assert without_time(states[0]) == without_time(states[1])
    metrics = [[without_time(line) for line in read_metrics(run / "metrics.jsonl")] for run in (folder, whole)]
    assert metrics[0] == metrics[1]
    assert {path.name for path in folder.iterdir()} == MODEL_FILES | RUN_FILES
    assert sorted(path.name for path in (folder / "checkpoints").iterdir()) == sorted(
        path.name for path in (whole / "checkpoints").iterdir()
    )


def without_time(values):
    return {name: value for name, value in values.items() if not name.endswith("seconds")}


# --- kill -9 -----------------------------------------------------------------------------------------------------


def test_killed_at_random_moments_and_resumed_it_is_the_same_run(text, whole, tmp_path):
    """At least 20 kills, from reading the text to the last checkpoint, whatever the speed of the machine."""
    options = PLAN | OFTEN | {"resume": True}
    life(text, tmp_path / "warm up", options)
    duration, code = life(text, tmp_path / "measured", options)
    assert code == 0
    moments = random.Random(0)
    kills = in_training = 0
    while kills < 20 or in_training < 10:
        folder = tmp_path / f"run {kills}"
        reached = [0]
        while True:  # one run, killed again and again; later kills let it live longer
            _, code = life(text, folder, options, moments.uniform(0.05, 0.2 + 0.15 * len(reached)) * duration)
            if code == 0:
                break
            assert code == -signal.SIGKILL
            kills += 1
            if (folder / "run.json").exists():
                reached.append((Run.read(folder).steps() or [0])[-1])
        assert reached == sorted(reached)  # no checkpoint was ever lost
        in_training += sum(step > 0 for step in reached)
        assert_same_run(folder, whole)


@pytest.mark.parametrize(
    ("function", "call"),
    [
        ("numbert.text.prepare.train_tokenizer", 1),
        ("numbert.text.prepare.to_disk", 2),
        ("numbert.train.snapshot.save_file", 2),
        ("numbert.train.run.os.rename", 2),
        ("numbert.train.run.Run.keep", 2),
        ("numbert.train.metrics.Metrics.write", 2),
        ("numbert.train.trainer.Trainer._save_model", 1),
    ],
)
@pytest.mark.parametrize("when", ["before", "after"])
def test_killed_at_each_delicate_moment(function, call, when, text, whole, tmp_path):
    """The second time that the program comes there; the first, where there is but one."""
    folder = tmp_path / "run"
    _, code = life(text, folder, PLAN | OFTEN, moment=(function, call, when))
    assert code == -signal.SIGKILL
    pretrain([text], folder, resume=True, **PLAN, **OFTEN)
    assert_same_run(folder, whole)


# --- Ctrl-C ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_ends_after_the_step_and_resume_goes_on(number, text, whole, tmp_path, monkeypatch, capsys):
    step, updates = AdamW.step, []

    def interrupted(self, *factor):
        updates.append(self)
        if len(updates) == 9:
            os.kill(os.getpid(), number)
        step(self, *factor)

    monkeypatch.setattr(AdamW, "step", interrupted)
    with pytest.raises(KeyboardInterrupt):
        pretrain([text], tmp_path / "run", **(PLAN | {"progress": True}), **OFTEN)
    # The weights were being moved: the step after that is the first that can stop.
    assert "Interrupted after 10 steps" in capsys.readouterr().err
    assert {path.name for path in (tmp_path / "run").iterdir()} == MODEL_FILES | RUN_FILES
    BertForPreTraining.from_pretrained(tmp_path / "run")
    assert Run.read(tmp_path / "run").steps()[-1] == 10

    pretrain(output=tmp_path / "run", resume=True, progress=False, **OFTEN)
    assert len(updates) == PLAN["steps"]
    assert weights(tmp_path / "run") == weights(whole)


def test_a_second_interrupt_is_not_waited_with(text, tmp_path, monkeypatch):
    step, updates = AdamW.step, []

    def stuck(self, *factor):
        updates.append(step(self, *factor))
        if len(updates) == 4:
            os.kill(os.getpid(), signal.SIGINT)
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(30)

    monkeypatch.setattr(AdamW, "step", stuck)
    with pytest.raises(KeyboardInterrupt):
        pretrain([text], tmp_path / "run", **PLAN, **(OFTEN | {"save_every": 3}))
    # A step that was cut in two is not saved, and is nobody's model.
    assert Run.read(tmp_path / "run").steps() == [3]
    assert not (tmp_path / "run" / "model.safetensors").exists()


def test_the_command_exits_with_130(text, tmp_path):
    arguments = [str(text), "--output", str(tmp_path / "run"), "--steps", "100000", "--save-every", "100000"]
    process = subprocess.Popen(
        [*NUMBERT, "pretrain", *arguments, "--hidden-size", "16"],
        stderr=subprocess.PIPE,
        text=True,
    )
    for line in process.stderr:
        if line.startswith("First loss"):
            break
    process.send_signal(signal.SIGINT)
    try:
        _, rest = process.communicate(timeout=120)
    finally:
        process.kill()
    assert process.returncode == 130
    assert "Interrupted after" in rest
    assert "Traceback" not in rest
    assert len(Run.read(tmp_path / "run").steps()) == 1


# --- the machine's failures --------------------------------------------------------------------------------------


def on_a_full_disk(bytes_at_most, *arguments):
    """Runs the command where no file can be larger, for which the system's answer is the same -> its last line."""

    def limited():
        resource.setrlimit(resource.RLIMIT_FSIZE, (bytes_at_most, bytes_at_most))

    command = [*NUMBERT, "pretrain", *map(str, arguments)]
    died = subprocess.run(command, preexec_fn=limited, capture_output=True, text=True, timeout=120)
    assert died.returncode == 2
    assert "Traceback" not in died.stderr
    return died.stderr.splitlines()[-1]


def test_a_full_disk_leaves_the_checkpoints_that_were_there(stopped, whole):
    before = Run.read(stopped).steps()
    intervals = ("--save-every", 4, "--eval-every", 9)
    assert "cannot be written" in on_a_full_disk(60_000, "--output", stopped, "--resume", *intervals)
    assert Run.read(stopped).steps() == before
    assert not list((stopped / "checkpoints").glob(".*"))

    pretrain(output=stopped, resume=True, progress=False, **OFTEN)
    assert weights(stopped) == weights(whole)


@pytest.mark.parametrize("bytes_at_most", [100, 2_000, 4_000])
def test_a_full_disk_at_the_start_is_one_line(bytes_at_most, text, tmp_path):
    """While run.json is written, or the text."""
    line = on_a_full_disk(bytes_at_most, text, "--output", tmp_path / "run", "--steps", 2)
    assert line.startswith("numbert pretrain: ")
    assert not (tmp_path / "run").exists()


def test_a_line_of_metrics_that_was_cut_off_is_made_again(stopped, whole):
    with (stopped / "metrics.jsonl").open("a") as file:
        file.write('{"step": 7, "lo')
    pretrain(output=stopped, resume=True, progress=False, **OFTEN)
    assert_same_run(stopped, whole)


def test_a_folder_that_has_become_read_only_is_one_line(stopped, monkeypatch):
    before = digests(stopped)
    stopped.chmod(0o500)
    (stopped / "checkpoints").chmod(0o500)
    try:
        if os.access(stopped, os.W_OK):  # root may write everywhere: the system's answer is given for it

            def refuse(*arguments, **options):
                raise PermissionError(13, "Permission denied", str(stopped))

            monkeypatch.setattr(trainer, "Metrics", refuse)
        with pytest.raises(PermissionError, match="Permission denied"):
            pretrain(output=stopped, resume=True, progress=False)
    finally:
        for folder in (stopped, stopped / "checkpoints"):
            folder.chmod(0o700)
    assert digests(stopped) == before


def pretrain_until(folder, text, steps):
    """The run of PLAN up to a checkpoint after this many steps."""
    step, updates = AdamW.step, []

    class Stopped(Exception):
        pass

    def stopping(self, *factor):
        if len(updates) == steps:
            raise Stopped
        updates.append(step(self, *factor))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(AdamW, "step", stopping)
        with pytest.raises(Stopped):
            pretrain([text], folder, **PLAN, **OFTEN)


@pytest.mark.parametrize("name", ["optimizer.safetensors", "state.json", "model.safetensors", "config.json"])
@pytest.mark.parametrize("content", [None, b"", b"{}"], ids=["missing", "empty", "without content"])
def test_a_broken_checkpoint_is_one_line_with_its_name(name, content, stopped):
    broken = stopped / "checkpoints" / "step-4" / name
    broken.unlink() if content is None else broken.write_bytes(content)
    with pytest.raises(InputError, match="step-4") as caught:
        pretrain(output=stopped, resume=True, progress=False)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["train.ids", "held-out.documents", "data.json", "tokenizer.json"])
def test_broken_data_is_one_line_with_its_folder(name, stopped):
    path = stopped / "data" / name
    path.write_bytes(path.read_bytes()[:-8])
    with pytest.raises(InputError, match=r"run/data") as caught:
        pretrain(output=stopped, resume=True, progress=False)
    assert "\n" not in str(caught.value)


# --- what is resumed ---------------------------------------------------------------------------------------------


def test_resume_without_a_run_begins_one(text, whole, tmp_path):
    """So that one command, repeated until it succeeds, is enough."""
    pretrain([text], tmp_path / "run", resume=True, **PLAN, **OFTEN)
    assert_same_run(tmp_path / "run", whole)


def test_a_finished_run_resumes_to_the_same_report(result, whole):
    assert pretrain(output=whole, resume=True, progress=False) == result


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"steps": 61}, "steps is 61 and in the run of .*run it is 18; leave it out to resume"),
        ({"seed": 4}, "seed is 4 and in the run of .* it is 3"),
        ({"seed": 10**5000}, "seed is a int that cannot be shown and in the run of .* it is 3"),
        ({"layers": 1}, "layers is 1 and in the run of .* it is 2"),
        ({"learning_rate": 1e-3}, "learning_rate is 0.001 and in the run of .* it is 0.002"),
        ({"whole_words": True}, "whole_words is True and in the run of .* it is False"),
    ],
)
def test_other_settings_are_refused_with_the_difference(change, message, text, whole):
    before = {path: path.stat().st_mtime_ns for path in whole.rglob("*")}
    with pytest.raises(InputError, match=message):
        pretrain([text], whole, resume=True, **(PLAN | change))
    assert {path: path.stat().st_mtime_ns for path in whole.rglob("*")} == before


def test_another_text_is_refused_with_its_name(text, whole, tmp_path):
    other = by_kind(tmp_path / "other.txt", seed=1)
    with pytest.raises(InputError, match=r"other\.txt is not the text of the run of .*kinds\.txt"):
        pretrain([other], whole, resume=True, progress=False)
    with pytest.raises(InputError, match=r"other\.txt is not the text of the run of .*kinds\.txt"):
        pretrain([text, other], whole, resume=True, progress=False)
    copy = tmp_path / "copy.txt"
    shutil.copy(text, copy)
    pretrain([copy], whole, resume=True, progress=False)  # what counts is the text, not its place


def test_files_that_are_held_out_stay_on_their_side(tmp_path):
    one, two, three = (by_kind(tmp_path / f"{i}.txt", seed=i, documents=12) for i in range(3))
    folder = pretrain([one, two], tmp_path / "run", steps=1, held_out=[three], **TINY).folder
    assert [Path(file["path"]).name for file in Run.read(folder).values["held_out"]] == ["2.txt"]
    go_on = partial(pretrain, output=folder, resume=True, progress=False)
    for texts, held_out in (([], []), ([one, two], [three]), ([two, one], three)):
        go_on(texts, held_out=held_out)
    with pytest.raises(InputError, match=r"1\.txt is on the other side: the run of .*run learns from it"):
        go_on([one], held_out=[two, three])
    with pytest.raises(InputError, match=r"2\.txt is on the other side: the run of .*run holds it out"):
        go_on([one, two, three])
    with pytest.raises(InputError, match=r"run is also from .*2\.txt; leave all texts out, or give them all"):
        go_on([one, two])
    shutil.rmtree(Run.read(folder).data)
    shutil.rmtree(Run.read(folder).checkpoints)
    again = go_on()  # from the text, which is prepared again
    assert again.held_out_words == pretrain([one, two], tmp_path / "2", 1, held_out=three, **TINY).held_out_words


def test_a_changed_text_is_told_from_another(tmp_path):
    text = by_kind(tmp_path / "mine.txt")
    pretrain([text], tmp_path / "run", steps=1, **TINY)
    with text.open("a") as file:
        file.write(" More.")
    with pytest.raises(InputError, match=r"mine\.txt has changed since the run of"):
        pretrain([text], tmp_path / "run", resume=True, progress=False)


def test_of_two_that_begin_at_once_one_does(text, tmp_path):
    command = [*NUMBERT, "pretrain", str(text), "--output", str(tmp_path / "run"), "--steps", "3"]
    command += ["--hidden-size", "16"]
    both = [subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) for _ in range(2)]
    outcomes = {process.wait(timeout=120): process.stderr.read() for process in both}
    assert set(outcomes) == {0, 2}
    assert "Traceback" not in outcomes[2]
    assert any(words in outcomes[2] for words in ("another process is training in", "holds a run"))
    assert Run.read(tmp_path / "run").steps() == [1, 2, 3][-2:]


def test_a_model_to_begin_from_must_not_change(text, tmp_path):
    """Until there is a checkpoint; then it is not needed any more."""
    first = pretrain([text], tmp_path / "first", steps=2, **TINY).folder
    options = {"batch_size": 8, "progress": False, "length": 24}
    run = pretrain([text], tmp_path / "run", init=first, steps=4, save_every=2, **options).folder
    finished = weights(run)
    shutil.copytree(run, tmp_path / "begun")
    shutil.rmtree(tmp_path / "begun" / "checkpoints")
    first_weights = first / "model.safetensors"
    content = first_weights.read_bytes()
    first_weights.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    with pytest.raises(InputError, match=r"the model in .*first has changed since the run of .*begun"):
        pretrain(output=tmp_path / "begun", resume=True, progress=False)
    with pytest.raises(InputError, match=r"began from .*first, not from the model in"):
        pretrain(output=run, init=run, resume=True, progress=False)
    shutil.rmtree(first)
    shutil.rmtree(Run.read(run).checkpoint(4))
    assert weights(pretrain(output=run, resume=True, progress=False, save_every=2).folder) == finished


def test_one_process_at_a_time(text, tmp_path):
    pretrain([text], tmp_path / "run", steps=1, **TINY)
    with (
        locked(tmp_path / "run"),
        pytest.raises(InputError, match=r"another process is training in .*run"),
    ):
        pretrain(output=tmp_path / "run", resume=True, progress=False)


# --- what is kept ------------------------------------------------------------------------------------------------


def test_the_latest_checkpoints_and_the_best_are_kept(text, tmp_path):
    # A learning rate that spoils it in time: the best one is not among the last.
    pretrain([text], tmp_path / "run", steps=40, save_every=4, eval_every=2, learning_rate=0.05, **TINY)
    held_out = {
        line["step"]: line["held_out"]["loss"]
        for line in read_metrics(tmp_path / "run" / "metrics.jsonl")
        if "held_out" in line
    }
    best = min(held_out, key=held_out.__getitem__)
    run = Run.read(tmp_path / "run")
    assert run.steps() == sorted({best, 36, 40})
    state = json.loads((run.checkpoint(40) / "state.json").read_text())
    assert (state["best_step"], state["best_value"]) == (best, held_out[best])


def test_a_checkpoint_is_a_model_and_the_moments(text, tmp_path):
    pretrain([text], tmp_path / "run", steps=4, **TINY)
    folder = Run.read(tmp_path / "run").checkpoint(4)
    assert {path.name for path in folder.iterdir()} == MODEL_FILES | {"optimizer.safetensors", "state.json"}
    model = BertForPreTraining.from_pretrained(folder)
    moments = load_file(folder / "optimizer.safetensors")
    assert set(moments) == {f"{kind}.{name}" for kind in "mv" for name, _ in model.named_parameters()}
    for name, parameter in model.named_parameters():
        assert moments[f"m.{name}"].shape == moments[f"v.{name}"].shape == parameter.shape
        assert (moments[f"v.{name}"] >= 0).all()


def test_it_trains_in_a_thread_too(text, tmp_path):
    """Where signals cannot be listened to."""
    thread = threading.Thread(target=pretrain, args=([text], tmp_path / "run"), kwargs=TINY | {"steps": 2})
    thread.start()
    thread.join()
    assert np.isfinite(read_metrics(tmp_path / "run" / "metrics.jsonl")[-1]["held_out"]["loss"])
