"""How long a user waits for one vector: a fresh process of numbert's beside one of transformers'."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np

from numbert.bench.peers import imported
from numbert.bench.race import Absent, Contestant, Race, hold
from numbert.errors import InputError
from numbert.nn.module import Array

# What `numbert embed` does, as one would write it with transformers.
TRANSFORMERS = """
import json, sys
import torch
from transformers import AutoModel, AutoTokenizer

folder, text = sys.argv[1:]
tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
model = AutoModel.from_pretrained(folder, local_files_only=True)
inputs = tokenizer([text], truncation=True, max_length=model.config.max_position_embeddings, return_tensors="pt")
with torch.no_grad():
    print(json.dumps(model(**inputs).last_hidden_state.mean(dim=1).tolist()))
"""


def cold_start_race(folder: str | Path, text: str, rounds: int, progress: bool) -> Race:
    """Times whole processes, from their start to their end, with one text and no padding.

    Raises:
        InputError: `numbert embed` cannot embed the text with that model; the message is its own.
    """
    race = Race("cold start", f"a fresh process that embeds one text with the model in {folder}", gflop=None)
    ours = [sys.executable, "-m", "numbert", "embed", "--json", "--model", str(folder), "--", text]
    contestants = [Contestant("numbert", *_process(ours))]
    try:
        imported("torch"), imported("transformers")
        theirs = [sys.executable, "-c", TRANSFORMERS, str(folder), text]
        contestants.append(Contestant("transformers", *_process(theirs)))
        race.notes.append(
            "numbert embed beside transformers' AutoTokenizer and AutoModel with mean pooling, on local files."
        )
    except Absent as absent:
        race.absent["transformers"] = str(absent)
    try:
        return hold(race, contestants, rounds, progress)
    except subprocess.CalledProcessError as error:
        why = (error.stderr.strip() or f"exit code {error.returncode}").splitlines()[-1]
        raise InputError(f"{error.cmd[1:3]} failed: {why}") from None


def _process(command: list[str]) -> tuple[Callable[[], dict[str, Array]], Callable[[], str]]:
    """A contestant's answer, the vector that the command prints, and its run."""
    environment = {**os.environ, "HF_HUB_OFFLINE": "1"}

    def run() -> str:
        return subprocess.run(
            command, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=True
        ).stdout

    return lambda: {"vector": np.array(json.loads(run()))}, run
