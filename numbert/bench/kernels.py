"""Timing the fast forms of numbert.nn.functional beside the plain ones."""

from __future__ import annotations

import statistics
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from numbert.bench.race import aligned, compare, in_turn
from numbert.config import BertConfig
from numbert.nn import functional
from numbert.nn.array import Array

EPS = 1e-12


@dataclass
class KernelTiming:
    """The times of one function.

    Attributes:
        name: the function's name.
        shape: the shape of its first array.
        fast, plain: nanoseconds for each element of that array, in each round.
        difference: the largest absolute difference between the results of the two forms.
    """

    name: str
    shape: tuple[int, ...]
    fast: list[float]
    plain: list[float]
    difference: float

    def to_dict(self) -> dict[str, Any]:
        """Returns the medians as a dict that JSON can hold."""
        return {
            "name": self.name,
            "shape": list(self.shape),
            "ns_per_element": statistics.median(self.fast),
            "plain_ns_per_element": statistics.median(self.plain),
            "largest_difference": self.difference,
        }


def time_kernels(
    config: BertConfig, batch: int, length: int, rounds: int, seed: int, progress: bool = False
) -> list[KernelTiming]:
    """Times each function, in float32, on arrays of the size that they have in a model.

    Raises:
        RuntimeError: a fast form and its plain form differ by more than rounding.
    """
    b, h, e, f = batch, config.num_attention_heads, config.hidden_size, config.intermediate_size
    rng = np.random.default_rng(seed)

    def draw(*shape: int) -> Array:
        return rng.standard_normal(shape, dtype=np.float32)

    x, d_x = draw(b, length, f), draw(b, length, f)
    scores, d_probs = draw(b, h, length, length), draw(b, h, length, length)
    hidden, d_hidden, weight, bias = draw(b, length, e), draw(b, length, e), draw(e), draw(e)
    probs = functional.softmax(scores)
    _, normalized, inverse_std = functional.layer_norm(hidden, weight, bias, EPS)
    query, key = (draw(b, h, length, config.attention_head_size) for _ in range(2))
    table = draw(2 * config.max_position_embeddings - 1, config.attention_head_size)
    logits, labels = draw(b * length, e), rng.integers(0, e, b * length)
    # The arguments of each function; the first array is the one whose elements are counted.
    calls: dict[str, tuple[Any, ...]] = {
        "gelu": (x,),
        "gelu_backward": (d_x, x),
        "gelu_tanh": (x,),
        "gelu_tanh_backward": (d_x, x),
        "silu": (x,),
        "softmax": (scores,),
        "softmax_backward": (d_probs, probs),
        "layer_norm": (hidden, weight, bias, EPS),
        "layer_norm_backward": (d_hidden, normalized, inverse_std, weight),
        "relative_scores": (query, key, table, length),
        "relative_scores_backward": (d_probs, query, key, table),
        "cross_entropy": (logits, labels),
    }
    timings = []
    for name, arguments in calls.items():
        fast = partial(getattr(functional, name), *arguments)
        plain = partial(getattr(functional, f"{name}_plain"), *arguments)
        difference = compare("its plain form", _named(fast()), _named(plain()))
        seconds = in_turn(name, {"fast": fast, "plain": plain}, rounds, progress)
        ns = {form: [1e9 * s / arguments[0].size for s in times] for form, times in seconds.items()}
        timings.append(KernelTiming(name, arguments[0].shape, ns["fast"], ns["plain"], difference))
    return timings


def _named(result: Any) -> dict[str, Array]:
    """Returns what a function returned, one array or several, by its place."""
    return {str(place): array for place, array in enumerate(result if isinstance(result, tuple) else (result,))}


def kernels_table(timings: list[KernelTiming]) -> str:
    """Formats the timings as a table, a line for each function."""
    rows = [["", "shape", "fast", "plain", "plain / fast", "largest difference"]]
    for one in timings:
        fast, plain = statistics.median(one.fast), statistics.median(one.plain)
        shape = " x ".join(map(str, one.shape))
        times = [f"{fast:.2f}", f"{plain:.2f}", f"{plain / fast:.1f}"]
        rows.append([one.name, shape, *times, f"{one.difference:.1e}"])
    about = "kernels: ns per element of the fast forms, and of the plain ones above them"
    return "\n".join([about, *aligned(rows)])
