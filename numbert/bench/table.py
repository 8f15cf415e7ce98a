"""The table: one line a workload, numbert beside its peers in time and in memory. It is a view of races."""

from __future__ import annotations

import statistics
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from numbert.bench import peers
from numbert.bench.cold_start import cold_start_race, commands_of
from numbert.bench.exported import ONNXRUNTIME, OPENVINO
from numbert.bench.processes import in_a_fresh_process, peak_memory
from numbert.bench.race import Race, aligned
from numbert.bench.races import BESIDE_BUSY, forward_race, sizes, train_race
from numbert.bench.workloads import Workload, numbert_forward, numbert_train, ragged_lengths, workload_of
from numbert.bert.model import BertModel
from numbert.bert.tasks.pretraining import BertForPreTraining
from numbert.config import BertConfig
from numbert.errors import InputError
from numbert.files.shipped import shipped_model
from numbert.nn.array import Array
from numbert.progress import say

FORWARD, TRAIN = "forward", "train"
TRANSFORMERS = "transformers"
# b and l of each row; a length beyond the model's positions is cut to them.
FORWARDS = ((1, 16), (1, 128), (8, 128), (2, 512))
RAGGED = (8, 128)
TRAINS = ((4, 128),)
SMALL_TRAINS = ((32, 64), (32, 128))
BUSY_FORWARDS = ((1, 16), (2, 128))
SMALL: dict[str, Any] = {
    "vocab_size": 8192,
    "hidden_size": 128,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 512,
}


@dataclass
class TableRow:
    """One workload.

    Attributes:
        work: what is computed, in a few words.
        race: what was measured.
        peer: whose time numbert's is divided by: of its forms the one that is faster by its median.
        peaks: the most resident memory of a fresh process that does this work, in bytes, for numbert and for torch
            with sdpa; empty if it was not measured.
    """

    work: str
    race: Race
    peer: str
    peaks: dict[str, int] = field(default_factory=dict)

    def ratio(self, peer: str) -> float | None:
        """Returns the median of numbert's time over the peer's, for a peer that ran."""
        form = self.race.faster(peer)
        return None if form is None else statistics.median(self.race.ratios(form))

    def by_products(self) -> float | None:
        """Returns the median of numbert's time over that of the products alone, if they were measured."""
        ratios = self.race.by_products()
        return statistics.median(ratios) if ratios else None

    def peak_ratio(self) -> float | None:
        """Returns numbert's peak of memory over torch's."""
        return self.peaks["numbert"] / self.peaks[peers.TORCH] if peers.TORCH in self.peaks else None

    def to_dict(self) -> dict[str, Any]:
        """Returns the ratios, and the race that they are from, as a dict that JSON can hold."""
        return {
            "work": self.work,
            "peer": self.race.faster(self.peer),
            "numbert_by_peer": self.ratio(self.peer),
            "numbert_by_onnxruntime": self.ratio(ONNXRUNTIME),
            "numbert_by_openvino": self.ratio(OPENVINO),
            "numbert_by_products": self.by_products(),
            "peak_bytes": self.peaks,
            "peak_numbert_by_torch": self.peak_ratio(),
            "race": self.race.to_dict(),
        }

    def cells(self) -> list[str]:
        """Formats the line of the table."""
        form = self.race.faster(self.peer)
        times = [
            1e3 * statistics.median(self.race.seconds[name]) for name in ("numbert", form) if name is not None
        ]
        ratios = [self.ratio(peer) for peer in (self.peer, ONNXRUNTIME, OPENVINO)]
        ratios += [self.by_products(), self.peak_ratio()]
        return [
            self.work,
            *(f"{time:.0f}" if time >= 100 else f"{time:.3g}" for time in times),
            *([] if form else [""]),
            *("" if ratio is None else f"{ratio:.2f}" for ratio in ratios),
        ]


@dataclass
class Table:
    """The workloads in which numbert is measured, one below the other.

    Attributes:
        about: which model, as a sentence, and whether another process kept a core busy.
        notes: what could not be measured.
    """

    about: str
    rows: list[TableRow] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def to_dict(self) -> dict[str, Any]:
        """Returns the rows as a dict that JSON can hold."""
        return {"about": self.about, "rows": [row.to_dict() for row in self.rows], "notes": self.notes}

    def table(self) -> str:
        """Formats the rows, and says what the columns are."""
        heads = ["", "numbert ms", "torch ms", "ratio", "/ onnxruntime", "/ openvino", "/ products", "peak memory"]
        notes = [
            "torch ms: the faster of sdpa and eager attention by its median; of cold starts, transformers.",
            "ratio: numbert / torch, the median of the rounds' ratios; likewise / onnxruntime, / openvino, and",
            "/ products: np.matmul of the same products and nothing else. All gave the same answers.",
            "peak memory: numbert / torch with sdpa, of fresh processes that do the work twice. In torch's are",
            "about 12 MB of numbert, which makes the workload.",
        ]
        absent = {f"{name} is absent: {why}": None for row in self.rows for name, why in row.race.absent.items()}
        lines = aligned([heads, *(row.cells() for row in self.rows)])
        return "\n".join([f"table: {self.about}", *lines, *notes, *absent, *self.notes])


def make_table(
    config: BertConfig,
    small: BertConfig,
    rounds: int,
    seed: int,
    progress: bool,
    cold_start: str | Path | None = None,
    busy: bool = False,
) -> Table:
    """Races all workloads of the table.

    Args:
        config: the model's sizes.
        small: those of the model in the last training steps.
        cold_start: the model folder of the cold starts; default `shipped_model()`.
        busy: whether another process keeps a core busy meanwhile; then there are only two forwards.

    Raises:
        RuntimeError: two answers differ by more than float32 rounding.
    """
    table = Table(f"{sizes(config)}, float32" + (BESIDE_BUSY if busy else ""))
    works = [(FORWARD, config, _equal(config, *one)) for one in (BUSY_FORWARDS if busy else FORWARDS)]
    if not busy:
        works.append((FORWARD, config, ragged_lengths(RAGGED[0], min(RAGGED[1], config.max_position_embeddings))))
        works += [(TRAIN, config, _equal(config, *one)) for one in TRAINS]
        works += [(TRAIN, small, _equal(small, *one)) for one in SMALL_TRAINS]
    for kind, its_config, lengths in works:
        workload = workload_of(its_config, lengths, seed)
        work = f"{kind} {workload}" + ("" if its_config is config else f", {sizes(its_config)}")
        if progress:
            say(f"table: {work}")
        if kind == FORWARD:
            race = forward_race(its_config, workload, rounds, seed, progress, busy)
        else:
            race = train_race(its_config, workload, rounds, seed, progress)
        table.rows.append(TableRow(work, race, peers.TORCH))
        if not busy:
            _measure_peaks(table.rows[-1], kind, its_config, lengths, seed)
        if race.faster(peers.TORCH_MASKED):
            table.rows.append(TableRow("  the same, torch decodes only the masked", race, peers.TORCH_MASKED))
    if not busy:
        _cold_starts(table, cold_start, rounds, progress)
    return table


def _equal(config: BertConfig, batch: int, length: int) -> Array:
    return np.full(batch, min(length, config.max_position_embeddings))


def _cold_starts(table: Table, folder: str | Path | None, rounds: int, progress: bool) -> None:
    try:
        folder = shipped_model() if folder is None else folder
    except InputError as error:
        table.notes.append(f"cold starts are absent: {error}")
        return
    for command in commands_of(folder):
        race = cold_start_race(command, folder, rounds, progress)
        table.rows.append(TableRow(race.name, race, TRANSFORMERS))


# --- memory ------------------------------------------------------------------------------------------------------


def _measure_peaks(row: TableRow, kind: str, config: BertConfig, lengths: Array, seed: int) -> None:
    """Measures numbert's peak and, if torch is here, torch's; if the system cannot tell, the race says so."""
    names = ["numbert", peers.TORCH] if row.race.faster(peers.TORCH) else ["numbert"]
    try:
        for name in names:
            question = [name, kind, config.to_dict(), lengths.tolist(), seed]
            task = f"measure the memory of {name}, {row.work}"
            row.peaks[name] = in_a_fresh_process("numbert.bench.table:peak_of", question, task)
    except InputError as error:
        row.peaks.clear()
        row.race.absent["peak memory"] = str(error)


def peak_of(question: list[Any]) -> int:
    """Does a workload twice in this process, which is a fresh one, and returns the peak of its memory, in bytes.

    Args:
        question: who is to do it, "numbert" or "torch", the kind of work, the configuration as a dict, the lengths
            and the seed.
    """
    name, kind, fields, lengths, seed = question
    config = BertConfig.from_dict(fields)
    run = _run(name, kind, config, workload_of(config, np.array(lengths), seed), seed)
    for _ in range(2):  # AdamW's averages are there from the end of the first step on
        run()
    return peak_memory()


def _run(name: str, kind: str, config: BertConfig, workload: Workload, seed: int) -> Any:
    if name == "numbert":
        if kind == FORWARD:
            return numbert_forward(BertModel(config, seed=seed), workload).run
        return numbert_train(BertForPreTraining(config, seed=seed), workload).run
    if kind == FORWARD:
        return peers.torch_forward(peers.new_torch_model("BertModel", config), workload, name).run
    return peers.torch_train({peers.SDPA: peers.new_torch_model("BertForPreTraining", config)}, workload)[0].run
