"""Goes on in PyTorch with a training that numbert began: on a GPU, if there is one.

    pip install torch transformers path/to/numbert     # its checkout
    python continue.py [--device cuda] [--save-every 500]

The folder of this script holds what `numbert export-optimizer` took from a run: model and tokenizer, AdamW's
moments (optimizer.safetensors), the plan (training.json) and the text as token ids (train.*). numbert makes the
batches, with the pairs and masks that it would have made at the same step; PyTorch and transformers do the rest.
Without dropout the losses are those that numbert would have had, up to rounding; with it, PyTorch draws other
random numbers.

Every 500 steps (--save-every) and at the end, everything is saved in step-N/ beside this script, in place of the
one before: a model that numbert and transformers read, with its moments. Started again, the script goes on from
there.
"""

from __future__ import annotations

import argparse
import json
import math
import shutil
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch.nn.functional import cross_entropy
from transformers import BertForPreTraining

from numbert.files.atomic import to_disk
from numbert.files.tokenizer import load_tokenizer, vocabulary_size
from numbert.pretrain.batches import Batch, make_batch
from numbert.pretrain.pairs import PairStream, Position
from numbert.randomness import Purpose, generator
from numbert.text.documents import Documents
from numbert.text.vocabulary import pieces_that_go_on
from numbert.train.schedule import warmup_then_linear_decay

HERE = Path(__file__).parent


def main() -> None:
    """Reads the options and trains from the latest state that is beside this script."""
    parser = argparse.ArgumentParser(description="Goes on in PyTorch with a training that numbert began.")
    default = "cuda" if torch.cuda.is_available() else "cpu"
    parser.add_argument("--device", default=default, help=f"where to compute ({default})")
    parser.add_argument("--save-every", type=int, default=500, metavar="N", help="steps between savings (500)")
    options = parser.parse_args()
    latest = max(HERE.glob("step-*"), key=lambda folder: int(folder.name.removeprefix("step-")), default=HERE)
    train(latest, options.device, options.save_every)


def train(folder: Path, device: str, save_every: int) -> None:
    """Trains from the step that the folder holds to the last one.

    Args:
        folder: the exported folder, or a step-N of it.
        device: PyTorch's name of where to compute, such as "cuda".
        save_every: steps between savings.
    """
    plan = json.loads((folder / "training.json").read_text(encoding="utf-8"))
    schedule = plan["schedule"]
    total, warmup = schedule["total_steps"], schedule["warmup_steps"]
    print(f"{schedule['steps_done']} of {total} steps are done in {folder}; going on, on {device}", flush=True)

    model = BertForPreTraining.from_pretrained(folder).to(device).train()
    optimizer = load_optimizer(model, folder, plan)
    scheduler = torch.optim.lr_scheduler.LambdaLR(
        optimizer,
        lambda step: warmup_then_linear_decay(step, total, warmup),
        last_epoch=schedule["steps_done"] - 1,  # it takes a step when it is made
    )
    torch.manual_seed(schedule["steps_done"])  # for dropout
    next_batches = batches(plan, model.config.vocab_size)
    while schedule["steps_done"] < total:
        rate = scheduler.get_last_lr()[0]
        optimizer.zero_grad()
        loss = backward(model, next(next_batches), plan["data"]["accumulate"])
        norm = torch.nn.utils.clip_grad_norm_(model.parameters(), plan["max_grad_norm"])
        if not math.isfinite(loss) or not math.isfinite(norm):
            raise SystemExit(f"step {schedule['steps_done'] + 1}: the loss is {loss}, the gradient's norm {norm}")
        optimizer.step()
        scheduler.step()
        schedule["steps_done"] += 1
        print(f"step {schedule['steps_done']}  loss {loss:.7f}  learning rate {rate:.4e}", flush=True)
        if schedule["steps_done"] % save_every == 0 or schedule["steps_done"] == total:
            save(model, optimizer, plan)


def backward(model: Any, batch: Batch, parts: int) -> float:
    """Computes a batch in `parts` parts and adds its gradient to the parameters'.

    Loss and gradient are means over the whole batch, so that every masked token and every pair counts alike.

    Returns:
        the loss, MLM + NSP in nats.
    """
    total = 0.0
    for index in range(parts):
        part = {
            name: torch.tensor(array, device=model.device)
            for name, array in vars(batch.part(index, parts)).items()
        }
        labels, next_sentence_label = part.pop("labels"), part.pop("next_sentence_label")  # [b,l], [b]
        output = model(**part)
        mlm = cross_entropy(output.prediction_logits.flatten(0, 1), labels.flatten(), reduction="sum")
        nsp = cross_entropy(output.seq_relationship_logits, next_sentence_label, reduction="sum")
        loss = mlm / batch.masked + nsp / batch.pairs
        loss.backward()
        total += loss.item()
    return total


def batches(plan: dict[str, Any], vocab_size: int) -> Iterator[Batch]:
    """Gives the batches that numbert would train on next, and moves the plan's position along."""
    data, schedule = plan["data"], plan["schedule"]
    tokenizer = load_tokenizer(HERE)
    goes_on = pieces_that_go_on(tokenizer) if data["whole_words"] else None
    documents = Documents.open(HERE, "train", vocabulary_size(tokenizer))
    key = (data["seed"], Purpose.PAIRS)
    pairs = PairStream(documents, data["length"], key, Position(**data["position"]), data["near"])
    while True:
        some = pairs.take(data["batch_size"])
        data["position"] = asdict(pairs.position)
        rng = generator(data["seed"], Purpose.MASKS, schedule["steps_done"])
        yield make_batch(documents, some, vocab_size, data["max_predictions"], rng, goes_on)


# --- optimizer.safetensors and training.json -----------------------------------------------------------------


def load_optimizer(model: Any, folder: Path, plan: dict[str, Any]) -> torch.optim.AdamW:
    """Makes an AdamW with the moments in the folder. Tied weights are one parameter, under its first name."""
    parameters, groups = dict(model.named_parameters()), plan["param_groups"]
    names = [name for group in groups for name in group["params"]]
    if set(names) != set(parameters):
        raise SystemExit(f"only one of model and moments has {', '.join(sorted(set(names) ^ set(parameters)))}")
    optimizer = torch.optim.AdamW(
        [group | {"params": [parameters[name] for name in group["params"]]} for group in groups]
    )
    # After a million steps the correction for the means' start at 0 is a factor of 1: none.
    step = float(plan["schedule"]["steps_done"]) if plan["bias_correction"] else 1e6
    moments = load_file(folder / "optimizer.safetensors")
    state = {  # PyTorch numbers the parameters in the order of the groups
        number: {"step": torch.tensor(step)}
        | {moment: moments[f"{moment}.{name}"] for moment in ("exp_avg", "exp_avg_sq")}
        for number, name in enumerate(names)
    }
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})
    return optimizer


def save(model: Any, optimizer: torch.optim.AdamW, plan: dict[str, Any]) -> None:
    """Saves the model, its moments and the plan in step-N/, whole or not at all, in place of the ones before."""
    folder = HERE / f"step-{plan['schedule']['steps_done']}"
    unfinished = HERE / ".unfinished"
    shutil.rmtree(unfinished, ignore_errors=True)
    model.save_pretrained(unfinished)
    for path in [*HERE.glob("tokenizer*.json"), *HERE.glob("vocab.txt")]:
        shutil.copyfile(path, unfinished / path.name)
    moments = {
        f"{moment}.{name}": optimizer.state[parameter][moment]
        for name, parameter in model.named_parameters()
        for moment in ("exp_avg", "exp_avg_sq")
    }
    save_file(moments, unfinished / "optimizer.safetensors")
    for group, now in zip(plan["param_groups"], optimizer.param_groups, strict=True):
        group["lr"] = now["lr"]
    (unfinished / "training.json").write_text(json.dumps(plan, indent=2) + "\n", encoding="utf-8")
    for path in unfinished.iterdir():
        to_disk(path)
    before = list(HERE.glob("step-*"))
    unfinished.rename(folder)
    for old in before:
        shutil.rmtree(old)
    print(f"saved in {folder}", flush=True)


if __name__ == "__main__":
    main()
