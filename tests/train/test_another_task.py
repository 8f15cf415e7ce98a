"""The trainer trains any task: a regression learns, is killed and goes on to the same bits, and knows no BERT.

The task is in helpers/regression.py, and its script runs here in processes of its own.
"""

import json
import signal
import subprocess
import sys

import numpy as np
import pytest
import regression
from places import TESTS
from regression import train
from runs import fingerprints
from safetensors.numpy import load_file, save_file

from numbert import InputError
from numbert.train.metrics import read_metrics
from numbert.train.run import Run

SCRIPT = TESTS / "helpers" / "regression.py"


def in_a_process(folder, *, killed_at=None, **arguments):
    """Trains in a process of its own, which kills itself as the given update begins."""
    code = f"""
import runpy, os, signal, sys
from numbert.train.optimizer import AdamW
step, updates = AdamW.step, []
def counted(self, *factor):
    updates.append(1)
    if len(updates) == {killed_at}:
        os.kill(os.getpid(), signal.SIGKILL)
    step(self, *factor)
AdamW.step = counted
sys.argv = [{str(SCRIPT)!r}, {str(folder)!r}, {json.dumps(arguments)!r}]
runpy.run_path({str(SCRIPT)!r}, run_name="__main__")
"""
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)


def measured(folder):
    lines = read_metrics(folder / "metrics.jsonl")
    return [{name: value for name, value in line.items() if not name.endswith("seconds")} for line in lines]


def test_killed_and_resumed_it_is_the_same_run_and_needs_nothing_of_pretrain(tmp_path):
    assert in_a_process(tmp_path / "whole").returncode == 0
    killed = in_a_process(tmp_path / "run", killed_at=20)
    assert killed.returncode == -signal.SIGKILL
    assert Run.read(tmp_path / "run").steps() == [14, 15]
    assert not (tmp_path / "run" / "weights.safetensors").exists()
    done = in_a_process(tmp_path / "run", resume=True)  # its script asserts what was imported
    assert done.returncode == 0, done.stderr

    for name in ("weights.safetensors", "checkpoints/step-30/optimizer.safetensors"):
        assert fingerprints(tmp_path / "run" / name) == fingerprints(tmp_path / "whole" / name)
    assert measured(tmp_path / "run") == measured(tmp_path / "whole")
    assert [line["step"] for line in measured(tmp_path / "run") if "loss" in line] == [
        *(1, 5, 7, 10, 14, 15, 20, 21, 25, 28, 30)
    ]


def test_it_learns(tmp_path):
    """As well as least squares."""
    task = train(tmp_path / "run", steps=200)
    x, y = np.hstack([task.x, np.ones((80, 1))]), task.y
    solution = np.linalg.lstsq(x[:40], y[:40])[0]
    least_squares = ((x[40:] @ solution - y[40:]) ** 2).sum(axis=1).mean()
    lines = measured(tmp_path / "run")
    held_out = [line["held_out"]["value"] for line in lines if "held_out" in line]
    assert held_out[-1] == pytest.approx(least_squares, rel=0.1)
    assert held_out[0] > 1.5 * least_squares
    assert set(lines[0]) == {
        *("step", "loss", "near", "learning_rate", "gradient_norm", "gradient_norms", "tokens")
    }
    assert set(lines[0]["gradient_norms"]) == {"linear", "scale"}


@pytest.mark.parametrize("accumulate", [2, 3, 8])
def test_a_batch_in_parts_is_the_same_training(accumulate, tmp_path):
    """Three parts of eight rows are unequal."""
    for parts in (1, accumulate):
        train(tmp_path / str(parts), accumulate=parts, dtype=np.float64)
    ours, whole = (load_file(tmp_path / str(parts) / "weights.safetensors") for parts in (accumulate, 1))
    for name, array in whole.items():
        np.testing.assert_allclose(ours[name], array, rtol=1e-10, err_msg=name)
    for line, other in zip(measured(tmp_path / str(accumulate)), measured(tmp_path / "1"), strict=True):
        for name in {"loss", "near", "gradient_norm"} & set(other):
            assert line[name] == pytest.approx(other[name], rel=1e-10)


@pytest.mark.parametrize(("lower_is_better", "best"), [(True, 15), (False, 10)])
def test_the_best_checkpoint_is_the_one_with_the_lowest_or_the_highest_value(lower_is_better, best, tmp_path):
    values = [0.3, 0.9, 0.1, 0.2, 0.9, 0.5]  # at steps 5, 10, ..., 30
    train(tmp_path / "run", values=values, lower_is_better=lower_is_better, save=6, keep=1)
    run = Run.read(tmp_path / "run")
    assert run.steps() == [best, 30]
    state = json.loads((run.checkpoint(30) / "state.json").read_text())
    assert (state["best_step"], state["best_value"]) == (best, 0.1 if lower_is_better else 0.9)


def test_without_an_evaluation_the_latest_checkpoints_stay(tmp_path, monkeypatch):
    monkeypatch.setattr(regression.RegressionTask, "evaluate", lambda self: None)
    train(tmp_path / "run")
    run = Run.read(tmp_path / "run")
    assert run.steps() == [28, 30]
    assert json.loads((run.checkpoint(30) / "state.json").read_text())["best_step"] is None
    assert not any("held_out" in line for line in measured(tmp_path / "run"))


# --- a parameter that is not trainable ---------------------------------------------------------------------------


def test_a_frozen_parameter_stays_and_has_no_moments_and_the_rest_learns(tmp_path):
    train(tmp_path / "run", frozen=True)
    weights = load_file(tmp_path / "run" / "weights.safetensors")
    np.testing.assert_array_equal(weights["scale"], np.full(3, 1.5, np.float32))
    moments = load_file(Run.read(tmp_path / "run").checkpoint(30) / "optimizer.safetensors")
    assert set(moments) == {f"{kind}.linear.{name}" for kind in "mv" for name in ("weight", "bias")}
    lines = measured(tmp_path / "run")
    assert set(lines[0]["gradient_norms"]) == {"linear"}
    assert lines[-1]["held_out"]["value"] < lines[2]["held_out"]["value"]


def test_a_run_with_a_frozen_parameter_resumes_to_the_same_bits(tmp_path):
    assert in_a_process(tmp_path / "whole", frozen=True).returncode == 0
    assert in_a_process(tmp_path / "run", frozen=True, killed_at=20).returncode == -signal.SIGKILL
    assert in_a_process(tmp_path / "run", frozen=True, resume=True).returncode == 0
    for name in ("weights.safetensors", "checkpoints/step-30/optimizer.safetensors"):
        assert fingerprints(tmp_path / "run" / name) == fingerprints(tmp_path / "whole" / name)


def test_a_trainable_parameter_that_no_gradient_reaches_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr(regression.Regression, "backward", lambda self, d_y: self.linear.backward(d_y))
    with pytest.raises(InputError, match=r"step 1: no gradient reached scale;"):
        train(tmp_path / "run")
    train(tmp_path / "frozen", frozen=True, steps=2)


# --- what is shown -----------------------------------------------------------------------------------------------


def test_what_is_shown_is_what_the_task_says(tmp_path, capsys):
    train(tmp_path / "run", steps=5, shown=True)
    out, err = capsys.readouterr()
    assert out == ""
    lines = err.splitlines()
    loss = measured(tmp_path / "run")[0]["loss"]
    assert lines[0] == f"First loss: {loss:.4f}"
    assert lines[1].startswith("step 5 of 5: loss ")
    assert "near 0" in lines[1]
    assert "rows/s" in lines[1]
    assert lines[2].startswith("step 5, held out: ")


# --- the folder's format -----------------------------------------------------------------------------------------


def rewrite(folder, **changes):
    path = folder / "run.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def test_run_json_has_a_format_and_another_one_is_refused_in_one_line(tmp_path):
    train(tmp_path / "run", steps=2)
    values = json.loads((tmp_path / "run" / "run.json").read_text())
    assert values == {"format": 1, "settings": {"steps": 2, "accumulate": 1}}
    for other in (2, 0, "1", None, True):
        rewrite(tmp_path / "run", format=other)
        with pytest.raises(InputError) as caught:
            train(tmp_path / "run", resume=True, steps=2)
        message = str(caught.value)
        assert f"run.json has format {other!r}, of another version of numbert; this one reads format 1" in message
        assert "\n" not in message


def test_a_run_json_without_a_format_is_of_the_first(tmp_path):
    train(tmp_path / "run", steps=2)
    path = tmp_path / "run" / "run.json"
    path.write_text(json.dumps({"settings": json.loads(path.read_text())["settings"]}))
    train(tmp_path / "run", resume=True, steps=2)


@pytest.mark.parametrize("content", ["", "[]", "{}", "3", '{"settings": 3}', '{"settings": [1]}'])
def test_a_broken_run_json_is_one_line(content, tmp_path):
    (tmp_path / "run.json").write_text(content)
    with pytest.raises(InputError, match=r"run\.json is not a run's: ") as caught:
        Run.read(tmp_path)
    assert "\n" not in str(caught.value)


def test_other_settings_are_refused_with_the_difference(tmp_path):
    train(tmp_path / "run", steps=2)
    with pytest.raises(InputError, match=r"steps is 3 and in the run of .*run it is 2; leave it out to resume"):
        train(tmp_path / "run", resume=True, steps=3)


@pytest.mark.parametrize("change", [{"position": {}}, {"position": {"row": "far"}}, {"step": -1}, {"step": "2"}])
def test_a_state_that_is_none_is_one_line(change, tmp_path):
    train(tmp_path / "run", steps=2)
    path = tmp_path / "run" / "checkpoints" / "step-2" / "state.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(InputError, match="step-2 is not a whole checkpoint"):
        train(tmp_path / "run", resume=True, steps=2)


def test_the_moments_of_another_model_are_refused(tmp_path):
    train(tmp_path / "run", steps=2)
    path = tmp_path / "run" / "checkpoints" / "step-2" / "optimizer.safetensors"
    arrays = load_file(path)
    save_file({name: array for name, array in arrays.items() if name != "v.scale"}, path)
    with pytest.raises(InputError, match=r"step-2 is not a whole checkpoint \('v.scale'\)"):
        train(tmp_path / "run", resume=True, steps=2)
    save_file(arrays | {"v.scale": np.ones(7, np.float32)}, path)
    with pytest.raises(InputError, match="the moments of scale have another shape"):
        train(tmp_path / "run", resume=True, steps=2)
