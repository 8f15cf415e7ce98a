"""Measuring how much time each kind of layer takes: hooks tell when each layer has finished."""

from __future__ import annotations

import contextlib
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from numbert.bench.race import PRODUCTS, aligned, in_turn
from numbert.nn.activations import Activation
from numbert.nn.attention import AttentionContext, AttentionMask, AttentionProbs, AttentionScores
from numbert.nn.layers import Dropout, Embedding, LayerNorm, Linear
from numbert.nn.losses import CrossEntropyLoss
from numbert.nn.module import Module

# The kind of work that a layer's time counts as. What the layers of layers do between, residual sums, heads apart
# and together, checks, is the rest.
KINDS: dict[type[Module], str] = {
    Linear: "linear layers",
    Embedding: "embeddings",
    LayerNorm: "layer norm",
    Dropout: "dropout",
    Activation: "activation",
    AttentionScores: "attention: scores",
    AttentionMask: "attention: mask",
    AttentionProbs: "attention: softmax",
    AttentionContext: "attention: context",
    CrossEntropyLoss: "cross-entropy",
}
REST = "the rest"
BETWEEN = "outside the model: clipping, AdamW, zero_grad"


def kind_of(module: Module) -> str:
    """Returns the kind of work that a layer does."""
    return next((kind for cls, kind in KINDS.items() if isinstance(module, cls)), REST)


class Clock:
    """A clock that adds the time since its last reading to one kind of work.

    Attributes:
        seconds: the time of each kind of work so far.
    """

    def __init__(self) -> None:
        self.restart()

    def restart(self) -> None:
        """Sets all times to 0 and starts anew."""
        self.seconds: dict[str, float] = {}
        self.since = time.perf_counter()

    def count(self, kind: str) -> None:
        """Adds the time since the last reading to that kind."""
        now = time.perf_counter()
        self.seconds[kind] = self.seconds.get(kind, 0.0) + now - self.since
        self.since = now


@contextlib.contextmanager
def watched(model: Module, clock: Clock) -> Iterator[None]:
    """A context manager within which every layer of the model adds its time to the clock when it has finished.

    In forward, the time between the end of one layer and the beginning of the next counts for the next; in
    backward, where a layer's beginning can be seen, it counts as the rest.
    """

    def after_forward(module: Module, inputs: Any, output: Any) -> None:
        clock.count(f"{kind_of(module)}, forward")

    def before_backward(module: Module, d_outputs: Any) -> None:
        clock.count(f"{REST}, backward")

    def after_backward(module: Module, d_outputs: Any, d_inputs: Any) -> None:
        clock.count(f"{kind_of(module)}, backward")

    with contextlib.ExitStack() as stack:
        for module in model.modules():
            stack.enter_context(module.register_forward_hook(after_forward))
            stack.enter_context(module.register_backward_pre_hook(before_backward))
            stack.enter_context(module.register_backward_hook(after_backward))
        yield


@dataclass
class Profile:
    """How the time of one workload is divided among kinds of work.

    Attributes:
        name, about: its short name; what was computed, as a sentence.
        gflop: the number of floating-point operations in its products, in 10^9.
        rounds: for each round, the seconds of each kind of work.
        products: the seconds of np.matmul for the same products and nothing else in each round.
    """

    name: str
    about: str
    gflop: float
    rounds: list[dict[str, float]] = field(default_factory=list)
    products: list[float] = field(default_factory=list)

    def seconds(self) -> dict[str, float]:
        """Returns the median seconds of each kind of work, longest first."""
        kinds = dict.fromkeys(kind for one in self.rounds for kind in one)
        medians = {kind: statistics.median(one.get(kind, 0.0) for one in self.rounds) for kind in kinds}
        return dict(sorted(medians.items(), key=lambda item: -item[1]))

    def to_dict(self) -> dict[str, Any]:
        """Returns the medians as a dict that JSON can hold."""
        return {
            "name": self.name,
            "about": self.about,
            "gflop": self.gflop,
            "seconds": self.seconds(),
            "products_seconds": statistics.median(self.products),
        }

    def table(self) -> str:
        """Formats the medians as a table, a line for each kind of work."""
        seconds = self.seconds()
        total = sum(seconds.values())
        rows = [["", "ms", "share"]]
        rows += [[kind, f"{1e3 * value:.1f}", f"{value / total:.1%}"] for kind, value in seconds.items()]
        rows.append(["all", f"{1e3 * total:.1f}", "100.0%"])
        alone = statistics.median(self.products)
        products = (
            f"The products alone, {self.gflop:.4g} GFLOP, take np.matmul {1e3 * alone:.1f} ms "
            f"({alone / total:.1%}), {self.gflop / alone:.1f} GFLOP/s."
        )
        return "\n".join([f"profile of {self.name}: {self.about}", *aligned(rows), products])


def profile(
    name: str,
    about: str,
    gflop: float,
    model: Module,
    run: Callable[[], object],
    products: Callable[[], object],
    rounds: int,
    progress: bool = False,
) -> Profile:
    """Runs one workload of a model `rounds` times and sorts its time by kind of work.

    Args:
        products: a function that does the products of the workload and nothing else.
    """
    result = Profile(name, about, gflop)
    clock = Clock()

    def one_round() -> None:
        clock.restart()
        run()
        clock.count(BETWEEN)
        result.rounds.append(clock.seconds)

    with watched(model, clock):
        seconds = in_turn("profile", {name: one_round, PRODUCTS: products}, rounds, progress)
    del result.rounds[0]  # the round that does not count
    result.products = seconds[PRODUCTS]
    return result
