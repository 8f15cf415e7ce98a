"""Data-parallel training under mpirun: the same losses as one process with the same global batch."""

import importlib.util
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from runs import MODEL_FILES, RUN_FILES, by_kind, weights

from numbert.train.metrics import read_metrics
from numbert.train.processes import Processes

# mpirun of this environment (the package mpich brings one), or else the system's.
MPIRUN = shutil.which("mpirun", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}")

needs_mpi = pytest.mark.skipif(
    MPIRUN is None or importlib.util.find_spec("mpi4py") is None, reason="needs mpi4py and mpirun"
)

OPTIONS = (
    *("--steps", "12", "--vocab-size", "200", "--hidden-size", "16", "--layers", "2", "--length", "24"),
    *("--batch-size", "9", "--save-every", "1", "--eval-every", "6", "--keep", "20"),
)


@pytest.fixture(scope="module")
def text(tmp_path_factory):
    return by_kind(tmp_path_factory.mktemp("text") / "kinds.txt")


def pretrain(processes, *arguments, command=(sys.executable, "-m", "numbert")):
    """The command, run by this many processes."""
    command = [*command, "pretrain", *map(str, arguments)]
    if processes > 1:
        command = [str(MPIRUN), "-n", str(processes), *command]
    allowed = {"OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1", "OMP_NUM_THREADS": "1"}
    return subprocess.run(command, capture_output=True, text=True, timeout=300, env=os.environ | allowed)


def lines(folder, key):
    return [line for line in read_metrics(folder / "metrics.jsonl") if key in line]


@pytest.fixture(scope="module")
def alone(text, tmp_path_factory):
    folder = tmp_path_factory.mktemp("alone") / "run"
    assert pretrain(1, text, "--output", folder, *OPTIONS).returncode == 0
    return folder


@needs_mpi
@pytest.mark.parametrize("accumulate", [1, 2])
def test_two_processes_have_the_losses_of_one(accumulate, text, alone, tmp_path):
    """Nine pairs for two: unequal shares, with different numbers of masked tokens."""
    done = pretrain(2, text, "--output", tmp_path / "run", *OPTIONS, "--accumulate", accumulate)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("held-out loss") == 1  # only one speaks
    assert done.stderr.count("First loss") == 1
    for name in ("loss", "mlm_loss", "nsp_loss", "mlm_accuracy", "gradient_norm", "learning_rate"):
        ours, theirs = ([line[name] for line in lines(folder, "loss")] for folder in (tmp_path / "run", alone))
        assert len(ours) == 12
        np.testing.assert_allclose(ours, theirs, rtol=1e-6, err_msg=name)
    held_out = [lines(folder, "held_out")[-1]["held_out"]["loss"] for folder in (tmp_path / "run", alone)]
    assert held_out[0] == pytest.approx(held_out[1], rel=1e-5)
    assert {path.name for path in (tmp_path / "run").iterdir()} == MODEL_FILES | RUN_FILES


@needs_mpi
def test_with_dropout_two_processes_resume_bit_for_bit(text, tmp_path):
    """Each has its own generator, and the checkpoint both their states."""
    options = ("--dropout", "0.2", "--accumulate", "2", *OPTIONS)
    assert pretrain(2, text, "--output", tmp_path / "whole", *options).returncode == 0
    shutil.copytree(tmp_path / "whole", tmp_path / "run")
    for step in range(6, 13):
        shutil.rmtree(tmp_path / "run" / "checkpoints" / f"step-{step}")
    (tmp_path / "run" / "model.safetensors").unlink()
    assert pretrain(2, "--output", tmp_path / "run", "--resume").returncode == 0
    assert weights(tmp_path / "run") == weights(tmp_path / "whole")
    state = json.loads((tmp_path / "run" / "checkpoints" / "step-12" / "state.json").read_text())
    generators = [json.dumps(generator) for generator in state["generators"]]
    assert len(set(generators)) == 2


@needs_mpi
def test_an_error_of_one_process_ends_all_with_its_line(text, tmp_path):
    done = pretrain(2, tmp_path / "no such text", "--output", tmp_path / "run", *OPTIONS)
    assert done.returncode != 0
    assert "no such text does not exist" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "run").exists()


@needs_mpi
def test_ctrl_c_lets_all_processes_save_first(text, tmp_path):
    """mpirun hands the signal on to each of them."""
    code = """
import os, signal, time
from numbert.train import trainer
from numbert.cli import main
write, update, updates = trainer.write_checkpoint, trainer.Trainer._update, []
def slowly(*arguments):
    time.sleep(2)
    write(*arguments)
def interrupted(self, *arguments, **options):
    updates.append(1)
    if len(updates) == 5:
        os.kill(os.getpid(), signal.SIGINT)
    return update(self, *arguments, **options)
trainer.write_checkpoint, trainer.Trainer._update = slowly, interrupted
main()
"""
    options = [*OPTIONS, "--save-every", 100]
    done = pretrain(2, text, "--output", tmp_path / "run", *options, command=(sys.executable, "-c", code))
    assert done.returncode == 130, done.stderr
    assert "Interrupted after 6 steps" in done.stderr
    assert [path.name for path in (tmp_path / "run" / "checkpoints").iterdir()] == ["step-6"]
    assert {path.name for path in (tmp_path / "run").iterdir()} == MODEL_FILES | RUN_FILES


@needs_mpi
def test_a_run_of_one_process_can_be_too_small_for_two(text, tmp_path):
    small = [*OPTIONS, "--batch-size", 1]
    assert pretrain(1, text, "--output", tmp_path / "run", *small).returncode == 0
    done = pretrain(2, "--output", tmp_path / "run", "--resume")
    assert "batch_size is 1; 2 processes with accumulate 1 need at least 2" in done.stderr


@needs_mpi
def test_a_batch_must_hold_a_pair_for_each_process(text, tmp_path):
    done = pretrain(2, text, "--output", tmp_path / "run", *OPTIONS, "--batch-size", "1")
    assert "batch_size is 1; 2 processes with accumulate 1 need at least 2" in done.stderr


def test_without_mpirun_it_is_one_process(monkeypatch):
    for name in list(os.environ):
        if name.startswith(("OMPI_", "PMI_", "SLURM_")):
            monkeypatch.delenv(name)
    with Processes.found() as processes:
        assert (processes.rank, processes.size, processes.first) == (0, 1, True)
        array = np.arange(3.0)
        processes.add_up([array])
        assert array.tolist() == [0, 1, 2]
        assert processes.gather("state") == ["state"]


def test_mpirun_without_mpi4py_says_what_to_install(text, tmp_path):
    """The variable is what mpirun sets for the processes it starts."""
    code = "import sys; sys.modules['mpi4py'] = None; from numbert.cli import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", code, "pretrain", str(text), "--output", str(tmp_path / "run")],
        capture_output=True,
        text=True,
        env=os.environ | {"PMI_SIZE": "2"},
        timeout=60,
    )
    assert done.returncode == 2
    assert "pip install mpi4py" in done.stderr
    assert not (tmp_path / "run").exists()
