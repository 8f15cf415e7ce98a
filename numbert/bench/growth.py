"""Measuring how the time and the memory of a forward grow with its sizes, beside what is counted.

A cost is taken for a sum of powers of one size, such as c0 + c1 l + c2 l^2. Which powers there are is known from
the operations; how large their factors are is fitted to what was measured.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import statistics
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from scipy.optimize import nnls

from numbert.bench.memory import MEGABYTE
from numbert.bench.processes import peak_memory
from numbert.bench.race import aligned, in_turn
from numbert.bench.workloads import make_workload, numbert_forward
from numbert.bert.model import BertModel
from numbert.config import BertConfig
from numbert.errors import InputError
from numbert.progress import say

SHORTEST, LENGTH = 32, 128  # l where a curve of lengths begins, and l of the other curves
LARGEST_BATCH, SHARED_BATCH = 16, 8  # b where the curve of batches ends, and b of the curve of threads

LINEAR, ATTENTION, ELEMENTWISE = "linear layers", "attention", "element-wise"
# Operations of each number, where every addition, multiplication, comparison and function counts as one.
GELU, LAYER_NORM, SOFTMAX = 5, 7, 7  # softmax with the scale and the mask
MEMORY = "memory"


@dataclass
class Curve:
    """How one cost grows with one size, all else being the same.

    Attributes:
        name, letter: the size that grows, such as "length", and how it is called in a formula, such as "l".
        about: what was computed, as a sentence.
        sizes: the sizes, in ascending order.
        costs: for each size what was measured, the seconds of each round; or one number of bytes.
        parts: what the cost is a sum of: for each part, named by what causes it, the power of the size in it.
        operations: for each kind of work, how many operations it has at each size, in 10^9.
        counted: what these operations say, as a sentence.
    """

    name: str
    letter: str
    about: str
    sizes: list[int]
    costs: list[list[float]]
    parts: dict[str, int]
    operations: dict[str, list[float]] = field(default_factory=dict)
    counted: str = ""

    @property
    def unit(self) -> str:
        """What the cost is counted in, "s" or "bytes"."""
        return "bytes" if self.name == MEMORY else "s"

    def medians(self) -> list[float]:
        """Returns the median cost at each size."""
        return [statistics.median(costs) for costs in self.costs]

    def exponent(self) -> float | None:
        """Returns p of the power size^p that fits best: the slope of log cost against log size.

        None if there are not two sizes with a cost above 0.
        """
        costs = np.array(self.medians())
        above = costs > 0
        if above.sum() < 2:
            return None
        return float(np.polyfit(np.log(np.array(self.sizes)[above]), np.log(costs[above]), deg=1)[0])

    def exponents_between(self) -> list[float | None]:
        """Returns the slope of log cost against log size from each size to the next."""
        medians = self.medians()
        return [
            dataclasses.replace(self, sizes=self.sizes[i : i + 2], costs=self.costs[i : i + 2]).exponent()
            for i in range(len(medians) - 1)
        ]

    def fit(self) -> dict[str, float] | None:
        """Returns the factor of each part, 0 or above, for the least squares of the relative errors.

        None if there are fewer sizes than parts, or a cost that is not above 0.
        """
        costs = np.array(self.medians())
        if len(costs) < len(self.parts) or not (costs > 0).all():
            return None
        columns = self._powers() / costs[:, None]  # [sizes,parts]
        scale = np.linalg.norm(columns, axis=0)
        factors = nnls(columns / scale, np.ones(len(costs)))[0] / scale
        return dict(zip(self.parts, factors.tolist(), strict=True))

    def fitted(self) -> dict[str, list[float]] | None:
        """Returns the fitted cost of each part at each size, in the cost's unit; None if there is no fit."""
        factors = self.fit()
        if factors is None:
            return None
        costs = self._powers() * np.array(list(factors.values()))
        return {part: costs[:, place].tolist() for place, part in enumerate(self.parts)}

    def _powers(self) -> Any:
        return np.array(self.sizes, float)[:, None] ** np.array(list(self.parts.values()), float)

    def to_dict(self) -> dict[str, Any]:
        """Returns the measurements, the counts and the fit as a dict that JSON can hold."""
        return {
            "name": self.name,
            "letter": self.letter,
            "about": self.about,
            "unit": self.unit,
            "sizes": self.sizes,
            "costs": self.costs,
            "medians": self.medians(),
            "operations": self.operations,
            "exponent": self.exponent(),
            "exponents_between": self.exponents_between(),
            "parts": self.parts,
            "fit": self.fit(),
            "fitted": self.fitted(),
            "in_words": self.in_words(),
        }

    def table(self) -> str:
        """Formats a line for each size, and says below which part of the cost dominates at each end."""
        scale, unit = (1 / MEGABYTE, "MB") if self.unit == "bytes" else (1e3, "ms")
        fitted = self.fitted()
        # Elsewhere all kinds of work grow alike.
        shares = _shares(self.operations) if self.name == "length" else {}
        heads = [self.letter, unit, "(min - max)", "slope"] + ([] if fitted is None else [f"fitted {unit}"])
        rows = [[*heads, *shares]]
        for i, (size, costs) in enumerate(zip(self.sizes, self.costs, strict=True)):
            slope = self.exponents_between()[i - 1] if i > 0 else None
            row = [f"{size:,}", f"{scale * statistics.median(costs):.4g}"]
            row += [f"({scale * min(costs):.4g} - {scale * max(costs):.4g})" if len(costs) > 1 else ""]
            row += ["" if slope is None else f"{slope:.2f}"]
            row += [] if fitted is None else [f"{scale * sum(part[i] for part in fitted.values()):.4g}"]
            rows.append([*row, *(f"{share[i]:.1%}" for share in shares.values())])
        title = "growth of memory with length" if self.name == MEMORY else f"growth with {self.name}"
        return "\n".join([f"{title}: {self.about}", *aligned(rows), *self.in_words()])

    def in_words(self) -> list[str]:
        """Returns what the numbers say, in sentences: the slope, and the part that dominates at each end."""
        lines = [self.counted] if self.counted else []
        exponent = self.exponent()
        if exponent is None:
            return [*lines, f"Nothing was measured that grows from {self._end(0)} to {self._end(-1)}."]
        measured = f"Measured: like {self.letter}^{exponent:.2f} from {self._end(0)} to {self._end(-1)}"
        between = [slope for slope in self.exponents_between() if slope is not None]
        if len(between) > 1:
            measured += f", like {self.letter}^{between[0]:.2f} at the beginning and "
            measured += f"{self.letter}^{between[-1]:.2f} at the end"
        if self.name == MEMORY:
            measured += f": {_order(between[-1], self.letter)}"
        lines.append(f"{measured}.")
        fitted = self.fitted()
        if fitted is not None:
            shares = _shares(fitted)
            lines.append(f"Fitted: {self._largest(shares, 0)}, {self._largest(shares, -1)}.")
        return lines

    def _end(self, place: int) -> str:
        return f"{self.letter} = {self.sizes[place]:,}"

    def _largest(self, shares: dict[str, list[float]], place: int) -> str:
        part = max(shares, key=lambda name: shares[name][place])
        how = "stays the same" if self.parts[part] == 0 else f"goes like {_power(self.letter, self.parts[part])}"
        return f"at {self._end(place)} {shares[part][place]:.0%} is for {part} and {how}"


def _power(letter: str, power: int) -> str:
    return letter if power == 1 else f"{letter}^{power}"


def _shares(amounts: dict[str, list[float]]) -> dict[str, list[float]]:
    """Divides each amount by the sum of all at the same size."""
    sums = [sum(column) for column in zip(*amounts.values(), strict=True)]
    return {name: [one / whole for one, whole in zip(row, sums, strict=True)] for name, row in amounts.items()}


def _order(slope: float, letter: str) -> str:
    """Says whether a slope is that of a line or of a square."""
    if slope < 1.25:
        return f"linear in {letter}" if slope > 0.75 else "less than linear"
    return f"between linear and {letter}^2" if slope < 1.75 else f"{letter}^2, not linear"


@dataclass
class Growth:
    """The curves of one model.

    Attributes:
        curves: growth of the time with length, batch, layers and threads, and of the memory with length.
        notes: what could not be measured, and why.
    """

    curves: list[Curve] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def to_dict(self) -> dict[str, Any]:
        """Returns the curves as a dict that JSON can hold."""
        return {"curves": [curve.to_dict() for curve in self.curves], "notes": self.notes}

    def table(self) -> str:
        """Formats a table for each curve."""
        return "\n\n".join([*(curve.table() for curve in self.curves), *self.notes])


# --- what is counted ---------------------------------------------------------------------------------------------


def operations(config: BertConfig, batch: int, length: int) -> dict[str, float]:
    """Counts the operations of one forward of BertModel, in 10^9, by the kind of work.

    A multiply-add of a product counts as two. Element-wise are biases, residual sums, GELU, LayerNorm and softmax
    with all that is done to the scores before.
    """
    e, f = config.hidden_size, config.intermediate_size
    n, h = config.num_hidden_layers, config.num_attention_heads
    tokens, pairs = batch * length, batch * length**2
    biases_and_sums = 7 * e + f  # five layers with e outputs and one with f; two sums
    in_layer = biases_and_sums + 2 * LAYER_NORM * e + GELU * f
    in_embeddings = (2 + LAYER_NORM) * e
    return {
        LINEAR: 2e-9 * (n * tokens * (4 * e * e + 2 * e * f) + batch * e * e),
        ATTENTION: 2e-9 * n * pairs * 2 * e,
        ELEMENTWISE: 1e-9 * (tokens * (n * in_layer + in_embeddings) + n * pairs * SOFTMAX * h),
    }


def crossing(config: BertConfig) -> int:
    """Returns the length l at which attention's products are as many as those of the linear layers of a layer."""
    return 2 * config.hidden_size + config.intermediate_size  # tokens (4 e e + 2 e f) = pairs 2 e


def _counted(config: BertConfig, curve: Curve) -> str:
    """Says which kind of work has the most operations at each end of a curve, and how they grow."""
    shares = _shares(curve.operations)

    def most(place: int) -> str:
        kind = max(shares, key=lambda name: shares[name][place])
        return f"{shares[kind][place]:.0%} {kind} at {curve._end(place)}"

    counted = f"Counted operations: {most(0)}, {most(-1)}. "
    if curve.name == "length":
        return counted + (
            f"Up to l = 2e + f = {crossing(config):,} the products of the linear layers dominate: "
            "time grows like l; beyond it attention's, like l^2."
        )
    if curve.name == "threads":
        return counted + "They stay the same; shared by all threads without a wait, time goes like threads^-1."
    return (
        counted
        + f"All of them{', but for embeddings and pooler,' * (curve.name == 'layers')} grow like {curve.letter}."
    )


def doubled(first: int, last: int) -> list[int]:
    """Returns first and its doubles below last, and last."""
    sizes = []
    while first < last:
        sizes.append(first)
        first *= 2
    return [*sizes, last]


# --- what is measured --------------------------------------------------------------------------------------------


def measure_growth(
    config: BertConfig, longest: int, threads: int, rounds: int, seed: int, progress: bool = False
) -> Growth:
    """Measures forwards of BertModel under no_grad(): along each curve all sizes in turn, round by round.

    Args:
        longest: the largest l.
        threads: the largest number of threads.

    Raises:
        InputError: longest is outside the model's limits, or another process failed.
    """
    if not 2 <= longest <= config.max_position_embeddings:
        raise InputError(f"length is {longest}; for growth it can be 2 to {config.max_position_embeddings}")
    length = min(LENGTH, longest)
    growth = Growth()
    _measure_time(growth, config, longest, length, rounds, seed, progress)
    _measure_threads(growth, config, length, threads, rounds, seed, progress)
    _measure_memory(growth, config, _lengths(longest), seed, progress)
    return growth


def _lengths(longest: int) -> list[int]:
    return doubled(max(1, min(SHORTEST, longest // 4)), longest)


def _measure_time(
    growth: Growth, config: BertConfig, longest: int, length: int, rounds: int, seed: int, progress: bool
) -> None:
    """Measures the time with length, batch and layers, and adds the curves."""
    model = BertModel(config, seed=seed)

    def forward(its_model: BertModel, b: int, its_length: int) -> Callable[[], object]:
        return numbert_forward(its_model, make_workload(config, b, its_length, False, seed)).run

    def measure(curve: Curve, runs: list[Callable[[], object]], counts: list[dict[str, float]]) -> None:
        names = [f"{curve.letter} = {size}" for size in curve.sizes]
        seconds = in_turn(f"growth with {curve.name}", dict(zip(names, runs, strict=True)), rounds, progress)
        curve.costs = list(seconds.values())
        curve.operations = {kind: [count[kind] for count in counts] for kind in counts[0]}
        curve.counted = _counted(config, curve)
        growth.curves.append(curve)

    width = f"{config.hidden_size} wide, float32, no gradients"
    layers = f"{config.num_hidden_layers} layers"
    lengths = _lengths(longest)
    parts = {"every call": 0, "every token": 1, "every pair of tokens": 2}
    measure(
        Curve("length", "l", f"BertModel, {layers}, {width}, 1 x l tokens", lengths, [], parts),
        [forward(model, 1, size) for size in lengths],
        [operations(config, 1, size) for size in lengths],
    )
    batches = doubled(1, LARGEST_BATCH)
    parts = {"every call": 0, "every sequence": 1}
    measure(
        Curve("batch", "b", f"BertModel, {layers}, {width}, b x {length} tokens", batches, [], parts),
        [forward(model, b, length) for b in batches],
        [operations(config, b, length) for b in batches],
    )
    numbers = doubled(1, config.num_hidden_layers)
    configs = [dataclasses.replace(config, num_hidden_layers=n) for n in numbers]
    parts = {"embeddings and pooler": 0, "every layer": 1}
    measure(
        Curve("layers", "n", f"BertModel, n layers, {width}, 1 x {length} tokens", numbers, [], parts),
        [forward(BertModel(one, seed=seed), 1, length) for one in configs],
        [operations(one, 1, length) for one in configs],
    )


def _measure_threads(
    growth: Growth, config: BertConfig, length: int, threads: int, rounds: int, seed: int, progress: bool
) -> None:
    """Measures the time with 1 to so many threads, each number in a process that is told so as it starts."""
    numbers = doubled(1, threads)
    about = (
        f"BertModel, {config.num_hidden_layers} layers, {config.hidden_size} wide, "
        f"{SHARED_BATCH} x {length} tokens, float32, no gradients, OMP_NUM_THREADS = threads"
    )
    parts = {"what one thread does alone": 0, "what all threads share": -1}
    curve = Curve("threads", "threads", about, numbers, [], parts)
    with contextlib.ExitStack() as stack:
        runs = {
            f"{number} threads": stack.enter_context(
                forwards_elsewhere(config, SHARED_BATCH, length, seed, {"OMP_NUM_THREADS": str(number)})
            )
            for number in numbers
        }
        curve.costs = list(in_turn("growth with threads", runs, rounds, progress).values())
    counts = operations(config, SHARED_BATCH, length)
    curve.operations = {kind: [count] * len(numbers) for kind, count in counts.items()}
    curve.counted = _counted(config, curve)
    growth.curves.append(curve)


def _measure_memory(growth: Growth, config: BertConfig, lengths: list[int], seed: int, progress: bool) -> None:
    """Measures what a forward adds to the peak of the memory of a fresh process, once for each length."""
    about = (
        f"what the first forward of BertModel adds to the peak of a fresh process, "
        f"{config.num_hidden_layers} layers, {config.hidden_size} wide, 1 x l tokens, float32, no gradients"
    )
    curve = Curve(MEMORY, "l", about, lengths, [], {"every call": 0, "every token": 1, "every pair of tokens": 2})
    for length in lengths:
        if progress:
            say(f"growth of memory: l = {length}")
        with forwards_elsewhere(config, 1, length, seed) as run:
            before, peak = run()
        if before is None or peak is None:
            growth.notes.append("Growth of memory is absent: this system cannot tell how much a process has had.")
            return
        curve.costs.append([peak - before])
    growth.curves.append(curve)


# --- forwards in another process ---------------------------------------------------------------------------------


@contextlib.contextmanager
def forwards_elsewhere(
    config: BertConfig, batch: int, length: int, seed: int, environment: Mapping[str, str] | None = None
) -> Iterator[Callable[[], tuple[int | None, int | None]]]:
    """A context manager that gives a function which lets a fresh process do one forward of BertModel.

    The function returns the peak of that process's memory before its first forward, and now, in bytes; None if the
    system cannot tell. It raises an InputError if the process has failed, which ends with the last line of its
    stderr.

    Args:
        environment: variables that are different in that process.
    """
    command = [sys.executable, "-c", f"from {__name__} import serve; serve()"]
    with subprocess.Popen(
        command,
        env={**os.environ, **(environment or {})},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stderr is not None
        question, answers, errors = process.stdin, process.stdout, process.stderr

        def ask(line: str) -> int | None:
            with contextlib.suppress(BrokenPipeError):  # what it says on stderr tells more
                question.write(f"{line}\n")
                question.flush()
            if answer := answers.readline():
                return json.loads(answer)
            why = (errors.read().strip() or f"exit code {process.wait()}").splitlines()[-1]
            raise InputError(f"the process that was to do a forward failed: {why}")

        try:
            before = ask(json.dumps([config.to_dict(), batch, length, seed]))
            yield lambda: (before, ask(""))
        finally:
            process.kill()


def serve() -> None:
    """Reads sizes from the first line of stdin, and does a forward for each further line.

    It prints the peak of this process's memory as soon as the model is made, and after each forward. This is what
    the fresh process of `forwards_elsewhere` runs.
    """
    fields, batch, length, seed = json.loads(sys.stdin.readline())
    config = BertConfig.from_dict(fields)
    run = numbert_forward(BertModel(config, seed=seed), make_workload(config, batch, length, False, seed)).run
    print(json.dumps(_peak()), flush=True)
    for _ in sys.stdin:
        run()
        print(json.dumps(_peak()), flush=True)


def _peak() -> int | None:
    try:
        return peak_memory()
    except InputError:
        return None
