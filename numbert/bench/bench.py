"""bench: the measurements that a user can ask for, and their result."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np

from numbert.bench import peers
from numbert.bench.cold_start import cold_start_race
from numbert.bench.decoding import Decoding, measure_decoding
from numbert.bench.kernels import KernelTiming, kernels_table, time_kernels
from numbert.bench.memory import Memory, measure_memory
from numbert.bench.positions import Positions, time_positions
from numbert.bench.profile import Profile, profile
from numbert.bench.race import Absent, Race, hold
from numbert.bench.workloads import (
    Workload,
    forward_gflop,
    make_workload,
    numbert_forward,
    numbert_train,
    train_gflop,
)
from numbert.bert.model import BertModel
from numbert.bert.tasks.pretraining import BertForPreTraining
from numbert.config import BertConfig
from numbert.errors import InputError
from numbert.nn.threads import get_num_threads
from numbert.progress import say

PARTS = ("forward", "train", "kernels", "profile", "memory", "positions", "decode")
LENGTH = 128
LONGEST = 512  # where memory is scarce, and a cache is worth most


@dataclass
class BenchResult:
    """What `bench` measured; what was not asked for is empty or None.

    Attributes:
        threads: how many threads each contestant had.
        rounds: how often each was measured.
        versions: the versions of NumPy and of the peers that are installed.
    """

    threads: int
    rounds: int
    versions: dict[str, str]
    races: list[Race] = field(default_factory=list)
    kernels: list[KernelTiming] = field(default_factory=list)
    profiles: list[Profile] = field(default_factory=list)
    memory: Memory | None = None
    positions: Positions | None = None
    decoding: Decoding | None = None

    def to_dict(self) -> dict[str, Any]:
        """Returns the measurements as a dict that JSON can hold."""
        return {
            "threads": self.threads,
            "rounds": self.rounds,
            "versions": self.versions,
            "races": [race.to_dict() for race in self.races],
            "kernels": [kernel.to_dict() for kernel in self.kernels],
            "profiles": [one.to_dict() for one in self.profiles],
            "memory": None if self.memory is None else self.memory.to_dict(),
            "positions": None if self.positions is None else self.positions.to_dict(),
            "decode": None if self.decoding is None else self.decoding.to_dict(),
        }


def format_result(result: BenchResult) -> str:
    """Formats the result as tables for people to read."""
    versions = ", ".join(f"{name} {version}" for name, version in result.versions.items())
    repeated = result.races or result.kernels or result.profiles or result.positions or result.decoding
    how = f"; medians of {result.rounds} rounds, in each of which all take their turns" if repeated else ""
    parts = [
        f"{versions}\n{result.threads} threads for each{how}.\n"
        "Whatever else the machine does meanwhile is in the numbers too."
    ]
    parts += [race.table() for race in result.races]
    parts += [kernels_table(result.kernels)] if result.kernels else []
    parts += [one.table() for one in result.profiles]
    parts += [one.table() for one in (result.memory, result.positions, result.decoding) if one is not None]
    return "\n\n".join(parts)


def bench(
    parts: Sequence[str] = ("forward", "train"),
    *,
    config: BertConfig | None = None,
    batch: int = 8,
    length: int | None = None,
    padded: bool = False,
    cold_start: tuple[str | Path, str] | None = None,
    rounds: int = 7,
    seed: int = 0,
    progress: bool = False,
) -> BenchResult:
    """Measures numbert on this machine, beside torch and onnxruntime where they are installed.

    Args:
        parts: some of PARTS. "forward" and "train" are races with the peers; "kernels" compares the fast forms of
            numbert.nn.functional with the plain ones; "profile" shows where numbert's time goes in forward and in
            train; "memory" shows what a training step takes, without and with gradient checkpointing and
            chunks of the feed-forward network; "positions" times relative positions beside absolute ones; "decode"
            shows what one more token costs a decoder, with the cache and without.
        config: the model's sizes; default those of bert-base-cased.
        batch: b.
        length: l; default 128, and for "memory" and "decode" 512.
        padded: whether the sequences have unequal lengths, from l/8 to l.
        cold_start: a model folder and a text, for a race of fresh processes that embed the text.
        rounds: how often each is measured, after a first time that does not count; "memory" is measured once.
        seed: the seed of the weights and of the workload.
        progress: whether to show progress on stderr.

    Raises:
        InputError: a part is unknown, or a size is outside its limits.
        RuntimeError: two answers differ by more than float32 rounding, so that times would mean nothing.
    """
    for part in parts:
        if part not in PARTS:
            raise InputError(f"there is no part {part!r}; it can be {', '.join(PARTS)}")
    if rounds < 1:
        raise InputError(f"rounds is {rounds}; it must be at least 1")
    config = BertConfig(vocab_size=28996) if config is None else config
    longest = LONGEST if length is None else length
    length = LENGTH if length is None else length
    workload = make_workload(config, batch, length, padded, seed)
    result = BenchResult(get_num_threads(), rounds, _versions())
    if cold_start is not None:
        result.races.append(cold_start_race(*cold_start, rounds, progress))
    for part in dict.fromkeys(parts):
        if progress and part != "memory":
            say(f"{part}: making models and comparing answers")
        if part == "forward":
            result.races.append(forward_race(config, workload, rounds, seed, progress))
        elif part == "train":
            result.races.append(train_race(config, workload, rounds, seed, progress))
        elif part == "kernels":
            result.kernels = time_kernels(config, batch, length, rounds, seed, progress)
        elif part == "memory":
            result.memory = memory(config, batch, longest, padded, seed, progress)
        elif part == "positions":
            about = f"forward and backward of BertForPreTraining, {_training(config, workload)}"
            result.positions = time_positions(about, config, workload, rounds, seed, progress)
        elif part == "decode":
            texts = make_workload(config, batch, longest, False, seed).inputs["input_ids"]
            about = f"one more token of {batch} texts by BertLMHeadModel, {_sizes(config)}, float32, no gradients"
            result.decoding = measure_decoding(about, config, texts, rounds, seed, progress)
        else:
            result.profiles = profiles(config, workload, rounds, seed, progress)
    return result


def forward_race(config: BertConfig, workload: Workload, rounds: int, seed: int, progress: bool) -> Race:
    """Races BertModel on one workload, with nothing remembered for backward."""
    race = Race("forward", _forward_about(config, workload), forward_gflop(config, workload.lengths))
    model = BertModel(config, seed=seed)
    contestants = [numbert_forward(model, workload)]
    try:
        theirs = peers.torch_model(model)
        contestants.append(peers.torch_forward(theirs, workload))
    except Absent as absent:
        race.absent |= {peers.TORCH: str(absent), peers.ONNXRUNTIME: "torch makes its model"}
    else:
        try:
            contestants.append(peers.onnxruntime_forward(theirs, workload))
        except Absent as absent:
            race.absent[peers.ONNXRUNTIME] = str(absent)
        race.notes.append("numbert / this: all give the same outputs from the same weights and ids.")
    return hold(race, contestants, rounds, progress)


def train_race(config: BertConfig, workload: Workload, rounds: int, seed: int, progress: bool) -> Race:
    """Races a step of BertForPreTraining: forward with dropout, backward, AdamW, gradients set to None."""
    race = Race("train", _train_about(config, workload), train_gflop(config, workload.lengths, workload.masked))
    model = BertForPreTraining(config, seed=seed)
    contestants = [numbert_train(model, workload)]
    try:
        contestants += peers.torch_train(peers.torch_model(model), workload)
    except Absent as absent:
        race.absent[peers.TORCH] = str(absent)
    else:
        race.notes += [
            f"numbert / {peers.TORCH}: torch as transformers trains, which decodes every position.",
            f"numbert / {peers.TORCH_MASKED}: torch made by hand to decode only the masked positions, as numbert "
            "does; the same work for both.",
            "Compared, without dropout: the loss and the gradient of every parameter.",
        ]
    return hold(race, contestants, rounds, progress)


def profiles(config: BertConfig, workload: Workload, rounds: int, seed: int, progress: bool) -> list[Profile]:
    """Measures where numbert's time goes in forward and in train."""
    model = BertModel(config, seed=seed)
    about, gflop = _forward_about(config, workload), forward_gflop(config, workload.lengths)
    forward = profile("forward", about, gflop, model, numbert_forward(model, workload).run, rounds, progress)
    trained = BertForPreTraining(config, seed=seed)
    about, gflop = _train_about(config, workload), train_gflop(config, workload.lengths, workload.masked)
    run = numbert_train(trained, workload).run
    return [forward, profile("train", about, gflop, trained, run, rounds, progress)]


def memory(config: BertConfig, batch: int, length: int, padded: bool, seed: int, progress: bool) -> Memory:
    """Measures the memory of a training step (without AdamW), and of ways to need less of it."""
    workload = make_workload(config, batch, length, padded, seed)
    about = f"forward and backward of BertForPreTraining, {_training(config, workload)}"
    return measure_memory(about, config, batch, length, padded, seed, progress)


def _forward_about(config: BertConfig, workload: Workload) -> str:
    return f"BertModel, {_sizes(config)}, {workload}, float32, no gradients"


def _train_about(config: BertConfig, workload: Workload) -> str:
    return f"a step of BertForPreTraining with AdamW, {_training(config, workload)}"


def _training(config: BertConfig, workload: Workload) -> str:
    return f"{_sizes(config)}, {workload}, {workload.masked} masked, dropout {config.hidden_dropout_prob}, float32"


def _sizes(config: BertConfig) -> str:
    return f"{config.num_hidden_layers} layers, {config.hidden_size} wide"


def _versions() -> dict[str, str]:
    """Returns the versions of numpy and of the peers that are installed."""
    versions = {"numpy": np.__version__}
    for name in ("torch", "transformers", "onnxruntime"):
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return versions
