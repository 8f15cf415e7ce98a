"""Measuring what one more token costs a decoder, after few tokens and after many, with the cache and without."""

from __future__ import annotations

import dataclasses
import statistics
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from numbert.bench.profile import Clock, watched
from numbert.bench.race import aligned, compare, in_turn
from numbert.bert.cache import room_of
from numbert.bert.tasks.causal import BertLMHeadModel
from numbert.config import BertConfig
from numbert.nn.array import Array
from numbert.nn.switches import no_grad

WRITTEN = (16, 128)  # and as many as there can be


@dataclass
class TokenCost:
    """What one more token of each text costs, in seconds of each round.

    Attributes:
        written: the number of tokens before it.
        cached: the whole step, with the cache.
        attention: of it, what works on the keys and values of all tokens: appending to the cache, scores, softmax
            and context.
        again: the last token's scores from all tokens at once, without a cache.
        difference: the largest absolute difference between the scores with the cache and without.
    """

    written: int
    difference: float
    cached: list[float] = field(default_factory=list)
    attention: list[float] = field(default_factory=list)
    again: list[float] = field(default_factory=list)

    def to_dict(self) -> dict[str, Any]:
        """Returns the medians as a dict that JSON can hold."""
        cached, attention = statistics.median(self.cached), statistics.median(self.attention)
        rest = statistics.median(a - b for a, b in zip(self.cached, self.attention, strict=True))
        return {
            "written": self.written,
            "cached_seconds": cached,
            "attention_seconds": attention,
            "rest_seconds": rest,
            "without_cache_seconds": statistics.median(self.again),
            "largest_difference": self.difference,
        }


@dataclass
class Decoding:
    """What one more token costs after more and more tokens.

    Attributes:
        about: what was computed, as a sentence.
    """

    about: str
    costs: list[TokenCost]

    def to_dict(self) -> dict[str, Any]:
        """Returns the medians as a dict that JSON can hold."""
        return {"about": self.about, "costs": [cost.to_dict() for cost in self.costs]}

    def table(self) -> str:
        """Formats the medians as a table, a line for each number of tokens."""
        rows = [["tokens written", "ms, with the cache", "attention", "all else", "ms, without", "without / with"]]
        for cost in self.costs:
            one = cost.to_dict()
            ratio = one["without_cache_seconds"] / one["cached_seconds"]
            names = ("cached_seconds", "attention_seconds", "rest_seconds", "without_cache_seconds")
            rows.append([str(cost.written), *(f"{1e3 * one[name]:.1f}" for name in names), f"{ratio:.1f}"])
        difference = max(cost.difference for cost in self.costs)
        notes = [
            "Attention is what works on the keys of all tokens: appending to the cache, scores, softmax, context.",
            f"The scores with the cache and without differ by at most {difference:.1e}.",
        ]
        return "\n".join([f"decode: {self.about}", *aligned(rows), *notes])


def take_back(past: Any) -> None:
    """Frees the place of what was appended to a cache, so that the next step need not copy it."""
    for array in (array for layer in past or () for array in layer):
        if (room := room_of(array)) is not None:
            room.written = array.shape[2]


def measure_decoding(
    about: str, config: BertConfig, ids: Array, rounds: int, seed: int, progress: bool = False
) -> Decoding:
    """Times one step of BertLMHeadModel after 16 and 128 tokens, and after all of ids [b,l] but the last.

    Args:
        about: what is computed, for the table.
        ids: integers [b,l], the texts.

    Raises:
        RuntimeError: the scores with the cache and without differ by more than float32 rounding.
    """
    model = BertLMHeadModel(dataclasses.replace(config, is_decoder=True), seed=seed).eval()
    clock = Clock()

    def cached(written: int, past: Any) -> Array:
        """The next token's scores [b,1,v], from the last token alone."""
        scores: Array = model(ids[:, written : written + 1], past_key_values=past).logits
        return scores

    def again(written: int) -> Array:
        """The same from all tokens."""
        states = model.bert(ids[:, : written + 1], use_cache=False).last_hidden_state
        scores: Array = model.cls(states[:, -1:])
        return scores

    def cache_of(written: int) -> Any:
        """As it is in the midst of a text: the last token was appended to those before it."""
        past = None
        for part in (slice(0, written - 1), slice(written - 1, written)):
            if ids[:, part].size:
                past = model(ids[:, part], past_key_values=past).past_key_values
        return past

    def timed(cost: TokenCost, past: Any) -> None:
        with watched(model, clock):
            clock.restart()
            cached(cost.written, past)
        take_back(past)
        cost.attention.append(sum(s for kind, s in clock.seconds.items() if kind.startswith("attention: ")))

    costs: list[TokenCost] = []
    runs: dict[str, Callable[[], object]] = {}
    with no_grad():
        last = ids.shape[1] - 1
        for written in [*(one for one in WRITTEN if one < last), last]:
            past = cache_of(written) if written else None
            difference = compare(
                "itself without a cache", {"scores": cached(written, past)}, {"scores": again(written)}
            )
            take_back(past)
            costs.append(TokenCost(written, difference))
            runs[f"{written} written, with the cache"] = partial(timed, costs[-1], past)
            runs[f"{written} written, without"] = partial(again, written)
        seconds = list(in_turn("decode", runs, rounds, progress).values())
    for cost, with_cache, without in zip(costs, seconds[::2], seconds[1::2], strict=True):
        cost.cached, cost.again = with_cache, without
        del cost.attention[0]  # the round that does not count
    return Decoding(about, costs)
