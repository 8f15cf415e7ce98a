"""Timing how long a user waits for one answer: a fresh process of numbert beside one of transformers."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from numbert.bench.peers import imported
from numbert.bench.processes import last_words
from numbert.bench.race import Absent, Contestant, Race, hold
from numbert.errors import InputError
from numbert.nn.array import Array

EMBED, FILL_MASK = "embed", "fill-mask"
COMMANDS = (EMBED, FILL_MASK)
TEXTS = {
    EMBED: "The river rose in the night, and by morning the road was gone.",
    FILL_MASK: "The river rose in the night, and by morning the [MASK] was gone.",
}

# What `numbert embed` and `numbert fill-mask` do, as one would write it with transformers, on local files.
# float(), as the releases 5 read the weights in the type in which they are stored.
TRANSFORMERS = {
    EMBED: """
import json, sys
import torch
from transformers import AutoModel, AutoTokenizer

folder, text = sys.argv[1:]
tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
model = AutoModel.from_pretrained(folder, local_files_only=True).float()
inputs = tokenizer([text], truncation=True, max_length=model.config.max_position_embeddings, return_tensors="pt")
with torch.no_grad():
    print(json.dumps(model(**inputs).last_hidden_state.mean(dim=1).tolist()))
""",
    FILL_MASK: """
import json, sys
import torch
from transformers import AutoModelForMaskedLM, AutoTokenizer

folder, text = sys.argv[1:]
tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
model = AutoModelForMaskedLM.from_pretrained(folder, local_files_only=True).float()
inputs = tokenizer([text], return_tensors="pt")
with torch.no_grad():
    scores = model(**inputs).logits[inputs["input_ids"] == tokenizer.mask_token_id]
best = scores.softmax(-1).topk(5)
guesses = zip(tokenizer.convert_ids_to_tokens(best.indices[0]), best.values[0].tolist())
print(json.dumps([{"masks": [[{"token": token, "probability": p} for token, p in guesses]]}]))
""",
}


def commands_of(folder: str | Path) -> tuple[str, ...]:
    """Returns the commands that a folder's model can answer: fill-mask only with a head for masked tokens."""
    config = Path(folder) / "config.json"
    classes = json.loads(config.read_text(encoding="utf-8")).get("architectures") or [] if config.exists() else []
    fills = any(name.endswith(("ForMaskedLM", "ForPreTraining")) for name in classes)
    return COMMANDS if fills else (EMBED,)


def cold_start_race(command: str, folder: str | Path, rounds: int, progress: bool) -> Race:
    """Times whole processes from start to end, each of which answers a command for one text.

    Args:
        command: one of COMMANDS.
        folder: a model folder.

    Raises:
        InputError: a process failed, for example because the folder holds no model; the message ends with the last
            line of its stderr.
    """
    about = f"a fresh process that answers {command} for one text with the model in {folder}"
    race = Race(f"cold start, {command}", about, amount=None)
    text, answer_in = TEXTS[command], _vectors if command == EMBED else _guesses
    ours = [sys.executable, "-m", "numbert", command, "--json", "--model", str(folder), "--", text]
    contestants = [_process("numbert", ours, answer_in)]
    try:
        imported("torch"), imported("transformers")
        theirs = [sys.executable, "-c", TRANSFORMERS[command], str(folder), text]
        contestants.append(_process("transformers", theirs, answer_in))
        race.notes.append(f"numbert {command} beside the same with transformers' Auto classes, on local files.")
    except Absent as absent:
        race.absent["transformers"] = str(absent)
    return hold(race, contestants, rounds, progress)


def _vectors(printed: Any) -> dict[str, Array]:
    return {"vectors": np.array(printed)}


def _guesses(printed: Any) -> dict[str, Array]:
    """The probabilities of the best pieces."""
    ((mask,),) = (one["masks"] for one in printed)
    return {"probabilities": np.array([guess["probability"] for guess in mask])}


def _process(name: str, command: list[str], answer_in: Callable[[Any], dict[str, Array]]) -> Contestant:
    """Makes a contestant of a command that prints JSON.

    Args:
        answer_in: a function that finds the answer in what the JSON holds.
    """
    environment = {**os.environ, "HF_HUB_OFFLINE": "1"}

    def run() -> str:
        done = subprocess.run(
            command, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
        )
        if done.returncode:
            raise InputError(f"the process of {name} failed: {last_words(done)}")
        return done.stdout

    return Contestant(name, lambda: answer_in(json.loads(run())), run)
