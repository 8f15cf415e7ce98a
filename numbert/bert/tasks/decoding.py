"""How the next tokens are chosen: greedily, by sampling, or by beam search."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from numbert.bert.heads import BertOnlyMLMHead
from numbert.bert.inputs import as_array
from numbert.bert.model import BertModel
from numbert.errors import InputError, above, as_integer, as_real, shown
from numbert.nn.array import Array
from numbert.nn.functional import softmax

NOT_BEGUN = -1e9  # the log-probability of a beam that does not exist yet; the published number


class NextLogits:
    """Computes the logits of each row's next token, with a cache or without.

    Args:
        mask: [b,l], 1 for the tokens of the prompts and 0 for the padding before them.
        use_cache: False computes all tokens anew each time.
        cross: what the model looks at besides, by the names of its inputs; the first axis of each is b.
    """

    def __init__(
        self, bert: BertModel, cls: BertOnlyMLMHead, mask: Array, use_cache: bool, cross: dict[str, Array]
    ) -> None:
        self.bert, self.cls = bert, cls
        self.mask = mask
        self.use_cache = use_cache
        self.cross = cross
        self.past: Any = None  # a tuple of n tuples of arrays [b,h,r,d]

    def __call__(self, ids: Array) -> Array:
        """All tokens so far, integers [b,l] -> [b,v] in float64.

        Raises:
            InputError: the logits are no finite numbers.
        """
        written = ids.shape[1] - self.mask.shape[1]
        mask = np.pad(self.mask, ((0, 0), (0, written)), constant_values=1)  # [b,l]
        position_ids = np.maximum(np.cumsum(mask, axis=1) - 1, 0)  # 0 for each text's first token
        start = 0 if self.past is None else ids.shape[1] - 1
        outputs = self.bert(
            ids[:, start:],
            mask,
            position_ids=position_ids[:, start:],
            past_key_values=self.past,
            use_cache=self.use_cache,
            return_dict=True,
            **self.cross,
        )
        self.past = outputs.past_key_values
        last = outputs.last_hidden_state[:, -1]  # [b,l,e] -> [b,e]
        logits = self.cls(last).real.astype(np.float64)  # [b,e] -> [b,v]
        if not np.isfinite(logits).all():
            raise InputError("the model's scores are no finite numbers; its weights may be damaged")
        return logits

    def take(self, rows: Array) -> None:
        """Goes on with these rows, by their numbers: other ones, in another order, or several times the same."""
        self.mask = self.mask[rows]
        self.cross = {name: array[rows] for name, array in self.cross.items()}
        if self.past is not None:
            self.past = tuple(tuple(array[rows] for array in layer) for layer in self.past)


def checked_sampling(temperature: Any, top_k: Any, top_p: Any) -> tuple[float, int | None, float | None]:
    """Returns the settings of `sampling_probs` as numbers.

    Raises:
        InputError: temperature or top_k is not above 0, or top_p is not above 0 and at most 1.
    """
    temperature = as_real("temperature", temperature)
    if temperature == 0:
        raise InputError("temperature is 0; do_sample=False always takes the most probable token")
    above("temperature", temperature, 0)
    if top_k is not None:
        top_k = as_integer("top_k", top_k)
        if top_k < 1:
            raise InputError(f"top_k is {shown(top_k)}; it must be at least 1, or None for all pieces")
    if top_p is not None:
        top_p = as_real("top_p", top_p)
        if not 0 < top_p <= 1:
            raise InputError(f"top_p is {shown(top_p)}; it must be above 0 and at most 1")
    return temperature, top_k, top_p


def sampling_probs(
    logits: ArrayLike, temperature: float = 1.0, top_k: int | None = None, top_p: float | None = None
) -> Array:
    """Returns the probabilities from which a token is drawn, in float64. [..., v] -> [..., v].

    The three settings are applied one after the other, in this order.

    Args:
        logits: a score for each piece.
        temperature: the logits are divided by it: below 1 the probable pieces become more probable, above 1 all
            become more alike.
        top_k: only the k most probable pieces are kept, with any that are as probable as the last of them; None
            for all.
        top_p: of these only the most probable pieces are kept, as many as are needed for their sum to reach top_p;
            None for all.

    Raises:
        InputError: the logits are no numbers, or a setting is outside its limits.
    """
    temperature, top_k, top_p = checked_sampling(temperature, top_k, top_p)
    scores = as_array("logits", logits)
    if not scores.ndim or not scores.size or scores.dtype.kind not in "biufc":
        raise InputError(f"logits is {shown(logits)}; it must be numbers [..., v]")
    scores = scores.real.astype(np.float64)
    scores = scores - scores.max(axis=-1, keepdims=True)  # softmax stays the same, and 0 / temperature is 0
    with np.errstate(over="ignore"):  # to minus infinity, whose probability is 0
        scores = scores / temperature
    if top_k is not None and top_k < scores.shape[-1]:
        least = np.partition(scores, -top_k, axis=-1)[..., -top_k, None]  # the k-th largest
        scores = np.where(scores < least, -np.inf, scores)
    probs = softmax(scores)
    if top_p is not None and top_p < 1:
        order = np.argsort(-probs, axis=-1, kind="stable")
        ordered = np.take_along_axis(probs, order, axis=-1)
        before = np.cumsum(ordered, axis=-1) - ordered  # the sum of the more probable ones
        np.put_along_axis(probs, order, np.where(before < top_p, ordered, 0), axis=-1)
        probs /= probs.sum(axis=-1, keepdims=True)
    return probs


def draw(probs: Array, rng: np.random.Generator) -> Array:
    """Draws a token from each row of probabilities. [b,v] -> integers [b]."""
    cumulative = np.cumsum(probs, axis=-1)
    points = rng.random(len(probs)) * cumulative[:, -1]  # in [0, total)
    return (cumulative > points[:, None]).argmax(axis=-1)  # the first piece whose interval ends beyond the point


def write_on(
    logits_of: NextLogits,
    ids: Array,
    new: int,
    choose: Callable[[Array], Array],
    eos: int | None,
    pad: int,
    on_tokens: Callable[[Array], None] | None = None,
) -> Array:
    """Appends one token after the other to every text. Integers [b,l] -> [b,l + new], or fewer if all texts end.

    Args:
        choose: logits [b,v] -> tokens [b].
        eos: the token that ends a text, or None.
        pad: what follows it.
        on_tokens: is called with the tokens [b] of each step.
    """
    ended = np.zeros(len(ids), bool)
    for _ in range(new):
        tokens = choose(logits_of(ids))  # [b]
        if eos is not None:
            tokens = np.where(ended, pad, tokens)
            ended |= tokens == eos
        ids = np.concatenate([ids, tokens[:, None]], axis=1)
        if on_tokens is not None:
            on_tokens(tokens)
        if ended.all():
            break
    return ids


@dataclass
class Hypotheses:
    """The best complete continuations of one text: at most num_beams, each with its score."""

    num_beams: int
    length_penalty: float
    kept: list[tuple[float, Array]] = field(default_factory=list)

    def score(self, log_prob: float, length: int) -> float:
        """log_prob / length ** length_penalty, which compares continuations of different lengths."""
        with np.errstate(all="ignore"):  # a power beyond the range of floats is infinite or 0
            return float(np.float64(log_prob) / np.float64(length) ** self.length_penalty)

    @property
    def worst(self) -> float:
        """The lowest score that is kept."""
        return min(score for score, _ in self.kept)

    def add(self, log_prob: float, tokens: Array) -> None:
        """Keeps a continuation, integers [new], if there is room for it or it is better than the worst."""
        score = self.score(log_prob, len(tokens))
        if len(self.kept) == self.num_beams:
            if not score > self.worst:
                return
            del self.kept[[score for score, _ in self.kept].index(self.worst)]
        self.kept.append((score, tokens))

    def is_done(self, log_prob: float, length: int) -> bool:
        """Whether none that goes on can be better, if the best of them has this log_prob at this length.

        It is the published rule, and a rule of thumb: with a length_penalty above 0 a longer text can still win.
        """
        return len(self.kept) == self.num_beams and self.worst >= self.score(log_prob, length)

    def best(self) -> Array:
        """Returns the continuation with the highest score; of equal ones the last that came."""
        return max(reversed(self.kept), key=lambda one: one[0])[1]


def beam_search(
    logits_of: NextLogits,
    ids: Array,
    new: int,
    num_beams: int,
    length_penalty: float,
    eos: int | None,
    pad: int,
) -> Array:
    """Follows the num_beams most probable beginnings of each text. Integers [b,l] -> [b,l + new], the best texts.

    It is the published search. In each step the 2 * num_beams most probable continuations by one token are looked
    at, best first. Those that end are hypotheses, if they are among the first num_beams. Of the others, the first
    num_beams go on. A text is done when `Hypotheses.is_done` says so; what goes on at the end counts as it is.
    """
    b, prompt = ids.shape
    log_probs = np.full((b, num_beams), NOT_BEGUN)
    log_probs[:, 0] = 0
    found = [Hypotheses(num_beams, length_penalty) for _ in range(b)]
    done = [False] * b
    beams = ids.repeat(num_beams, axis=0)  # [b * num_beams, l]
    for length in range(1, new + 1):
        if length == 1:
            logits = logits_of(ids).repeat(num_beams, axis=0)  # the beams of a text begin alike
            logits_of.take(np.arange(b).repeat(num_beams))
        else:
            logits = logits_of(beams)  # [b * num_beams, v]
        v = logits.shape[-1]
        totals = (log_probs.reshape(-1, 1) + log_softmax(logits)).reshape(b, num_beams * v)
        best = largest(totals, 2 * num_beams)  # [b, 2 * num_beams]
        rows, tokens = np.arange(b * num_beams), np.zeros(b * num_beams, np.int64)  # of the beams that go on
        for text in range(b):
            if done[text]:
                continue
            first = text * num_beams
            goes_on = 0
            for rank, candidate in enumerate(best[text]):
                beam, token = divmod(int(candidate), v)
                log_prob = float(totals[text, candidate])
                if token == eos:
                    if rank < num_beams:
                        found[text].add(log_prob, np.append(beams[first + beam, prompt:], token))
                    continue
                rows[first + goes_on], tokens[first + goes_on] = first + beam, token
                log_probs[text, goes_on] = log_prob
                goes_on += 1
                if goes_on == num_beams:
                    break
            done[text] = found[text].is_done(float(totals[text, best[text, 0]]), length)
        beams = np.concatenate([beams[rows], tokens[:, None]], axis=1)
        if all(done):
            break
        logits_of.take(rows)
    for row in range(b * num_beams):
        text, beam = divmod(row, num_beams)
        if not done[text]:
            found[text].add(float(log_probs[text, beam]), beams[row, prompt:])
    return np.concatenate([ids, side_by_side([one.best() for one in found], pad)], axis=1)


def log_softmax(logits: Array) -> Array:
    """[b,v] -> [b,v]: the logarithm of softmax, which stays finite where that becomes 0."""
    shifted = logits - logits.max(axis=-1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))


def largest(values: Array, count: int) -> Array:
    """The places of the count largest of each row, largest first, of equal ones the first. [b,m] -> [b,count]."""
    places = np.sort(np.argpartition(-values, count - 1, axis=-1)[:, :count], axis=-1)
    order = np.argsort(-np.take_along_axis(values, places, axis=-1), axis=-1, kind="stable")
    return np.take_along_axis(places, order, axis=-1)


def side_by_side(texts: list[Array], pad: int) -> Array:
    """Puts texts of different lengths into rows, padded behind their end. b of integers [m] -> [b,m]."""
    rows = np.full((len(texts), max(map(len, texts))), pad, np.int64)
    for row, text in zip(rows, texts, strict=True):
        row[: len(text)] = text
    return rows
