"""The guard: numbert's time over that of its matrix products alone, compared with what was stored before.

Both are measured in turn on the same machine, so that a slower machine, or one with others at work, changes both.
How much the rest costs beside the products depends on the kind of machine, for which the ratios are stored, and on
the number of threads. With one thread (OMP_NUM_THREADS=1) others at work disturb least: the threads of the BLAS
wait for each other, so that a busy core makes either side several times slower.
"""

from __future__ import annotations

import dataclasses
import json
import math
import statistics
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from numbert.bench.products import products_run, train_products_run
from numbert.bench.race import aligned, in_turn
from numbert.bench.table import SMALL
from numbert.bench.workloads import numbert_forward, numbert_train, ragged_lengths, workload_of
from numbert.bert.model import BertModel
from numbert.bert.tasks.pretraining import BertForPreTraining
from numbert.config import BertConfig
from numbert.errors import InputError, as_integer, as_real, shown
from numbert.files.atomic import replacing

LIMIT = 1.5  # times the stored ratio
# As wide as bert-base, and with so few layers that all takes less than a minute.
BASE: dict[str, Any] = {"vocab_size": 8192, "num_hidden_layers": 2}
FORWARD, RAGGED, TRAIN = "forward", "forward, padding left out,", "train"


@dataclass(frozen=True)
class Work:
    """One of the workloads: what is done with which sizes."""

    kind: str
    batch: int
    length: int
    sizes: str = "base"

    def __str__(self) -> str:
        return f"{self.kind} {self.batch} x {self.length}" + ("" if self.sizes == "base" else f", {self.sizes}")


WORKS = (
    Work(FORWARD, 1, 16),
    Work(FORWARD, 1, 128),
    Work(FORWARD, 8, 128),
    Work(RAGGED, 8, 128),
    Work(FORWARD, 2, 512),
    Work(TRAIN, 4, 128),
    Work(TRAIN, 32, 64, "small"),
)


def kind_of_machine() -> str | None:
    """Returns "avx512" or "avx2", by the instructions that NumPy has found; None for any other machine."""
    simd: Any = np.show_config("dicts")
    simd = simd.get("SIMD Extensions", {})
    found = {*simd.get("baseline", ()), *simd.get("found", ())}
    # The first name is that of NumPy up to 2.3, the second that of later ones.
    if found & {"AVX512_SKX", "X86_V4"}:
        return "avx512"
    return "avx2" if found & {"AVX2", "X86_V3"} else None


def measure(
    rounds: int = 5,
    seed: int = 0,
    progress: bool = False,
    configs: Mapping[str, BertConfig] | None = None,
) -> dict[str, float]:
    """Returns for each workload the median of numbert's time over that of the products alone.

    Args:
        rounds: how often the two are measured, in turn.
        configs: the sizes "base" and "small"; a length beyond their positions is cut.

    Raises:
        InputError: rounds is below 1.
    """
    if rounds < 1:
        raise InputError(f"rounds is {rounds}; it must be at least 1")
    if configs is None:
        configs = {"base": BertConfig.from_dict(BASE), "small": BertConfig.from_dict(SMALL)}
    ratios = {}
    for work in WORKS:
        config = configs[work.sizes]
        length = min(work.length, config.max_position_embeddings)
        lengths = ragged_lengths(work.batch, length) if work.kind == RAGGED else np.full(work.batch, length)
        workload = workload_of(config, lengths, seed)
        if work.kind == TRAIN:
            ours = numbert_train(BertForPreTraining(config, seed=seed), workload)
            products = train_products_run(config, lengths, workload.masked)
        else:
            ours = numbert_forward(BertModel(config, seed=seed), workload)
            products = products_run(config, lengths)
        seconds = in_turn(str(work), {"numbert": ours.run, "products": products}, rounds, progress)
        ratios[str(work)] = statistics.median(
            one / alone for one, alone in zip(seconds["numbert"], seconds["products"], strict=True)
        )
    return ratios


@dataclass
class Verdict:
    """What was measured on this machine, beside what was stored.

    Attributes:
        ratios: for each workload numbert's time over that of the products alone.
        stored: the same as it was stored for this kind of machine; None if there is nothing to compare with.
    """

    ratios: dict[str, float]
    stored: dict[str, float] | None = None

    def beyond(self) -> list[str]:
        """Returns a line for each workload that is beyond LIMIT times its stored ratio, or has none."""
        lines: list[str] = []
        if self.stored is None:
            return lines
        for work, ratio in self.ratios.items():
            if work not in self.stored:
                lines.append(f"{work}: no ratio is stored; --store adds it")
            elif not ratio <= LIMIT * self.stored[work]:
                lines.append(
                    f"{work}: {ratio:.2f} times its products, stored is {self.stored[work]:.2f}; "
                    f"that is {ratio / self.stored[work]:.2f} times as much, the limit is {LIMIT}"
                )
        return lines

    def table(self) -> str:
        """Formats a line for each workload."""
        stored = self.stored or {}
        rows = [["", "numbert / products", "stored", "this / stored"]]
        for work, ratio in self.ratios.items():
            known = [f"{stored[work]:.2f}", f"{ratio / stored[work]:.2f}"] if work in stored else []
            rows.append([work, f"{ratio:.2f}", *known])
        return "\n".join(aligned(rows))

    def to_dict(self) -> dict[str, Any]:
        """Returns all of it as a dict that JSON can hold."""
        return {**dataclasses.asdict(self), "limit": LIMIT, "beyond": self.beyond()}


@dataclass
class Stored:
    """What was measured on one kind of machine.

    Attributes:
        threads: how many threads both sides had.
        ratios: for each workload numbert's time over that of the products alone.
    """

    threads: int
    ratios: dict[str, float]


def read_stored(path: Path) -> dict[str, Stored]:
    """Reads a file of what was measured, by the kind of machine.

    Raises:
        InputError: the file is missing or holds something else.
    """
    try:
        kinds = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}") from None
    except (ValueError, RecursionError):  # neither UTF-8 nor JSON
        raise InputError(f"{path} is no JSON") from None
    if not isinstance(kinds, dict):
        raise InputError(f"{path} holds no ratios: it must be an object, with a key for each kind of machine")
    return {kind: _stored(f"{path}, {shown(kind)}", entry) for kind, entry in kinds.items()}


def _stored(where: str, entry: Any) -> Stored:
    if not isinstance(entry, dict) or set(entry) != {"threads", "ratios"} or not isinstance(entry["ratios"], dict):
        raise InputError(f"{where}: there must be threads, and ratios by the workload")
    ratios = {}
    for work, ratio in entry["ratios"].items():
        name = f"{where}: the ratio of {shown(work)}"
        ratios[work] = as_real(name, ratio)
        if not 0 < ratios[work] < math.inf:
            raise InputError(f"{name} is {shown(ratio)}; it must be above 0")
    return Stored(as_integer(f"{where}: threads", entry["threads"]), ratios)


def store(path: Path, kind: str, measured: Stored) -> None:
    """Writes what was measured on one kind of machine into a file, which may be new; other kinds stay.

    Raises:
        InputError: the file holds something else, or cannot be written.
    """
    kinds = read_stored(path) if path.exists() else {}
    kinds[kind] = Stored(measured.threads, {work: round(ratio, 3) for work, ratio in measured.ratios.items()})
    with replacing(path.parent) as new:
        text = json.dumps({name: dataclasses.asdict(kinds[name]) for name in sorted(kinds)}, indent=2) + "\n"
        (new / path.name).write_text(text, encoding="utf-8")
