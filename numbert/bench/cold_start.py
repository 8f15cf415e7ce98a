"""Timing how long a user waits for one vector: a fresh process of numbert beside one of transformers."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np

from numbert.bench.peers import imported
from numbert.bench.race import Absent, Contestant, Race, hold
from numbert.errors import InputError

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
    """Times whole processes from start to end, each of which embeds one text.

    Args:
        folder: a model folder.

    Raises:
        InputError: a process failed, for example because the folder holds no model; the message ends with the last
            line of its stderr.
    """
    race = Race("cold start", f"a fresh process that embeds one text with the model in {folder}", gflop=None)
    ours = [sys.executable, "-m", "numbert", "embed", "--json", "--model", str(folder), "--", text]
    contestants = [_process("numbert", ours)]
    try:
        imported("torch"), imported("transformers")
        theirs = [sys.executable, "-c", TRANSFORMERS, str(folder), text]
        contestants.append(_process("transformers", theirs))
        race.notes.append(
            "numbert embed beside transformers' AutoTokenizer and AutoModel with mean pooling, on local files."
        )
    except Absent as absent:
        race.absent["transformers"] = str(absent)
    return hold(race, contestants, rounds, progress)


def _process(name: str, command: list[str]) -> Contestant:
    """Makes a contestant of a command that prints vectors as JSON; the vectors are its answer."""
    environment = {**os.environ, "HF_HUB_OFFLINE": "1"}

    def run() -> str:
        done = subprocess.run(
            command, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
        )
        if done.returncode:
            why = (done.stderr.strip() or f"exit code {done.returncode}").splitlines()[-1]
            raise InputError(f"the process of {name} failed: {why}")
        return done.stdout

    return Contestant(name, lambda: {"vectors": np.array(json.loads(run()))}, run)
