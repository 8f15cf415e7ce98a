"""export_optimizer: a folder with what PyTorch needs to go on with a run where it is.

config.json, model.safetensors, tokenizer.json ...   the model, as transformers' BertForPreTraining reads it
optimizer.safetensors    AdamW's moments: exp_avg.NAME and exp_avg_sq.NAME of each parameter NAME of the model
training.json            the plan: parameter groups, schedule, clipping, and where in the text the run is
train.*                  the text as token ids, a copy: the folder can be moved to another machine as it is
continue.py              a script that goes on with the training (`continue_in_torch`, copied)

PyTorch reads moments and plan without numbert, and numbert writes them without PyTorch: safetensors and JSON, no
pickle. continue.py uses numbert to make the batches and for the learning rate's factor, no more.
"""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.numpy import save_file

from numbert.bert.tasks.pretraining import BertForPreTraining
from numbert.config import BertConfig
from numbert.errors import InputError
from numbert.files.atomic import replacing
from numbert.files.weights import StoredWeights, load_into
from numbert.nn.switches import uninitialized
from numbert.pretrain.run import PretrainRun
from numbert.pretrain.settings import Settings
from numbert.train.optimizer import AdamW
from numbert.train.schedule import Plan
from numbert.train.snapshot import OPTIMIZER, STATE, read_moments
from numbert.train.state import State

PLAN = "training.json"
SCRIPT = "continue.py"
_SCRIPT_SOURCE = Path(__file__).with_name("continue_in_torch.py")  # not imported: that would need PyTorch


def export_optimizer(run: str | Path, output: str | Path | None = None) -> Path:
    """Makes a folder from which PyTorch goes on with a run; the head of this file lists what is in it.

    Args:
        run: the run's folder, for its latest checkpoint, or one of its checkpoints, RUN/checkpoints/step-N.
        output: the folder to make, which is empty or not there yet; by default RUN-torch, beside the run.

    Returns:
        the folder that was made.

    Raises:
        InputError: there is no run or no checkpoint, a file of it is missing or broken, or the output is not
            empty or cannot be made.
        OSError: a file cannot be written, as where the disk is full; the output is left empty.
    """
    the_run, checkpoint = _found(Path(os.path.abspath(run)))
    folder = the_run.folder.with_name(f"{the_run.folder.name}-torch") if output is None else Path(output)
    if folder.is_dir() and any(folder.iterdir()):
        raise InputError(f"{folder} is not empty; give another folder as output")
    text = list(the_run.data.glob("train.*"))
    if not text:
        raise InputError(f"{the_run.data} holds no train.ids; the text is needed to go on")

    with uninitialized():
        model = BertForPreTraining(BertConfig.from_file(checkpoint / "config.json"))
    load_into(model, StoredWeights(checkpoint))  # what is broken is not given on
    plan = the_run.settings.plan()
    optimizer = plan.optimizer(model)
    state = read_moments(checkpoint, model, optimizer)
    with replacing(folder) as new:
        for path in checkpoint.iterdir():
            if path.name not in (OPTIMIZER, STATE):
                shutil.copyfile(path, new / path.name)
        _write_moments(model, optimizer, new / OPTIMIZER)
        described = _described(model, optimizer, the_run.settings, plan, state)
        (new / PLAN).write_text(json.dumps(described, indent=2) + "\n", encoding="utf-8")
        for path in text:
            shutil.copyfile(path, new / path.name)
        shutil.copyfile(_SCRIPT_SOURCE, new / SCRIPT)
    return folder


def _found(folder: Path) -> tuple[PretrainRun, Path]:
    """The run, and the checkpoint of it that is meant.

    Raises:
        InputError: there is no such run, or no checkpoint in it.
    """
    if (folder / STATE).exists():
        return PretrainRun.read(folder.parent.parent), folder
    if folder.parent.name == "checkpoints" and not folder.exists():
        raise InputError(f"{folder} does not exist")
    run = PretrainRun.read(folder)
    steps = run.steps()
    if not steps:
        raise InputError(f"the run of {folder} has no checkpoint yet")
    return run, run.checkpoint(steps[-1])


def _write_moments(model: BertForPreTraining, optimizer: AdamW, path: Path) -> None:
    arrays = {}
    for name, parameter in model.named_parameters():
        moments = optimizer.moments[parameter]
        arrays[f"exp_avg.{name}"], arrays[f"exp_avg_sq.{name}"] = moments.m, moments.v
    try:
        save_file(arrays, path, metadata={"format": "pt"})
    except SafetensorError as error:
        raise OSError(f"{path} cannot be written: {error}") from error


def _described(
    model: BertForPreTraining, optimizer: AdamW, settings: Settings, plan: Plan, state: State
) -> dict[str, Any]:
    """What training.json holds.

    The groups are torch.optim.AdamW's, with names for parameters; "lr" is that of the next step, "initial_lr" the
    highest, from which a LambdaLR starts.
    """
    names = {parameter: name for name, parameter in model.named_parameters()}
    groups = [
        {
            "params": [names[parameter] for parameter in group["params"]],
            "lr": plan.rate(state.step),
            "initial_lr": plan.learning_rate,
            "betas": group["betas"],
            "eps": group["eps"],
            "weight_decay": group["weight_decay"],
        }
        for group in optimizer.groups
    ]
    return {
        "param_groups": groups,
        "bias_correction": plan.bias_correction,
        "max_grad_norm": plan.max_grad_norm,
        "schedule": {
            "kind": "linear warm-up to the peak, then linear decay to 0",
            "warmup_steps": plan.warmup_steps,
            "total_steps": plan.steps,
            "steps_done": state.step,
            "peak_learning_rate": plan.learning_rate,
        },
        "data": {
            "seed": settings.seed,
            "length": settings.length,
            "batch_size": settings.batch_size,
            "accumulate": settings.accumulate,
            "max_predictions": settings.max_predictions,
            "whole_words": settings.whole_words,
            "near": settings.near,
            "position": state.position,
        },
    }
