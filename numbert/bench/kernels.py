"""The kernels that work in blocks of rows, beside the plain lines that they stand for."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from numbert.bench.race import aligned, compare, in_turn
from numbert.config import BertConfig
from numbert.nn.activations import SQRT_HALF, gelu, gelu_backward
from numbert.nn.array import Array
from numbert.nn.functional import layer_norm, softmax

EPS = 1e-12


@dataclass
class KernelTiming:
    """One kernel: ns for each element in blocks and plain, in each round; the largest difference of the two."""

    name: str
    shape: tuple[int, ...]
    blocked: list[float]
    plain: list[float]
    difference: float

    def to_dict(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "shape": list(self.shape),
            "ns_per_element": statistics.median(self.blocked),
            "plain_ns_per_element": statistics.median(self.plain),
            "largest_difference": self.difference,
        }


def time_kernels(
    config: BertConfig, batch: int, length: int, rounds: int, seed: int, progress: bool = False
) -> list[KernelTiming]:
    """Times each kernel on an array of the size that it has in a model.

    Raises:
        RuntimeError: a kernel and its plain form differ by more than rounding.
    """
    b, h, e, f = batch, config.num_attention_heads, config.hidden_size, config.intermediate_size
    rng = np.random.default_rng(seed)

    def draw(*shape: int) -> Array:
        return rng.standard_normal(shape, dtype=np.float32)

    x, d_x = draw(b, length, f), draw(b, length, f)
    scores = draw(b, h, length, length)
    hidden, weight, bias = draw(b, length, e), draw(e), draw(e)
    forms: dict[str, tuple[Array, Callable[[], Array], Callable[[], Array]]] = {
        "gelu": (x, lambda: gelu(x), lambda: plain_gelu(x)),
        "gelu_backward": (x, lambda: gelu_backward(d_x, x), lambda: plain_gelu_backward(d_x, x)),
        "softmax": (scores, lambda: softmax(scores), lambda: plain_softmax(scores)),
        "layer_norm": (
            hidden,
            lambda: layer_norm(hidden, weight, bias, EPS)[0],
            lambda: plain_layer_norm(hidden, weight, bias),
        ),
    }
    timings = []
    for name, (array, blocked, plain) in forms.items():
        difference = compare("its plain form", {name: blocked()}, {name: plain()})
        seconds = in_turn(name, {"blocked": blocked, "plain": plain}, rounds, progress)
        ns = {form: [1e9 * s / array.size for s in times] for form, times in seconds.items()}
        timings.append(KernelTiming(name, array.shape, ns["blocked"], ns["plain"], difference))
    return timings


def kernels_table(timings: list[KernelTiming]) -> str:
    rows = [["", "shape", "blocks", "plain", "plain / blocks", "largest difference"]]
    for one in timings:
        blocked, plain = statistics.median(one.blocked), statistics.median(one.plain)
        shape = " x ".join(map(str, one.shape))
        times = [f"{blocked:.2f}", f"{plain:.2f}", f"{plain / blocked:.1f}"]
        rows.append([one.name, shape, *times, f"{one.difference:.1e}"])
    about = "kernels: ns per element in blocks of rows, and of the plain lines that they stand for"
    return "\n".join([about, *aligned(rows)])


# --- the plain forms: one line of mathematics, each step over the whole array ------------------------------------


def plain_gelu(x: Array) -> Array:
    from scipy.special import erf

    return 0.5 * x * (1 + erf(x * SQRT_HALF))


def plain_gelu_backward(d_output: Array, x: Array) -> Array:
    from scipy.special import erf

    return d_output * (0.5 * (1 + erf(x * SQRT_HALF)) + x * np.exp(-0.5 * x * x) / math.sqrt(2 * math.pi))


def plain_softmax(x: Array) -> Array:
    exp = np.exp(x - x.max(axis=-1, keepdims=True))
    return exp / exp.sum(axis=-1, keepdims=True)


def plain_layer_norm(x: Array, weight: Array, bias: Array) -> Array:
    mean, variance = x.mean(axis=-1, keepdims=True), x.var(axis=-1, keepdims=True)
    return (x - mean) / np.sqrt(variance + EPS) * weight + bias
