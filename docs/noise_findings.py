"""Writes noise-findings.md and its picture: python docs/noise_findings.py --model DIR FILE...

FILE... are books that the model has not read. Noise goes into one position of a sentence, behind the embeddings,
and every layer is watched for which other positions notice it.
"""

import argparse
import re
import textwrap
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tokenizers import Encoding, Tokenizer

import numbert
from numbert.cli.command import model_folder
from numbert.progress import bar, to_terminal
from numbert.text.corpus import find_corpus

SENTENCES, SEED = 200, 0
SHORTEST, LONGEST = 8, 40  # tokens, [CLS] and [SEP] among them
STD, SAMPLES = 1e-5, 4
CHECKED = 10  # sentences of which it is checked that the response is linear
POOL = 5_000  # sentences in which the pieces are counted
FREQUENT = 50  # pieces
DISTANCES = {"1": (1, 1), "2": (2, 2), "3 to 5": (3, 5), "6 or more": (6, 1_000_000)}
INSIDE, AT_THE_END = "marks with a word behind them", "marks at the end"
FEWEST = 20  # sentences that a mean is made of
RESAMPLED = 4_000

SPREADS = 0.1  # of what spreads from a word: less than this is called nothing
STRONGLY = 2.0  # times the share of a uniform spread

# don't and well-bred are one word; the mark in it is no punctuation.
WORD = re.compile(r"[^\W_]+(?:['’-][^\W_]+)*")
LETTERS = re.compile(r"[^\W_]+")
NAME = re.compile(r"(?<=[a-z,;] )[A-Z][a-z]+(?: [A-Z][a-z]+)+")

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]


# --- sentences ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Sentence:
    """A sentence of l tokens, and what each of them is.

    Attributes:
        ids: integers [l].
        pieces: l pieces.
        special: [l], whether it is [CLS] or [SEP].
        marks: [l], whether it is punctuation that stands outside of words.
        words: [l], whether it is the first piece of a word.
        frequent: [l], whether it is a word that is one of the most frequent pieces.
        units: integers [l], the number of the name, or of the word of several pieces, that it is a part of, or -1.
    """

    ids: NDArray[np.int64]
    pieces: tuple[str, ...]
    special: Bools
    marks: Bools
    words: Bools
    frequent: Bools
    units: NDArray[np.int64]


def draw_sentences(
    files: Sequence[Path], tokenizer: Tokenizer, count: int, longest: int = LONGEST, seed: int = SEED
) -> list[Sentence]:
    """Sentences of `SHORTEST` to `longest` tokens, drawn from all that are in the files; none twice.

    Raises:
        InputError: the files have too few, or `find_corpus` refuses a file.
    """
    texts = list(dict.fromkeys(text for text in find_corpus(files).sentences() if text))
    texts = [texts[i] for i in np.random.default_rng(seed).permutation(len(texts))[:POOL]]
    encodings = tokenizer.encode_batch(texts)
    counts = Counter(
        encoding.tokens[i]
        for text, encoding in zip(texts, encodings, strict=True)
        for i in np.flatnonzero(marks_and_words(text, encoding)[1])
    )
    frequent = {piece for piece, _ in counts.most_common(FREQUENT)}
    drawn = [
        described(text, encoding, frequent)
        for text, encoding in zip(texts, encodings, strict=True)
        if SHORTEST <= len(encoding.ids) <= longest
    ]
    if len(drawn) < count:
        raise numbert.InputError(
            f"{len(drawn)} of {len(texts)} sentences have {SHORTEST} to {longest} tokens; {count} are needed"
        )
    return drawn[:count]


def described(text: str, encoding: Encoding, frequent: set[str]) -> Sentence:
    """A sentence, from its text, its tokens and the most frequent pieces."""
    marks, words = marks_and_words(text, encoding)
    return Sentence(
        ids=np.array(encoding.ids),
        pieces=tuple(encoding.tokens),
        special=np.array(encoding.special_tokens_mask, bool),
        marks=marks,
        words=words,
        frequent=words & np.array([piece in frequent for piece in encoding.tokens]),
        units=units(text, encoding),
    )


def marks_and_words(text: str, encoding: Encoding) -> tuple[Bools, Bools]:
    """Which tokens are punctuation outside of words, and which are the first piece of a word: [l] and [l]."""
    first, inside = np.zeros((2, len(text) + 1), bool)
    for word in WORD.finditer(text):
        first[word.start()] = True
        inside[word.start() : word.end()] = True
    starts = np.array([start for start, _ in encoding.offsets])
    own = ~np.array(encoding.special_tokens_mask, bool)
    return own & ~inside[starts], own & first[starts]


def units(text: str, encoding: Encoding) -> NDArray[np.int64]:
    """The number of the unit of each token, or -1: [l]. A unit is a name or a word, of several pieces."""
    number = np.full(len(text) + 1, -1)
    for i, unit in enumerate((*LETTERS.finditer(text), *NAME.finditer(text))):
        number[unit.start() : unit.end()] = i
    of_token = number[[start for start, _ in encoding.offsets]]
    of_token[np.array(encoding.special_tokens_mask, bool)] = -1
    several = [i for i, tokens in Counter(of_token.tolist()).items() if tokens > 1]
    return np.where(np.isin(of_token, several), of_token, -1)


# --- the response ------------------------------------------------------------------------------------------------


def noise_response(
    model: Any, ids: NDArray[np.int64], std: float = STD, samples: int = SAMPLES, seed: Any = SEED
) -> tuple[Floats, Floats]:
    """The response to Gaussian noise in one position's embedding, each position in turn.

    Args:
        model: a BertModel in eval().
        ids: integers [l], one sentence.

    Returns:
        response [n+1,l,l]: sqrt(E|dh|^2) / std of the embeddings and of every layer, in an injected position (the
        first l) at an observed one (the second l); and the length of each embedding [l].
    """
    rng, length, e = np.random.default_rng(seed), len(ids), model.config.hidden_size
    each = np.arange(length)
    with numbert.no_grad():
        undisturbed = states(model, ids[None])  # [n+1,1,l,e]
        squares = np.zeros((len(undisturbed), length, length))
        for _ in range(samples):
            noise = np.zeros((length, length, e), model.dtype)
            noise[each, each] = std * rng.standard_normal((length, e))
            with model.embeddings.register_forward_hook(lambda *call, noise=noise: call[-1] + noise):
                disturbed = states(model, np.repeat(ids[None], length, axis=0))  # [n+1,l,l,e]
            squares += np.square(disturbed - undisturbed).sum(axis=-1)
    return np.sqrt(squares / samples) / std, np.linalg.norm(undisturbed[0, 0], axis=-1)


def states(model: Any, input_ids: NDArray[np.int64]) -> Floats:
    """Of ids [b,l], the embeddings and every layer's output: [n+1,b,l,e]."""
    return np.stack(model(input_ids, output_hidden_states=True).hidden_states)


def change_by_halving(model: Any, sentences: Sequence[Sentence]) -> float:
    """The largest change of a response, relative to it, when the same noise is half as large."""
    largest = 0.0
    for sentence in sentences:
        whole, half = (noise_response(model, sentence.ids, std, samples=1)[0] for std in (STD, STD / 2))
        # What rounding alone makes is no response.
        there = whole > 1e-6 * whole.max(axis=(1, 2), keepdims=True)
        largest = max(largest, float(np.abs(half / np.where(there, whole, 1) - 1)[there].max()))
    return largest


# --- what is measured of a response ------------------------------------------------------------------------------


def squared_elsewhere(response: Floats) -> Floats:
    """Of [n,l,l], the squares, with 0 for the injected position itself: [n,l,l]."""
    squares = np.square(response)
    each = np.arange(response.shape[1])
    squares[:, each, each] = 0
    return squares


def elsewhere(response: Floats) -> Floats:
    """Of [n,l,l], the response of all other positions together, the root of the sum of squares: [n,l]."""
    return np.sqrt(squared_elsewhere(response).sum(axis=2))


def own(response: Floats) -> Floats:
    """Of [n,l,l], the response of the injected position itself: [n,l]."""
    return np.diagonal(response, axis1=1, axis2=2)


def mean_of(values: Floats, those: Bools) -> Floats:
    """Of [n,l], the mean over those positions: [n]; NaN if there are none."""
    return values[:, those].mean(axis=1) if those.any() else np.full(len(values), np.nan)


def paired_ratio(values: Floats, these: Bools, those: Bools) -> Floats:
    """Of [n,l], the mean over these positions of a sentence divided by the mean over those: [n]."""
    return mean_of(values, these) / mean_of(values, those)


def spread(response: Floats) -> Floats:
    """Of [n,l,l], how the others share the squared response to each position's noise: rows that sum to 1."""
    squares = squared_elsewhere(response)
    return squares / squares.sum(axis=2, keepdims=True)


def distances(length: int) -> NDArray[np.int64]:
    """How far apart two positions are: [l,l]."""
    return np.abs(np.subtract.outer(np.arange(length), np.arange(length)))


def share_by_distance(response: Floats) -> Floats:
    """Of [n,l,l], the share of each of the `DISTANCES`, the mean over injected positions: [n,4]."""
    shared, apart = spread(response), distances(response.shape[1])
    columns = [(shared * ((apart >= low) & (apart <= high))).sum(axis=2) for low, high in DISTANCES.values()]
    return np.stack(columns, axis=-1).mean(axis=1)


def mean_distance(response: Floats) -> Floats:
    """Of [n,l,l], the distance of the response, the mean over injected positions: [n]."""
    shared = spread(response)
    return (shared * distances(response.shape[1])).sum(axis=2).mean(axis=1)


def within_units(response: Floats, unit: NDArray[np.int64], plain: Bools) -> Floats:
    """What a neighbour of the same unit gets of the spread, divided by what other neighbours get: [n].

    Args:
        response: [n,l,l].
        unit: [l], the number of each position's unit, or -1.
        plain: [l], the positions that are counted as other neighbours of each other.
    """
    shared, left = spread(response), np.arange(len(unit) - 1)
    neighbours = (shared[:, left, left + 1] + shared[:, left + 1, left]) / 2  # [n,l-1]
    one = (unit[:-1] == unit[1:]) & (unit[:-1] >= 0)
    return paired_ratio(neighbours, one, plain[:-1] & plain[1:] & ~one)


def measure(sentence: Sentence, response: Floats, lengths: Floats) -> dict[str, Floats]:
    """All that is measured of one sentence, by name. What it has none of is NaN.

    Args:
        response: [n+1,l,l], as of `noise_response`.
        lengths: [l], of the embeddings.
    """
    marks, words, frequent = sentence.marks, sentence.words, sentence.frequent
    layers = response[1:]  # [n,l,l]
    others = elsewhere(layers)  # [n,l]
    text = np.flatnonzero(~sentence.special)
    inner = layers[:, text[:, None], text]
    uniform = np.ones_like(inner[:1])
    shares, even = share_by_distance(inner), share_by_distance(uniform)[0]
    stays = np.square(own(layers)) / np.square(layers).sum(axis=2)
    to_special = spread(layers)[:, text][:, :, sentence.special].sum(axis=2).mean(axis=1)
    return {
        "marks": mean_of(others, marks),
        "words": mean_of(others, words),
        "ratio": paired_ratio(others, marks, words),
        "ratio in proportion": paired_ratio(others * lengths, marks, words),
        "frequent": paired_ratio(others, frequent, words & ~frequent),
        "own marks": mean_of(own(response), marks),
        "own words": mean_of(own(response), words),
        "own ratio": paired_ratio(own(response), marks, words),
        "stays marks": mean_of(stays, marks),
        "stays words": mean_of(stays, words),
        "lengths": paired_ratio(lengths[None], marks, words),
        "shares": shares,
        "uniform": even,
        "near": shares[:, :2].sum(axis=1) / even[:2].sum(),
        "fall": shares[:1, :2].sum(axis=1) - shares[-1:, :2].sum(axis=1),
        "distance": mean_distance(inner),
        "uniform distance": mean_distance(uniform),
        "to special": to_special,
        "units": within_units(inner, sentence.units[text], ~marks[text]),
    }


def groups(sentence: Sentence) -> dict[str, Bools]:
    """Kinds of positions that are compared with the words of the sentence: [l] each, by name."""
    before_a_word = np.cumsum(sentence.words[::-1])[::-1] > 0
    found = {
        INSIDE: sentence.marks & before_a_word,
        AT_THE_END: sentence.marks & ~before_a_word,
        "the last word": sentence.words & (before_a_word.sum() - 1 == np.arange(len(sentence.ids))),
    }
    own = np.array(sentence.pieces)
    for piece in set(own[sentence.marks | sentence.special].tolist()):
        found[code(piece)] = (own == piece) & (sentence.marks | sentence.special)
    return found


# --- over sentences ----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Estimate:
    """The mean over sentences.

    Attributes:
        mean, sd: the mean and the standard deviation.
        low, high: the 95% interval of the mean, by resampling the sentences.
        count: how many sentences had it.
    """

    mean: float
    sd: float
    low: float
    high: float
    count: int

    @property
    def interval(self) -> str:
        """The interval as text."""
        return f"{self.low:.2f} to {self.high:.2f}"

    def __str__(self) -> str:
        if self.count < FEWEST:
            return f"(only {self.count} sentences)"
        return f"{self.mean:.2f} ({self.interval})"


def estimate(values: Floats) -> Estimate:
    """The mean of [s], of those sentences that have a value."""
    values = values[~np.isnan(values)]
    if len(values) < 2:
        return Estimate(np.nan, np.nan, np.nan, np.nan, len(values))
    chosen = np.random.default_rng(SEED).integers(0, len(values), (RESAMPLED, len(values)))
    low, high = np.quantile(values[chosen].mean(axis=1), (0.025, 0.975))
    return Estimate(float(values.mean()), float(values.std(ddof=1)), float(low), float(high), len(values))


@dataclass(frozen=True)
class Findings:
    """What the page and the picture are made of.

    Attributes:
        model: the model's name.
        config: its configuration.
        files: the names of the files.
        tokens: the tokens of all sentences.
        longest: the tokens of a sentence, at most.
        halved: `change_by_halving`.
        values: what `measure` gave, by name: [s,...].
        by_group: for each kind of position, the ratio to words at the last layer: [s].
    """

    model: str
    config: numbert.BertConfig
    files: list[str]
    tokens: int
    longest: int
    halved: float
    values: dict[str, Floats]
    by_group: dict[str, Floats]

    @property
    def layers(self) -> int:
        """How many layers the model has."""
        return self.config.num_hidden_layers

    def of(self, name: str, *at: int) -> Estimate:
        """The mean of what is measured under a name, of one layer (from 0) or another part of it."""
        values = self.values[name]
        for index in at:
            values = values[:, index]
        return estimate(values)


def find(folder: Path, files: Sequence[Path], count: int = SENTENCES) -> Findings:
    """Draws sentences, disturbs each and measures.

    Raises:
        InputError: count is below `FEWEST`, the noise is not small enough for a linear response, or as
            `draw_sentences`.
    """
    if count < FEWEST:
        raise numbert.InputError(f"{count} sentences; a mean is made of {FEWEST} or more")
    model = numbert.BertModel.from_pretrained(folder, np.float64, add_pooling_layer=False)
    longest = min(LONGEST, model.config.max_position_embeddings)
    sentences = draw_sentences(files, numbert.load_tokenizer(folder), count, longest)
    halved = change_by_halving(model, sentences[:CHECKED])
    if halved >= 0.01:
        raise numbert.InputError(f"half of the noise changes a response by {halved:.1%}: it is not linear")
    found, by_group = [], []
    with bar(to_terminal(), count, " sentences") as advance:
        for number, sentence in enumerate(sentences):
            response, lengths = noise_response(model, sentence.ids, seed=(SEED, number))
            found.append(measure(sentence, response, lengths))
            last = elsewhere(response[-1:])
            by_group.append(
                {name: paired_ratio(last, those, sentence.words)[0] for name, those in groups(sentence).items()}
            )
            advance(1)
    names = dict.fromkeys(name for one in by_group for name in one)
    return Findings(
        model=folder.name,
        config=model.config,
        files=[path.name for path in files],
        tokens=sum(len(sentence.ids) for sentence in sentences),
        longest=longest,
        halved=halved,
        values={name: np.stack([one[name] for one in found]) for name in found[0]},
        by_group={name: np.array([one.get(name, np.nan) for one in by_group]) for name in names},
    )


# --- claims ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Claim:
    """What is claimed, what was measured, and whether it holds by the criterion."""

    claim: str
    measured: str
    holds: str
    criterion: str


def punctuation(found: Findings) -> Claim:
    """Noise on punctuation does not spread."""
    ratio, n = found.of("ratio", -1), found.layers
    by_layer = listed(str(found.of("ratio", layer)) for layer in range(n))
    inside, at_the_end = (estimate(found.by_group[name]) for name in (INSIDE, AT_THE_END))
    return Claim(
        "Noise on punctuation does not spread to other positions.",
        f"At the last layer the other positions respond {ratio} times as much to noise in a punctuation mark as "
        f"to noise in a word of the same sentence: {inside} times for {INSIDE}, {at_the_end} times for "
        f"{AT_THE_END}. At {counted('layer', n)} the ratio is {by_layer}.",
        spreads(ratio),
        f"It holds if the ratio at the last layer is below {SPREADS} with its whole interval. If not, an interval "
        "that lies below 1 says that noise on punctuation spreads less than noise on words.",
    )


def spreads(ratio: Estimate) -> str:
    """Whether the first claim holds, from the ratio of marks to words."""
    if ratio.count < FEWEST:
        return f"It cannot be told: only {ratio.count} sentences have both."
    if ratio.high < SPREADS:
        return "Yes."
    if ratio.high < 1:
        return "No. It does spread, though less than noise on words."
    if ratio.low > 1:
        return "No. It spreads even more than noise on words."
    return "No. It spreads, and no difference from noise on words is seen."


def locality(found: Findings) -> Claim:
    """The first layers are strongly local."""
    first = min(3, found.layers)
    near = [found.of("near", layer) for layer in range(found.layers)]
    shares = [estimate(found.values["shares"][:, layer, :2].sum(axis=1)).mean for layer in range(first)]
    uniform, fall = estimate(found.values["uniform"][:, :2].sum(axis=1)).mean, found.of("fall", 0)
    return Claim(
        "Layers 1 to 3 (of 12) have a strongly local structure.",
        f"The positions at a distance of 1 and 2 get {listed(f'{share:.0%}' for share in shares)} of the squared "
        f"response at {counted('layer', first)}, where a uniform spread would give them {uniform:.0%}. That is "
        f"{listed(map(str, near[:first]))} times as much. From the first "
        f"layer to the last their share falls by {fall}.",
        is_local(near, first, fall),
        f"It holds if the share of distances 1 and 2 is more than {STRONGLY:g} times that of a uniform spread at "
        "each of these layers, with the whole interval; if it is more than the uniform one, the structure is "
        "local, but not strongly. It sets these layers apart only if it does not hold for all others, too.",
    )


def is_local(near: Sequence[Estimate], first: int, fall: Estimate) -> str:
    """Whether the second claim holds, from the share near by, in uniform ones, at each layer, and its fall."""
    strongly = [str(layer) for layer, one in enumerate(near, 1) if one.low > STRONGLY]
    local = [str(layer) for layer, one in enumerate(near, 1) if one.low > 1]
    claimed = {str(layer) for layer in range(1, first + 1)}
    if not claimed.intersection(local):
        return "No."
    if not claimed.intersection(strongly):
        return f"Not as claimed: local at {numbered('layer', local)}, but strongly at none of the first."
    holds = "Yes" if claimed.issubset(strongly) else f"In part: strongly local at {numbered('layer', strongly)}"
    if len(near) > first and len(strongly) == len(near):
        holds += ", but not of these layers alone: it holds for every layer"
    if fall.low > 0:
        return f"{holds}. The last layer is less local than the first."
    return f"{holds}. The last layer is no less local than the first."


def entities(found: Findings) -> Claim:
    """Around the middle there are entities."""
    middle = middle_layers(found.layers)
    inside = [found.of("units", layer) for layer in range(found.layers)]
    apart = [
        estimate(found.values["units"][:, layer] - found.values["units"][:, end])
        for layer in middle
        for end in {0, found.layers - 1} - set(middle)
    ]
    names = [str(layer + 1) for layer in middle]
    means = listed(map(str, inside))
    return Claim(
        "Around layers 6 and 7 (of 12) something like entities appears.",
        "The noise in a piece of a name, or of a word of several pieces, reaches a neighbour in the same name "
        f"or word {means} times as much as other neighbours of text reach each other, at "
        f"{counted('layer', found.layers)} ({inside[0].count} sentences have both). Layers 6 and 7 of 12 are "
        f"{numbered('layer', names)} here.",
        are_entities([inside[layer] for layer in middle], apart),
        "An entity is read as a name of several words or a word of several pieces. It holds if neighbours in "
        "one are tied more than others at the middle layers, and more so than at the first and the last layer, "
        "with the whole intervals.",
    )


def middle_layers(n: int) -> list[int]:
    """Where layers 6 and 7 of 12 are in a model of n layers, counted from 0."""
    return sorted({max(0, round(n * of / 12) - 1) for of in (6, 7)})


def are_entities(middle: Sequence[Estimate], apart: Sequence[Estimate]) -> str:
    """Whether the third claim holds, from the middle layers' ratios and what they have more than the ends."""
    if middle[0].count < FEWEST:
        return f"It cannot be told: only {middle[0].count} sentences have such a unit."
    if not all(one.low > 1 for one in middle):
        return "No. At the middle layers the pieces of a unit are not tied more than others."
    if apart and all(one.low > 0 for one in apart):
        return "Yes, by this reading."
    return "No. The pieces of a unit are tied more than others, but not at the middle layers above all."


# --- the page ----------------------------------------------------------------------------------------------------


def listed(parts: Iterable[str]) -> str:
    """Parts as text: a, b and c."""
    *before, last = parts
    return f"{', '.join(before)} and {last}" if before else last


def numbered(what: str, numbers: Sequence[str]) -> str:
    """Numbers of something: layer 2, layers 1 and 2."""
    return f"{what}{'s' * (len(numbers) > 1)} {listed(numbers)}"


def counted(what: str, n: int) -> str:
    """The first n of something: layer 1, layers 1 and 2, layers 1, 2 and 3."""
    return numbered(what, [str(i) for i in range(1, n + 1)])


def code(piece: str) -> str:
    """A piece in Markdown."""
    return "a backtick" if piece == "`" else f"`{piece}`".replace("|", "\\|")


def paragraph(*sentences: str) -> str:
    """Sentences as lines of a paragraph."""
    return textwrap.fill(" ".join(sentences), 115, break_long_words=False, break_on_hyphens=False) + "\n"


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table in Markdown."""
    lines = [list(head), ["---"] * len(head), *map(list, rows)]
    return (
        "\n".join(f"| {' | '.join(line)} |" for line in lines).replace("| --- ", "|---").replace("--- |", "---|")
        + "\n"
    )


def cells(one: Estimate) -> list[str]:
    """A mean with its spread and its interval, as the cells of two columns."""
    if one.count < 2:
        return ["", ""]
    return [f"{one.mean:.2f} ± {one.sd:.2f}", one.interval]


def page(found: Findings) -> str:
    """The page in Markdown."""
    return "\n".join(
        [*head(found), *punctuation_part(found), *distance_part(found), *unit_part(found), *how(found)]
    )


def head(found: Findings) -> list[str]:
    """What is asked, and the claims."""
    claims = [punctuation(found), locality(found), entities(found)]
    n, e, count = found.layers, found.config.hidden_size, len(found.values["ratio"])
    return [
        "# Noise in one position\n",
        paragraph(
            "Let the vector of one token be a little wrong behind the embeddings: which other tokens notice it, "
            "and at which layer? Notes on a BERT of 12 layers, `bert-base-uncased`, claim three things. Here "
            f"they are tried on the model `{found.model}` ({n} layers, {e} numbers for a token), with {count} "
            "sentences of books that it has not read. This is another and a smaller model: what does not hold "
            "here may hold there.",
        ),
        "![how far noise spreads, by layer](noise-findings.svg)\n",
        table(
            ("claim", "measured", "does it hold here?"), [(one.claim, one.measured, one.holds) for one in claims]
        ),
        "In brackets stand 95% intervals of the mean. What decides:\n",
        "\n".join(
            textwrap.fill(f"{i}. {one.criterion}", 115, subsequent_indent="   ") for i, one in enumerate(claims, 1)
        )
        + "\n",
        "## What is measured\n",
        paragraph(
            "The response [n,l,l] (layer, position with noise, observed position) is sqrt(E|dh|²) / std: noise "
            "is added to the embedding of one position, behind the embeddings' LayerNorm, and dh is by how much "
            "the output of a layer changes at a position.",
            f"The noise is Gaussian, independent in each of the {e} numbers, with std {STD:.5f} and {SAMPLES} "
            "samples for each position, in float64. It is as small as a derivative needs: with half of it no "
            f"response of {CHECKED} sentences changes by more than {upper(found.halved)} of itself.",
        ),
        paragraph(
            "Every figure is a mean over sentences. Behind ± stands the standard deviation over sentences; the "
            f"interval is that of the mean, 95%, by resampling the sentences {RESAMPLED:,} times. Ratios are "
            "made within a sentence, and then their mean is taken, so that long sentences and short ones are "
            "compared with themselves.",
        ),
    ]


def upper(share: float) -> str:
    """A small share in percent, rounded up to a power of ten."""
    return f"{10.0 ** np.ceil(np.log10(max(share, 1e-8))):.7%}".rstrip("0%").rstrip(".") + "%"


def punctuation_part(found: Findings) -> list[str]:
    """The tables of marks against words."""
    layers = range(found.layers)
    ratio, frequent, length = found.of("ratio", -1), found.of("frequent", -1), found.of("lengths", 0)
    own_0 = found.of("own marks", 0), found.of("own words", 0)
    by_group = {name: estimate(values) for name, values in found.by_group.items()}
    return [
        "## Punctuation against words\n",
        paragraph(
            "Elsewhere: the response of all other positions together, the root of the sum of squares. A mark is "
            "a token outside of words; the apostrophe of don't and the hyphen of well-bred are parts of their "
            f"words. A word is disturbed in its first piece. {ratio.count} sentences have both."
        ),
        table(
            (
                "layer",
                "elsewhere, from a mark",
                "from a word",
                "ratio",
                "95% interval",
                "ratio in proportion",
                "95% interval",
            ),
            [
                [
                    str(layer + 1),
                    cells(found.of("marks", layer))[0],
                    cells(found.of("words", layer))[0],
                    *cells(found.of("ratio", layer)),
                    *cells(found.of("ratio in proportion", layer)),
                ]
                for layer in layers
            ],
        ),
        paragraph(
            "This is no artefact of a LayerNorm's gains. They are the same at every position, so they cancel in "
            "a ratio within a layer; between layers they do not, so the columns without a ratio are not to be "
            "compared from row to row. The noise itself is as large everywhere: the embeddings' own response is "
            f"{own_0[0].mean:.2f} for marks and {own_0[1].mean:.2f} for words, where the theory says "
            f"sqrt({found.config.hidden_size}) = {np.sqrt(found.config.hidden_size):.2f}. The embedding of a "
            f"mark is {length.mean:.2f} ± {length.sd:.2f} times as long as that of a word ({length.interval}); "
            "in proportion means noise as large as the vector that it disturbs.",
        ),
        paragraph(
            "How much the position with the noise keeps: its own response, and its share of the squared "
            "response of all positions."
        ),
        table(
            ("layer", "own, of a mark", "of a word", "ratio", "95% interval", "share kept: mark", "word"),
            [
                [
                    str(layer + 1),
                    cells(found.of("own marks", layer + 1))[0],
                    cells(found.of("own words", layer + 1))[0],
                    *cells(found.of("own ratio", layer + 1)),
                    cells(found.of("stays marks", layer))[0],
                    cells(found.of("stays words", layer))[0],
                ]
                for layer in layers
            ],
        ),
        paragraph(
            "Which marks? The last layer's response elsewhere, against that to the words of the same sentence, "
            f"of each kind that is in {FEWEST} sentences or more:"
        ),
        table(
            ("position", "sentences", "ratio to words", "95% interval"),
            [
                [name, str(one.count), *cells(one)]
                for name, one in sorted(by_group.items(), key=lambda item: (-item[1].count, item[0]))
                if one.count >= FEWEST
            ],
        ),
        paragraph(
            f"Of words, the {FREQUENT} most frequent ones (function words for the most part) against the others "
            f"of the sentence, at the last layer: {frequent_too(frequent, ratio)}"
        ),
    ]


def frequent_too(frequent: Estimate, marks: Estimate) -> str:
    """What frequent words do, and whether it is what marks do."""
    if frequent.count < FEWEST:
        return f"only {frequent.count} sentences have both."
    measured = f"{frequent}, in {frequent.count} sentences."
    if frequent.low <= 1 <= frequent.high:
        return f"{measured} They spread as much noise as the others."
    less = frequent.high < 1
    too = marks.high < 1 if less else marks.low > 1
    how_much = f"{'less' if less else 'more'} noise than the others{', as marks do' if too else ''}"
    return f"{measured} They spread {how_much}."


def distance_part(found: Findings) -> list[str]:
    """The table of distances."""
    uniform = [found.of("uniform", i) for i in range(len(DISTANCES))]
    even = found.of("uniform distance", 0)
    return [
        "## Local structure by layer\n",
        paragraph(
            "How the squared response is shared by the other tokens of the sentence, [CLS] and [SEP] left out, "
            "by how far they are from the token with the noise: the mean over the tokens of a sentence, then "
            "over sentences. Uniform is what the same sentences give if all other tokens respond alike. A "
            "layer's response is that to noise behind the embeddings: layer 3 has what layers 1 to 3 do "
            "together.",
        ),
        table(
            (
                "layer",
                *(f"distance {name}" for name in DISTANCES),
                "1 and 2, times uniform",
                "95% interval",
                "mean distance",
                "95% interval",
            ),
            [
                ["uniform", *(cells(one)[0] for one in uniform), "1", "", *cells(even)],
                *(
                    [
                        str(layer + 1),
                        *(cells(found.of("shares", layer, i))[0] for i in range(len(DISTANCES))),
                        *cells(found.of("near", layer)),
                        *cells(found.of("distance", layer)),
                    ]
                    for layer in range(found.layers)
                ),
            ],
        ),
        paragraph(
            "[CLS] and [SEP] together get "
            + listed(f"{found.of('to special', layer).mean:.0%}" for layer in range(found.layers))
            + f" of the squared response elsewhere, at {counted('layer', found.layers)}."
        ),
    ]


def unit_part(found: Findings) -> list[str]:
    """The table of units."""
    return [
        "## Something like entities\n",
        paragraph(
            "The notes do not say what an entity is. Here it is a run of words with capitals that does not "
            "begin the sentence (Tom Sawyer), or a word of several pieces. The share of the squared response "
            "that one of two neighbours gets of the noise in the other, in one unit, against the same of two "
            "neighbours that are not, neither of them punctuation:",
        ),
        table(
            ("layer", "sentences", "in one unit, times others", "95% interval"),
            [
                [str(layer), str(one.count), *cells(one)]
                for layer, one in enumerate((found.of("units", layer) for layer in range(found.layers)), 1)
            ],
        ),
    ]


def how(found: Findings) -> list[str]:
    """How it is made anew."""
    count = len(found.values["ratio"])
    return [
        "## How this page is made\n",
        f"```sh\npython docs/noise_findings.py --model {found.model} FILE...\n```\n",
        paragraph(
            f"It writes the page, the picture and every sentence with a number in it. The {count} sentences "
            f"({found.tokens:,} tokens) have {SHORTEST} to {found.longest} tokens with [CLS] and [SEP], and are "
            f"drawn with seed {SEED} from all sentences of these files, whose books were held out of training:"
        ),
        "\n".join(f"- {name}" for name in found.files) + "\n",
    ]


# --- the picture -------------------------------------------------------------------------------------------------


def draw(found: Findings, path: Path) -> None:
    """Draws the ratios and the shares by layer."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 4.6), layout="constrained")
    left, right = figure.subplots(1, 2)
    draw_ratios(left, found)
    draw_shares(right, found)
    for axes in (left, right):
        axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path)


def draw_ratios(axes: Any, found: Findings) -> None:
    """Draws marks against words, and frequent words against others."""
    layers = np.arange(1, found.layers + 1)
    for name, text, colour, marker in (
        ("ratio", "punctuation / words", "#d55e00", "o"),
        ("frequent", f"{FREQUENT} most frequent words / others", "#0072b2", "s"),
    ):
        ratios = [found.of(name, layer) for layer in range(found.layers)]
        means = np.array([one.mean for one in ratios])
        ends = np.abs(np.array([(one.low, one.high) for one in ratios]).T - means)
        axes.errorbar(layers, means, yerr=ends, color=colour, marker=marker, markersize=5, capsize=4, label=text)
    axes.axhline(1, color="#666666", linewidth=1, linestyle="--", zorder=0)
    axes.set(xlabel="layer", ylabel="response elsewhere, ratio", xlim=(0.5, found.layers + 0.5))
    axes.set_ylim(0, max(1.15, axes.get_ylim()[1]) * 1.15)
    axes.set_xticks(layers)
    axes.set_title("which noise spreads (bars: 95% interval)", loc="left", fontsize=11)
    axes.legend(frameon=False, loc="upper right")


def draw_shares(axes: Any, found: Findings) -> None:
    """Draws the share of each distance as stacked bars, the uniform spread's first."""
    shares = np.vstack([found.values["uniform"].mean(axis=0), found.values["shares"].mean(axis=0)])  # [n+1,4]
    places = np.array([0, *np.arange(1, found.layers + 1) + 0.4])
    bottom = np.zeros(len(places))
    colours = ("#08306b", "#2f7ebc", "#94c4df", "#e3eef9")
    for name, column, colour in zip(DISTANCES, shares.T, colours, strict=True):
        axes.bar(places, column, 0.8, bottom, color=colour, edgecolor="#444444", linewidth=0.5, label=name)
        for place, low, height in zip(places, bottom, column, strict=True):
            if height > 0.05:
                dark = colour in colours[:2]
                axes.text(
                    place,
                    low + height / 2,
                    f"{height:.0%}",
                    ha="center",
                    va="center",
                    fontsize=9 if found.layers <= 8 else 6,
                    color="white" if dark else "black",
                )
        bottom = bottom + column
    axes.set_xticks(places, ["uniform", *(str(layer) for layer in range(1, found.layers + 1))])
    axes.set(xlabel="layer", ylabel="share of the squared response", ylim=(0, 1))
    axes.set_title("how far it goes, in tokens", loc="left", fontsize=11)
    handles, labels = axes.get_legend_handles_labels()
    axes.legend(
        handles[::-1], labels[::-1], title="distance", frameon=False, loc="center left", bbox_to_anchor=(1, 0.5)
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", required=True, metavar="DIR", help="a model folder, or one of `numbert models`")
    parser.add_argument(
        "--output", type=Path, default=Path(__file__).parent, metavar="DIR", help="where to write (docs)"
    )
    parser.add_argument("--sentences", type=int, default=SENTENCES, metavar="N", help=f"({SENTENCES})")
    parser.add_argument("files", nargs="+", type=Path, metavar="FILE", help="text that the model has not read")
    given = parser.parse_args()
    try:
        found = find(model_folder(given.model), given.files, given.sentences)
    except numbert.InputError as error:
        parser.error(str(error))
    draw(found, given.output / "noise-findings.svg")
    (given.output / "noise-findings.md").write_text(page(found), encoding="utf-8")


if __name__ == "__main__":
    main()
