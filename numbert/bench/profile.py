"""Where numbert's time goes, per kind of work: its functions are wrapped from outside while a profile runs."""

from __future__ import annotations

import contextlib
import functools
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from numbert.bench.race import MATMUL, MATMUL_GFLOP, aligned, in_turn, matmul_run
from numbert.bert import attention as bert_attention
from numbert.bert import heads, model
from numbert.bert.tasks import pretraining
from numbert.nn import activations, functional, layers
from numbert.train import optimizer

BETWEEN = "zero_grad and the caller"

# Each function and the kind of work that its own time counts as; the time of a function it calls counts as that
# one's. What is left of the model's forward and backward is residual sums, checks, and glue.
PLACES: list[tuple[Any, str, str]] = [
    (layers.Linear, "forward", "linear layers"),
    (layers.Linear, "backward", "linear layers, backward"),
    (bert_attention, "attention", "attention: products, scale, mask, dropout"),
    (bert_attention, "attention_backward", "attention, backward: products, scale, dropout"),
    (bert_attention.BertSelfAttention, "transpose_for_scores", "attention: heads apart and together"),
    (bert_attention.BertSelfAttention, "transpose_from_scores", "attention: heads apart and together"),
    (functional, "softmax", "softmax"),
    (functional, "softmax_backward", "softmax, backward"),
    (activations.Activation, "forward", "activation"),
    (activations.Activation, "backward", "activation, backward"),
    (layers.LayerNorm, "forward", "layer norm"),
    (layers.LayerNorm, "backward", "layer norm, backward"),
    (layers.Dropout, "draw", "dropout: random numbers"),
    (layers.Dropout, "forward", "dropout: products"),
    (layers.Dropout, "backward", "dropout: products"),
    (layers.Embedding, "forward", "embeddings"),
    (layers.Embedding, "backward", "embeddings, backward"),
    (heads, "cross_entropy", "cross-entropy"),
    (heads, "cross_entropy_backward", "cross-entropy, backward"),
    (pretraining, "cross_entropy", "cross-entropy"),
    (pretraining, "cross_entropy_backward", "cross-entropy, backward"),
    (optimizer.AdamW, "step", "optimizer"),
    (model.BertModel, "forward", "the rest of forward"),
    (model.BertModel, "backward", "the rest of backward"),
    (pretraining.BertForPreTraining, "forward", "the rest of forward"),
    (pretraining.BertForPreTraining, "backward", "the rest of backward"),
]


class Clock:
    """Counts time for the kind of work whose function was entered last and not left yet.

    Attributes:
        seconds: what each kind has had so far.
    """

    def __init__(self) -> None:
        self.kinds = [BETWEEN]
        self.restart()

    def restart(self) -> None:
        self.seconds: dict[str, float] = {}
        self.since = time.perf_counter()

    def count(self) -> None:
        """Counts the time since the latest count for the kind that is being worked on."""
        now = time.perf_counter()
        self.seconds[self.kinds[-1]] = self.seconds.get(self.kinds[-1], 0.0) + now - self.since
        self.since = now

    def timed(self, function: Callable[..., Any], kind: str) -> Callable[..., Any]:
        """The function, which now counts its time as that kind."""

        @functools.wraps(function)
        def wrapper(*args: Any, **options: Any) -> Any:
            self.count()
            self.kinds.append(kind)
            try:
                return function(*args, **options)
            finally:
                self.count()
                self.kinds.pop()

        return wrapper


@contextlib.contextmanager
def wrapped(clock: Clock) -> Iterator[None]:
    """Within it, every function in PLACES counts its time on the clock."""
    originals = [(owner, name, getattr(owner, name)) for owner, name, _ in PLACES]
    try:
        for owner, name, kind in PLACES:
            setattr(owner, name, clock.timed(getattr(owner, name), kind))
        yield
    finally:
        for owner, name, function in originals:
            setattr(owner, name, function)


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
    name: str, about: str, gflop: float, run: Callable[[], object], rounds: int, progress: bool = False
) -> Profile:
    """Runs one workload of numbert's `rounds` times and sorts its time by kind of work."""
    result = Profile(name, about, gflop)
    clock = Clock()

    def one_round() -> None:
        clock.restart()
        run()
        clock.count()
        result.rounds.append(clock.seconds)

    with wrapped(clock):
        seconds = in_turn("profile", {name: one_round, MATMUL: matmul_run()}, rounds, progress)
    del result.rounds[0]  # the round that does not count
    result.matmul = [MATMUL_GFLOP / one for one in seconds[MATMUL]]
    return result
