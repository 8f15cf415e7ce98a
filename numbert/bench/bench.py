"""bench: the measurements that a user can ask for, and their result."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np

from numbert.bench.cold_start import cold_start_race, commands_of
from numbert.bench.decoding import Decoding, measure_decoding
from numbert.bench.growth import Growth, measure_growth
from numbert.bench.kernels import KernelTiming, kernels_table, time_kernels
from numbert.bench.memory import Memory, measure_memory
from numbert.bench.positions import Positions, time_positions
from numbert.bench.products import products_run, train_products_run
from numbert.bench.profile import Profile, profile
from numbert.bench.race import Race
from numbert.bench.races import forward_about, forward_race, sizes, train_about, train_race, training
from numbert.bench.table import SMALL, Table, make_table
from numbert.bench.texts import texts_races
from numbert.bench.workloads import (
    Workload,
    forward_gflop,
    make_workload,
    numbert_forward,
    numbert_train,
    train_gflop,
)
from numbert.bench.writing import writing_race
from numbert.bert.model import BertModel
from numbert.bert.tasks.pretraining import BertForPreTraining
from numbert.config import BertConfig
from numbert.errors import InputError
from numbert.nn.threads import get_num_threads
from numbert.progress import say

PARTS = ("forward", "train", "table", "texts", "kernels", "profile", "memory", "positions", "decode", "growth")
BUSY_PARTS = ("forward", "table")  # that can be measured beside a busy process
LENGTH = 128
LONGEST = 512  # where memory is scarce, and a cache is worth most


@dataclass
class BenchResult:
    """What `bench` measured; what was not asked for is empty or None.

    Attributes:
        threads: how many threads each contestant had.
        rounds: how often each was measured.
        busy: whether another process kept a core busy meanwhile.
        versions: the versions of NumPy and of the peers that are installed.
    """

    threads: int
    rounds: int
    versions: dict[str, str]
    busy: bool = False
    races: list[Race] = field(default_factory=list)
    workloads: Table | None = None
    kernels: list[KernelTiming] = field(default_factory=list)
    profiles: list[Profile] = field(default_factory=list)
    memory: Memory | None = None
    positions: Positions | None = None
    decoding: Decoding | None = None
    growth: Growth | None = None

    def to_dict(self) -> dict[str, Any]:
        """Returns the measurements as a dict that JSON can hold."""
        return {
            "threads": self.threads,
            "rounds": self.rounds,
            "versions": self.versions,
            "busy": self.busy,
            "races": [race.to_dict() for race in self.races],
            "table": None if self.workloads is None else self.workloads.to_dict(),
            "kernels": [kernel.to_dict() for kernel in self.kernels],
            "profiles": [one.to_dict() for one in self.profiles],
            "memory": None if self.memory is None else self.memory.to_dict(),
            "positions": None if self.positions is None else self.positions.to_dict(),
            "decode": None if self.decoding is None else self.decoding.to_dict(),
            "growth": None if self.growth is None else self.growth.to_dict(),
        }


def format_result(result: BenchResult) -> str:
    """Formats the result as tables for people to read."""
    versions = ", ".join(f"{name} {version}" for name, version in result.versions.items())
    repeated = any(
        (
            result.races,
            result.workloads,
            result.kernels,
            result.profiles,
            result.positions,
            result.decoding,
            result.growth,
        )
    )
    how = f"; medians of {result.rounds} rounds, in each of which all take their turns" if repeated else ""
    parts = [
        f"{versions}\n{result.threads} threads for each{how}.\n"
        "Whatever else the machine does meanwhile is in the numbers too."
    ]
    parts += [race.table() for race in result.races]
    parts += [kernels_table(result.kernels)] if result.kernels else []
    parts += [one.table() for one in result.profiles]
    parts += [
        one.table()
        for one in (result.workloads, result.memory, result.positions, result.decoding, result.growth)
        if one is not None
    ]
    return "\n\n".join(parts)


def bench(
    parts: Sequence[str] = ("forward", "train"),
    *,
    config: BertConfig | None = None,
    batch: int = 8,
    length: int | None = None,
    padded: bool = False,
    texts: int = 2000,
    cold_start: str | Path | None = None,
    busy: bool = False,
    rounds: int = 7,
    seed: int = 0,
    progress: bool = False,
) -> BenchResult:
    """Measures numbert on this machine, beside torch, onnxruntime and openvino where they are installed.

    Args:
        parts: some of PARTS. "forward" and "train" are races with the peers; "table" is both of them in eight
            sizes, with the memory that they take and cold starts; "texts" is `embed` and `fill_mask` with many
            texts of mixed length; "kernels" compares the fast forms of numbert.nn.functional with the plain ones;
            "profile" shows where numbert's time goes in forward and in train; "memory" shows what a training step
            takes, without and with gradient checkpointing and chunks of the feed-forward network; "positions"
            times relative positions beside absolute ones; "decode" shows what one more token costs a decoder, with
            the cache and without, and how many it writes in a second; "growth" shows how the time of a forward
            grows with length, batch, layers and threads, and its memory with length.
        config: the model's sizes; default those of bert-base-cased. The last training steps of "table" have two
            layers 128 wide by default, and else these sizes, too.
        batch: b.
        length: l; default 128, and for "memory" and "decode" 512; of "growth" the longest, default 512. "table"
            and "texts" have sizes of their own, and "growth" batches.
        padded: whether the sequences have unequal lengths, from l/8 to l.
        texts: the number of texts.
        cold_start: a model folder, for races of fresh processes that answer embed and fill-mask for one text;
            those of "table" take by default `shipped_model()`.
        busy: whether another process keeps a core busy meanwhile; "table" then has two forwards only.
        rounds: how often each is measured, after a first time that does not count; "memory" is measured once.
        seed: the seed of the weights and of the workload.
        progress: whether to show progress on stderr.

    Raises:
        InputError: a part is unknown or goes not with busy, or a size is outside its limits.
        RuntimeError: two answers differ by more than float32 rounding, so that times would mean nothing.
    """
    for part in parts:
        if part not in PARTS:
            raise InputError(f"there is no part {part!r}; it can be {', '.join(PARTS)}")
        if busy and part not in BUSY_PARTS:
            raise InputError(f"busy goes with {' and '.join(BUSY_PARTS)}, not with {part}")
    if rounds < 1:
        raise InputError(f"rounds is {rounds}; it must be at least 1")
    small = BertConfig.from_dict(SMALL) if config is None else config
    config = BertConfig(vocab_size=28996) if config is None else config
    longest = LONGEST if length is None else length
    length = LENGTH if length is None else length
    workload = make_workload(config, batch, length, padded, seed)
    result = BenchResult(get_num_threads(), rounds, _versions(), busy)
    if cold_start is not None and "table" not in parts:
        for command in commands_of(cold_start):
            result.races.append(cold_start_race(command, cold_start, rounds, progress))
    for part in dict.fromkeys(parts):
        if progress and part not in ("memory", "table"):
            say(f"{part}: making models and comparing answers")
        if part == "forward":
            result.races.append(forward_race(config, workload, rounds, seed, progress, busy))
        elif part == "train":
            result.races.append(train_race(config, workload, rounds, seed, progress))
        elif part == "table":
            result.workloads = make_table(config, small, rounds, seed, progress, cold_start, busy)
        elif part == "texts":
            result.races += texts_races(config, texts, rounds, seed, progress)
        elif part == "kernels":
            result.kernels = time_kernels(config, batch, length, rounds, seed, progress)
        elif part == "memory":
            result.memory = memory(config, batch, longest, padded, seed, progress)
        elif part == "positions":
            about = f"forward and backward of BertForPreTraining, {training(config, workload)}"
            result.positions = time_positions(about, config, workload, rounds, seed, progress)
        elif part == "decode":
            ids = make_workload(config, batch, longest, False, seed).inputs["input_ids"]
            about = f"one more token of {batch} texts by BertLMHeadModel, {sizes(config)}, float32, no gradients"
            result.decoding = measure_decoding(about, config, ids, rounds, seed, progress)
            result.races.append(writing_race(config, ids, rounds, seed, progress))
        elif part == "growth":
            result.growth = measure_growth(config, longest, result.threads, rounds, seed, progress)
        else:
            result.profiles = profiles(config, workload, rounds, seed, progress)
    return result


def profiles(config: BertConfig, workload: Workload, rounds: int, seed: int, progress: bool) -> list[Profile]:
    """Measures where numbert's time goes in forward and in train."""
    lengths, masked = workload.lengths, workload.masked
    model, trained = BertModel(config, seed=seed), BertForPreTraining(config, seed=seed)
    forward = profile(
        "forward",
        forward_about(config, workload),
        forward_gflop(config, lengths),
        model,
        numbert_forward(model, workload).run,
        products_run(config, lengths),
        rounds,
        progress,
    )
    train = profile(
        "train",
        train_about(config, workload),
        train_gflop(config, lengths, masked),
        trained,
        numbert_train(trained, workload).run,
        train_products_run(config, lengths, masked),
        rounds,
        progress,
    )
    return [forward, train]


def memory(config: BertConfig, batch: int, length: int, padded: bool, seed: int, progress: bool) -> Memory:
    """Measures the memory of a training step (without AdamW), and of ways to need less of it."""
    workload = make_workload(config, batch, length, padded, seed)
    about = f"forward and backward of BertForPreTraining, {training(config, workload)}"
    return measure_memory(about, config, batch, length, padded, seed, progress)


def _versions() -> dict[str, str]:
    """Returns the versions of numpy and of the peers that are installed."""
    versions = {"numpy": np.__version__}
    for name in ("torch", "transformers", "onnxruntime", "openvino"):
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return versions
