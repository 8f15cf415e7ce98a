"""Racing a decoder that writes with its cache: tokens a second, numbert's beside torch's."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np

from numbert.bench import peers
from numbert.bench.race import Absent, Contestant, Race, hold
from numbert.bench.races import sizes
from numbert.bert.tasks.causal import BertLMHeadModel
from numbert.config import BertConfig
from numbert.nn.array import Array
from numbert.nn.switches import no_grad

PROMPT, NEW = 16, 64  # tokens that are read at once, and at most as many that follow one by one


def writing_race(config: BertConfig, ids: Array, rounds: int, seed: int, progress: bool) -> Race:
    """Races BertLMHeadModel: it reads the beginning of each text, then one token after the other with the cache.

    The tokens are given, so that all contestants compute the same; their scores for the next token are compared.

    Args:
        ids: integers [b,l], the texts.

    Raises:
        RuntimeError: the scores differ by more than float32 rounding.
    """
    read = min(PROMPT, (ids.shape[1] + 1) // 2)
    ids = ids[:, : read + NEW]
    written = ids.shape[1] - read
    about = (
        f"{len(ids)} texts by BertLMHeadModel with its cache, {read} tokens read and {written} written, "
        f"{sizes(config)}, float32, no gradients"
    )
    race = Race("decode", about, len(ids) * written, "tokens")
    race.notes.append("tokens/s counts those that are written; the time has the reading in it.")
    model = BertLMHeadModel(dataclasses.replace(config, is_decoder=True), seed=seed).eval()

    def ours() -> list[Array]:
        with no_grad():
            return _scores(model, ids, read)

    contestants = [_contestant("numbert", ours, np.asarray)]
    try:
        for attention, their in peers.torch_models(model).items():
            name = peers.named(peers.TORCH, attention)
            run = _torch_writing(their, ids, read)
            contestants.append(_contestant(name, run, lambda scores: scores.numpy()))
            race.forms.setdefault(peers.TORCH, []).append(name)
    except Absent as absent:
        race.absent[peers.TORCH] = str(absent)
    return hold(race, contestants, rounds, progress)


def _torch_writing(model: Any, ids: Array, read: int) -> Callable[[], list[Any]]:
    torch = peers.imported("torch")
    tensor = peers.tensors({"ids": ids})["ids"]

    def run() -> list[Any]:
        with torch.no_grad():
            return _scores(model, tensor, read)

    return run


def _scores(model: Any, ids: Any, read: int) -> list[Any]:
    """Returns the scores [b,v] of what follows the beginning and each token after it; for either library."""
    outputs = model(ids[:, :read], use_cache=True)
    scores = [outputs.logits[:, -1]]
    cache = "cache" if hasattr(outputs, "cache") else "past_key_values"  # renamed in the releases 5
    for place in range(read, ids.shape[1]):
        outputs = model(ids[:, place : place + 1], use_cache=True, **{cache: getattr(outputs, cache)})
        scores.append(outputs.logits[:, -1])
    return scores


def _contestant(name: str, run: Callable[[], list[Any]], as_array: Callable[[Any], Array]) -> Contestant:
    return Contestant(name, lambda: {"scores": np.stack([as_array(one) for one in run()])}, run)
