"""Where numbert's time goes, per kind of layer: hooks tell when each layer has finished."""

from __future__ import annotations

import contextlib
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from numbert.bench.race import MATMUL, MATMUL_GFLOP, aligned, in_turn, matmul_run
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
BETWEEN = "outside the model: AdamW, zero_grad"


def kind_of(module: Module) -> str:
    """The kind of work that a layer does."""
    return next((kind for cls, kind in KINDS.items() if isinstance(module, cls)), REST)


class Clock:
    """Counts the time since it was last asked for one kind of work.

    Attributes:
        seconds: what each kind has had so far.
    """

    def __init__(self) -> None:
        self.restart()

    def restart(self) -> None:
        self.seconds: dict[str, float] = {}
        self.since = time.perf_counter()

    def count(self, kind: str) -> None:
        """Counts the time since the latest count for that kind."""
        now = time.perf_counter()
        self.seconds[kind] = self.seconds.get(kind, 0.0) + now - self.since
        self.since = now


@contextlib.contextmanager
def watched(model: Module, clock: Clock) -> Iterator[None]:
    """Within it, every layer of the model counts its time on the clock when it has finished.

    In forward, what was done between the layer before and this one counts as this one's; in backward, where a
    layer's beginning can be seen, as the rest.
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
    """Where the time of one workload goes.

    Attributes:
        gflop: 10^9 floating-point operations in its products.
        rounds: the seconds of each kind of work, for each round.
        matmul: GFLOP/s of np.matmul in float32, in each round.
    """

    name: str
    about: str
    gflop: float
    rounds: list[dict[str, float]] = field(default_factory=list)
    matmul: list[float] = field(default_factory=list)

    def seconds(self) -> dict[str, float]:
        """The median seconds of each kind of work, longest first."""
        kinds = dict.fromkeys(kind for one in self.rounds for kind in one)
        medians = {kind: statistics.median(one.get(kind, 0.0) for one in self.rounds) for kind in kinds}
        return dict(sorted(medians.items(), key=lambda item: -item[1]))

    def products(self) -> float:
        """Seconds that the products alone would take at np.matmul's speed."""
        return self.gflop / statistics.median(self.matmul)

    def to_dict(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "about": self.about,
            "gflop": self.gflop,
            "seconds": self.seconds(),
            "matmul_gflops": statistics.median(self.matmul),
            "products_at_matmul_speed_seconds": self.products(),
        }

    def table(self) -> str:
        seconds = self.seconds()
        total = sum(seconds.values())
        rows = [["", "ms", "share"]]
        rows += [[kind, f"{1e3 * value:.1f}", f"{value / total:.1%}"] for kind, value in seconds.items()]
        rows.append(["all", f"{1e3 * total:.1f}", "100.0%"])
        products = (
            f"The products alone, {self.gflop:.0f} GFLOP, would take {1e3 * self.products():.1f} ms "
            f"({self.products() / total:.1%}) at np.matmul's {statistics.median(self.matmul):.1f} GFLOP/s."
        )
        return "\n".join([f"profile of {self.name}: {self.about}", *aligned(rows), products])


def profile(
    name: str,
    about: str,
    gflop: float,
    model: Module,
    run: Callable[[], object],
    rounds: int,
    progress: bool = False,
) -> Profile:
    """Runs one workload of a model `rounds` times and sorts its time by kind of work."""
    result = Profile(name, about, gflop)
    clock = Clock()

    def one_round() -> None:
        clock.restart()
        run()
        clock.count(BETWEEN)
        result.rounds.append(clock.seconds)

    with watched(model, clock):
        seconds = in_turn("profile", {name: one_round, MATMUL: matmul_run()}, rounds, progress)
    del result.rounds[0]  # the round that does not count
    result.matmul = [MATMUL_GFLOP / one for one in seconds[MATMUL]]
    return result
