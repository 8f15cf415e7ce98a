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

import dataclasses
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
from numbert.nn.switches import uninitialized
from numbert.pretrain.runs import Run, State
from numbert.pretrain.settings import Settings
from numbert.pretrain.snapshot import OPTIMIZER, STATE, read_checkpoint
from numbert.pretrain.trainer import BETAS
from numbert.train.optimizer import AdamW, decay_groups, warmup_then_linear_decay

PLAN = "training.json"
SCRIPT = "continue.py"
_SCRIPT_SOURCE = Path(__file__).with_name("continue_in_torch.py")  # not imported: that would need PyTorch


def export_optimizer(run: str | Path, output: str | Path | None = None) -> Path:
    """Makes a folder from which PyTorch goes on with a run; see above for what is in it.

    Args:
        run: the run's folder, which stands for its latest checkpoint, or one checkpoint, RUN/checkpoints/step-N.
        output: a folder that is empty or not there yet; by default RUN-torch, beside the run.

    Returns:
        the folder.

    Raises:
        InputError: there is no run or no checkpoint, a file of it is missing or broken, or the output holds
            something or cannot be made.
        OSError: the disk is full, or another failure of the machine's; the output is left empty.
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
    optimizer = AdamW(
        decay_groups(model, the_run.settings.weight_decay),
        betas=BETAS,
        bias_correction=the_run.settings.bias_correction,
    )
    state = read_checkpoint(checkpoint, model, optimizer)
    with replacing(folder) as new:
        for path in checkpoint.iterdir():
            if path.name not in (OPTIMIZER, STATE):
                shutil.copyfile(path, new / path.name)
        _write_moments(model, optimizer, new / OPTIMIZER)
        plan = _plan(model, optimizer, the_run.settings, state)
        (new / PLAN).write_text(json.dumps(plan, indent=2) + "\n", encoding="utf-8")
        for path in text:
            shutil.copyfile(path, new / path.name)
        shutil.copyfile(_SCRIPT_SOURCE, new / SCRIPT)
    return folder


def _found(folder: Path) -> tuple[Run, Path]:
    """The run, and the checkpoint of it that is meant.

    Raises:
        InputError: there is no such run, or no checkpoint in it.
    """
    if (folder / STATE).exists():
        return Run.read(folder.parent.parent), folder
    if folder.parent.name == "checkpoints" and not folder.exists():
        raise InputError(f"{folder} does not exist")
    run = Run.read(folder)
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


def _plan(model: BertForPreTraining, optimizer: AdamW, settings: Settings, state: State) -> dict[str, Any]:
    """What training.json holds.

    The groups are torch.optim.AdamW's, with names for parameters; "lr" is that of the next step, "initial_lr" the
    highest, from which a LambdaLR starts.
    """
    names = {parameter: name for name, parameter in model.named_parameters()}
    peak, total, warmup = settings.learning_rate, settings.steps, settings.warmup_steps
    groups = [
        {
            "params": [names[parameter] for parameter in group["params"]],
            "lr": peak * warmup_then_linear_decay(state.step, total, warmup),
            "initial_lr": peak,
            "betas": group["betas"],
            "eps": group["eps"],
            "weight_decay": group["weight_decay"],
        }
        for group in optimizer.groups
    ]
    return {
        "param_groups": groups,
        "bias_correction": settings.bias_correction,
        "max_grad_norm": settings.max_grad_norm,
        "schedule": {
            "kind": "linear warm-up to the peak, then linear decay to 0",
            "warmup_steps": warmup,
            "total_steps": total,
            "steps_done": state.step,
            "peak_learning_rate": peak,
        },
        "data": {
            "seed": settings.seed,
            "length": settings.length,
            "batch_size": settings.batch_size,
            "accumulate": settings.accumulate,
            "max_predictions": settings.max_predictions,
            "whole_words": settings.whole_words,
            "position": dataclasses.asdict(state.position),
        },
    }
