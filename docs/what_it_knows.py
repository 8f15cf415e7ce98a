"""Writes what-the-model-knows.md and .json: python docs/what_it_knows.py --card --held-out BOOK ...

Every sentence is in this file and every result is counted, so that another model needs no other word here:
`--model` takes its name or folder, `--output` the page to write instead. The books are held-out text, which the
model has not read; what heads look at is counted over them. `--card` also puts a summary into the model's card,
and `--json` prints the results and writes nothing.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import re
import sys
import textwrap
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from math import ceil, comb
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

import numbert
from numbert.cli.command import model_folder
from numbert.errors import InputError
from numbert.files.shipped import shipped_models
from numbert.inference import embed, fill_mask, next_sentence
from numbert.inference.batches import batches
from numbert.progress import say
from numbert.text.corpus import find_corpus

if TYPE_CHECKING:
    from tokenizers import Encoding, Tokenizer

Array = np.ndarray[Any, Any]

PAGE = Path(__file__).with_name("what-the-model-knows.md")
DATA = PAGE.with_suffix(".json").name
MODEL, CARD, HEADING = "english", "MODEL_CARD.md", "## What it knows"

# --- the sentences -----------------------------------------------------------------------------------------------

# By kind: a sentence and the words that may stand for its [MASK].
FILLS: dict[str, dict[str, str]] = {
    "agreement": {
        "The children [MASK] playing in the garden.": "were are",
        "My brother [MASK] older than I am.": "is",
        "I [MASK] very glad to see you again.": "am was",
        "They [MASK] never seen so large a house.": "had have",
        "She looked at [MASK] in the glass, and sighed.": "herself",
        "The old man muttered to [MASK] as he went.": "himself",
        "The soldiers warmed [MASK] at the fire.": "themselves",
        "He has lost his hat, and she has lost [MASK] gloves.": "her",
    },
    "prepositions and particles": {
        "She was leaning out [MASK] the window.": "of",
        "He put [MASK] his coat and went out.": "on",
        "The boat was tied [MASK] a post.": "to",
        "He sat down [MASK] the fire and lit his pipe.": "by before beside near",
        "I have been waiting [MASK] you all the morning.": "for",
        "The thief ran [MASK] as fast as he could.": "away off",
        "The cook dropped the eggs and burst [MASK] tears.": "into",
        "They walked arm [MASK] arm along the shore.": "in",
    },
    "idioms and set phrases": {
        "Once upon a [MASK] there lived a king.": "time",
        "He made up his [MASK] to go at once.": "mind",
        "She shrugged her [MASK] and said nothing.": "shoulders",
        "I beg your [MASK], madam, for coming so late.": "pardon",
        "I have not the least [MASK] what you mean.": "idea notion",
        "It was raining cats and [MASK].": "dogs",
        "They saw their mistake when it was too [MASK].": "late",
        "He held his [MASK] and listened.": "breath",
    },
    "who and where of stories": {
        "The [MASK] opened the door and announced a visitor.": "servant butler footman maid",
        "The king and the [MASK] sat upon their thrones.": "queen",
        "The captain stood on the [MASK] of the ship.": "deck bridge",
        "He mounted his [MASK] and rode away.": "horse",
        "The doctor felt the pulse of his [MASK].": "patient",
        "Tea was brought to them in the drawing-[MASK].": "room",
        "The judge sent the thief to [MASK].": "prison jail gaol",
        "At church the [MASK] preached for an hour.": "clergyman vicar parson minister curate rector",
    },
    "names": {
        "Tom and Mary went out. Tom climbed a tree, and [MASK] stayed below.": "Mary",
        '"Good night, Mrs. Brown," said I. "Good night, sir," said Mrs. [MASK].': "Brown",
        'George called his dog. "Come here, sir!" cried [MASK].': "George",
        "This is my sister Jane. Shake hands with Mr. Hall, [MASK].": "Jane",
        'Alice came late. "Where have you been, [MASK]?" asked Peter.': "Alice",
        "Sherlock [MASK] laid down his pipe and looked at me.": "Holmes",
        "Robin [MASK] lived in the forest with his merry men.": "Hood",
        "Adam gave the apple back to [MASK], his wife.": "Eve",
    },
    "facts of the world": {
        "The capital of France is [MASK].": "Paris",
        "The sun sets in the [MASK].": "west",
        "There are seven days in a [MASK].": "week",
        "Two and two make [MASK].": "four",
        "The first month of the year is [MASK].": "January",
        "A spider has [MASK] legs.": "eight",
        "The colour of grass is [MASK].": "green",
        "Ice is made of frozen [MASK].": "water",
    },
}

# A sentence, the right form and the wrong one; first those where nothing stands between the two that agree.
PLAIN_PAIRS = (
    ("The horse [MASK] tired after the long journey.", "was", "were"),
    ("The horses [MASK] tired after the long journey.", "were", "was"),
    ("His father [MASK] a rich man.", "is", "are"),
    ("Your hands [MASK] quite cold.", "are", "is"),
    ("The letter [MASK] been lost.", "has", "have"),
    ("The letters [MASK] been lost.", "have", "has"),
    ("The girl cut [MASK] with the knife.", "herself", "himself"),
    ("The king thought [MASK] very wise.", "himself", "herself"),
    ("My aunt hung up [MASK] bonnet.", "her", "his"),
    ("The boy took off [MASK] cap.", "his", "her"),
)
DISTANT_PAIRS = (
    ("The key of the two old boxes [MASK] lost.", "was", "were"),
    ("The keys of the old box [MASK] lost.", "were", "was"),
    ("The woman who kept the bees [MASK] deaf.", "was", "were"),
    ("The women who kept the shop [MASK] deaf.", "were", "was"),
    ("The price of the apples [MASK] too high.", "is", "are"),
    ("The leaves upon the tree [MASK] yellow.", "are", "is"),
    ("One of the windows [MASK] been broken.", "has", "have"),
    ("The windows of the house [MASK] been broken.", "have", "has"),
    ("The queen, who feared the king, locked [MASK] in.", "herself", "himself"),
    ("The uncle of the little girl called [MASK] a fool.", "himself", "herself"),
)

# A sentence and the one that follows it. With the second sentence of the next pair it makes one that does not.
FOLLOWING = (
    ("There was a loud knock at the door.", '"Come in!" cried my aunt, and a tall man entered.'),
    ("The ship struck upon a rock and began to sink.", "The captain ordered the boats to be lowered."),
    ("He asked the little girl what her name was.", '"My name is Lucy, sir," she answered.'),
    ("At last supper was upon the table.", "They all sat down, and the old man carved the goose."),
    ("The snow had fallen all night long.", "In the morning the road was hidden, and no coach came."),
)

THINGS = {
    "the sea": (
        "The ship rolled heavily in the gale.",
        "Great waves broke over the deck.",
        "The sailors took in the sails.",
        "We dropped anchor in a quiet bay.",
        "The captain steered for the harbour.",
    ),
    "horses": (
        "He saddled the mare and galloped off.",
        "The old pony trotted down the lane.",
        "The grey horse shied at the gate.",
        "The groom led the colt from the stable.",
        "She rode to hounds better than any man.",
    ),
    "meals": (
        "The cook brought in a roast goose.",
        "They ate bread and cheese with a good appetite.",
        "Will you have some more soup, sir?",
        "He carved the ham and poured the wine.",
        "There was a pudding for supper, and cream.",
    ),
    "illness": (
        "The fever had left her very weak.",
        "The doctor shook his head at the bedside.",
        "He lay ill for three weeks and nearly died.",
        "The nurse gave the patient a bitter draught.",
        "Her cough grew worse, and she could not sleep.",
    ),
    "winter": (
        "Snow lay thick upon the roofs.",
        "The pond was frozen, and the boys went skating.",
        "An icy wind blew from the north.",
        "It was the coldest winter for twenty years.",
        "Frost covered the window panes.",
    ),
    "war": (
        "The soldiers charged with fixed bayonets.",
        "The general lost half of his army.",
        "Our regiment marched at dawn to the battle.",
        "The enemy's guns opened fire upon the fort.",
        "He was wounded by a musket ball.",
    ),
    "the garden": (
        "Roses climbed over the porch.",
        "She was watering the lilies in the border.",
        "The gardener dug a bed for the tulips.",
        "Bees hummed among the lavender.",
        "The hedge was in blossom, and the grass was green.",
    ),
    "school": (
        "The boys repeated their Latin verbs.",
        "The master wrote a sum upon the slate.",
        "She had learned her lesson by heart.",
        "The teacher rapped upon the desk with a ruler.",
        "He was at the bottom of his class in spelling.",
    ),
    "money": (
        "He owed the bank a thousand pounds.",
        "The lawyer read the will: she was an heiress.",
        "The rent was due, and his purse was empty.",
        "She counted the shillings on the table.",
        "He lost his whole fortune at cards.",
    ),
    "love": (
        "He asked her to be his wife.",
        "She blushed when he kissed her hand.",
        "They were betrothed, and the wedding was in May.",
        "His heart beat fast whenever she smiled.",
        "She had refused two lovers already.",
    ),
}
SHOWN = 3  # nearest sentences, of the best and of the worst

ATTENDED = (
    "The old man opened the door, and the dog ran out of the house.",
    '"I do not know," said she, "what I am to do."',
    "The rain fell, the wind blew, and the night was dark.",
    "He looked at the letter, then at the lady, then at the letter again.",
    "My dear fellow, you must not think of it!",
    "When the clock struck ten, the two boys crept down the stairs.",
    "She had never seen the sea, nor a ship, nor a sailor.",
    '"Who is there?" cried the king, and the king\'s men were silent.',
    "Far away, beyond the hills, a bell was ringing.",
    "He was poor, but he was honest, and he was not afraid.",
)

# What a head may look at, and how a table's head calls it.
KINDS = {
    "previous": "the token before",
    "next": "the token after",
    "itself": "itself",
    "same": "the same piece elsewhere",
    "comma": "a comma",
    "stop": "a mark that ends a sentence",
    "quote": "a quotation mark or apostrophe",
    "[CLS]": "[CLS]",
    "[SEP]": "[SEP]",
}
SHORT = dict(KINDS) | {
    "previous": "before",
    "next": "after",
    "same": "same piece",
    "comma": "comma",
    "stop": "end mark",
    "quote": "quote",
}
MARKS = {"comma": ",", "stop": ".!?", "quote": "\"'“”‘’"}
IN_SENTENCES = ("previous", "next", "same", "comma", "[SEP]")  # the kinds that are shown for each of ATTENDED
SENTENCES, SEED = 2_000, 0  # how many are drawn from the books
SHORTEST, LONGEST = 8, 60  # tokens, with [CLS] and [SEP]
# A head looks at a kind if it gives it this share of its attention, and so many times what is uniform.
LEAST_SHARE, LEAST_TIMES = 1 / 3, 4

# --- what is measured --------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class About:
    """The model: its name, whether it comes with numbert, its sizes, and its score as the card has it."""

    name: str
    shipped: bool
    sizes: str
    sha256: str
    score: str


@dataclass(frozen=True)
class Fill:
    """A filled mask. rank is that of the best expected word among all pieces; None if none of them is a piece."""

    kind: str
    text: str
    expected: str
    guesses: list[list[Any]]  # three pieces with their probabilities
    rank: int | None


@dataclass(frozen=True)
class MinimalPair:
    """The probabilities of two forms for one mask. distant: another noun stands between the two that agree."""

    text: str
    right: str
    wrong: str
    distant: bool
    probabilities: list[float]


@dataclass(frozen=True)
class NextSentence:
    """A pair of sentences, whether the second follows the first, and the probability that it does."""

    first: str
    second: str
    follows: bool
    probability: float

    @property
    def right(self) -> bool:
        return (self.probability > 0.5) == self.follows


@dataclass(frozen=True)
class Nearest:
    """A sentence and the nearest of the others. margin: how much nearer the same thing is than any other thing."""

    text: str
    thing: str
    nearest: str
    nearest_thing: str
    cosine: float
    margin: float


@dataclass(frozen=True)
class Kind:
    """How much all heads look at one kind of token.

    shares is [n,h], the mean attention over the tokens for which there is such a token, and uniform what uniform
    attention would give the same tokens. layer and head are those of the largest share; passes tells whether it is
    large enough by the rule.
    """

    name: str
    tokens: int
    uniform: float
    shares: list[list[float]]
    standard_error: float
    layer: int
    head: int
    share: float
    passes: bool


@dataclass(frozen=True)
class Heads:
    """What heads look at in sentences of the books."""

    books: list[str]
    sentences: int
    tokens: int
    longest: int
    kinds: dict[str, Kind]


@dataclass(frozen=True)
class Shown:
    """One of ATTENDED and what the best head of each of IN_SENTENCES gives to its kind; None if there is none."""

    text: str
    shares: dict[str, float | None]


@dataclass(frozen=True)
class Knowledge:
    """All that the page tells.

    nearest_by_pieces is how many of `nearest` would be right by counts of pieces; looks has, for each token of the
    first of ATTENDED, the token that `shown_head` gives most attention, and how much.
    """

    about: About
    fills: list[Fill]
    pairs: list[MinimalPair]
    next_sentences: list[NextSentence]
    nearest: list[Nearest]
    nearest_by_pieces: int
    heads: Heads
    shown: list[Shown]
    looks: list[list[Any]]

    def to_json(self) -> str:
        text = json.dumps(asdict(self), indent=1, ensure_ascii=False)
        # A list of numbers, or of a word and numbers, is a line.
        return re.sub(r"\[\n[^\[\]{}]*\]", lambda match: " ".join(match[0].split()), text) + "\n"

    @classmethod
    def from_json(cls, text: str) -> Knowledge:
        given = json.loads(text)
        heads = given["heads"]
        kinds = {name: Kind(**kind) for name, kind in heads["kinds"].items()}
        return cls(
            about=About(**given["about"]),
            fills=[Fill(**one) for one in given["fills"]],
            pairs=[MinimalPair(**one) for one in given["pairs"]],
            next_sentences=[NextSentence(**one) for one in given["next_sentences"]],
            nearest=[Nearest(**one) for one in given["nearest"]],
            nearest_by_pieces=given["nearest_by_pieces"],
            heads=Heads(**heads | {"kinds": kinds}),
            shown=[Shown(**one) for one in given["shown"]],
            looks=given["looks"],
        )


def rounded(value: float) -> float:
    """To what is stored: a millionth."""
    return round(float(value), 6)


# --- measuring ---------------------------------------------------------------------------------------------------


def load(folder: Path) -> tuple[numbert.BertForPreTraining, Tokenizer]:
    return numbert.BertForPreTraining.from_pretrained(folder), numbert.load_tokenizer(folder)


def know(folder: Path, heads: Heads) -> Knowledge:
    """All of a model's results, where those that need books are already there."""
    model, tokenizer = load(folder)
    texts = [text for texts in THINGS.values() for text in texts]
    things = [thing for thing, texts in THINGS.items() for _ in texts]
    best_by_pieces = nearest_sentences(piece_counts(tokenizer, texts), texts, things)
    return Knowledge(
        about=about(folder, model),
        fills=fill_all(model, tokenizer),
        pairs=compare_forms(model, tokenizer),
        next_sentences=judge_pairs(model, tokenizer),
        nearest=nearest_sentences(embed(model, tokenizer, texts), texts, things),
        nearest_by_pieces=same_things(best_by_pieces),
        heads=heads,
        shown=[show(model, tokenizer, text, heads) for text in ATTENDED],
        looks=where_it_looks(model, tokenizer, ATTENDED[0], shown_head(heads)),
    )


def about(folder: Path, model: numbert.BertForPreTraining) -> About:
    config = model.config
    name = folder.resolve().name
    sizes = (
        f"{config.num_hidden_layers} layers of {config.num_attention_heads} heads, a width of "
        f"{config.hidden_size}, {config.vocab_size:,} pieces of vocabulary and {config.max_position_embeddings} "
        f"positions: {model.num_parameters():,} parameters"
    )
    weights = (folder / "model.safetensors").read_bytes()
    card = folder / CARD
    score = score_on(card.read_text(encoding="utf-8")) if card.is_file() else ""
    return About(name, is_shipped(folder), sizes, hashlib.sha256(weights).hexdigest(), score)


def is_shipped(folder: Path) -> bool:
    return folder.resolve() in [shipped.resolve() for shipped in shipped_models().values()]


def score_on(card: str) -> str:
    """The model's own row of the table of scores, as prose; empty if there is none."""
    match = re.search(r"^\|([^\n]*)\|\n\|[-|]*\|\n\| this model \|([^\n]*)\|$", card, re.MULTILINE)
    if not match:
        return ""
    names, values = match[1].split("|")[1:], match[2].split("|")
    return ", ".join(f"{name.strip()} {value.strip()}" for name, value in zip(names, values, strict=True))


def all_guesses(
    model: numbert.BertForPreTraining, tokenizer: Tokenizer, texts: Iterable[str]
) -> list[dict[str, float]]:
    """For each text the probability of every piece, from the most probable one to the least."""
    filled = fill_mask(model, tokenizer, texts, top_k=model.config.vocab_size)
    return [{guess.token: rounded(guess.probability) for guess in one.masks[0]} for one in filled]


def fill_all(model: numbert.BertForPreTraining, tokenizer: Tokenizer) -> list[Fill]:
    asked = [(kind, text, words) for kind, texts in FILLS.items() for text, words in texts.items()]
    found = []
    for (kind, text, words), guesses in zip(
        asked, all_guesses(model, tokenizer, [text for _, text, _ in asked]), strict=True
    ):
        best = [[piece, probability] for piece, probability in list(guesses.items())[:3]]
        found.append(Fill(kind, text, words, best, rank(words.split(), guesses)))
    return found


def rank(words: list[str], guesses: dict[str, float]) -> int | None:
    """The place, from 1, of the first of the words; None if none is among the guesses."""
    return next((place for place, piece in enumerate(guesses, start=1) if piece in words), None)


def compare_forms(model: numbert.BertForPreTraining, tokenizer: Tokenizer) -> list[MinimalPair]:
    asked = [*((*pair, False) for pair in PLAIN_PAIRS), *((*pair, True) for pair in DISTANT_PAIRS)]
    guesses = all_guesses(model, tokenizer, [text for text, *_ in asked])
    return [
        MinimalPair(text, right, wrong, distant, [found.get(right, 0.0), found.get(wrong, 0.0)])
        for (text, right, wrong, distant), found in zip(asked, guesses, strict=True)
    ]


def judge_pairs(model: numbert.BertForPreTraining, tokenizer: Tokenizer) -> list[NextSentence]:
    others = [second for _, second in (*FOLLOWING[1:], FOLLOWING[0])]
    asked = [
        *((first, second, True) for first, second in FOLLOWING),
        *((first, other, False) for (first, _), other in zip(FOLLOWING, others, strict=True)),
    ]
    return [
        NextSentence(first, second, follows, rounded(next_sentence(model, tokenizer, first, second)))
        for first, second, follows in asked
    ]


def piece_counts(tokenizer: Tokenizer, texts: list[str]) -> Array:
    """How often each text has each piece: float64 [texts,v]."""
    counts = np.zeros((len(texts), tokenizer.get_vocab_size()))
    for row, encoding in zip(counts, tokenizer.encode_batch(texts, add_special_tokens=False), strict=True):
        np.add.at(row, encoding.ids, 1)
    return counts


def nearest_sentences(vectors: Array, texts: Sequence[str], things: Sequence[str]) -> list[Nearest]:
    """For each text the nearest of the others, by the cosine of their vectors [texts,e]."""
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    cosines = unit @ unit.T  # [texts,texts]
    np.fill_diagonal(cosines, -np.inf)
    same = np.array([[one == other for other in things] for one in things])
    found = []
    for i, row in enumerate(cosines):
        j = int(row.argmax())
        margin = row[same[i]].max() - row[~same[i]].max()
        found.append(Nearest(texts[i], things[i], texts[j], things[j], rounded(row[j]), rounded(margin)))
    return found


def same_things(nearest: Sequence[Nearest]) -> int:
    """How many have a nearest sentence about the same thing."""
    return sum(one.thing == one.nearest_thing for one in nearest)


# --- what heads look at ------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Tally:
    """Sums over the tokens of each of b texts, for the k kinds.

    Attributes:
        tokens: how many tokens there are for which the text has a token of the kind, [b,k].
        uniform: the sum of what uniform attention gives to the kind, [b,k].
        shares: the sum of what each head gives to it, [b,k,n,h].
    """

    tokens: Array
    uniform: Array
    shares: Array


def look(books: Sequence[Path], folder: Path, sentences: int = SENTENCES, seed: int = SEED) -> Heads:
    """What the heads look at in sentences of the books, drawn at random. The same seed draws the same ones.

    Raises:
        InputError: a book cannot be read, or the books have too few sentences of that length.
    """
    model, tokenizer = load(folder)
    longest = min(LONGEST, model.config.max_position_embeddings)
    drawn = draw(books, tokenizer, longest, sentences, seed)
    marks = mark_ids(tokenizer)
    tallies = [
        tally(np.stack(attentions(model, batch), axis=1), targets(batch, marks), batch["attention_mask"])
        for _, batch in batches(drawn, 32, model, progress=False)
    ]
    tokens = sum(len(encoding) - 2 for encoding in drawn)
    return Heads([book.name for book in books], len(drawn), tokens, longest, kinds(joined(tallies)))


def draw(books: Sequence[Path], tokenizer: Tokenizer, longest: int, number: int, seed: int) -> list[Encoding]:
    """Sentences of SHORTEST to `longest` tokens, in an order at random."""
    sentences = [sentence for sentence in find_corpus(books).sentences() if sentence]
    order = np.random.default_rng(seed).permutation(len(sentences))
    found: list[Encoding] = []
    for start in range(0, len(order), number):
        encodings = tokenizer.encode_batch([sentences[i] for i in order[start : start + number]])
        found += [encoding for encoding in encodings if SHORTEST <= len(encoding) <= longest]
        if len(found) >= number:
            return found[:number]
    raise InputError(
        f"the books have {len(found):,} sentences of {SHORTEST} to {longest} tokens; {number:,} are needed"
    )


def attentions(model: numbert.BertForPreTraining, batch: dict[str, Array]) -> tuple[Array, ...]:
    """n arrays [b,h,l,l]."""
    with numbert.no_grad():
        return model.bert(**batch, output_attentions=True).attentions


def mark_ids(tokenizer: Tokenizer) -> dict[str, list[int]]:
    """The ids of [CLS], of [SEP] and of each kind of mark."""
    signs = MARKS | {"[CLS]": ["[CLS]"], "[SEP]": ["[SEP]"]}
    ids = {kind: [tokenizer.token_to_id(sign) for sign in of_kind] for kind, of_kind in signs.items()}
    return {kind: [i for i in of_kind if i is not None] for kind, of_kind in ids.items()}


def targets(batch: dict[str, Array], marks: dict[str, list[int]]) -> Array:
    """Which tokens are of which kind, seen from each token: bool [k,b,l,l] = [kind, text, from, to].

    From [CLS], [SEP] and padding nothing is. A token is never its own comma, mark or same piece.
    """
    ids, given = batch["input_ids"], batch["attention_mask"] > 0  # [b,l]
    word = given & ~np.isin(ids, marks["[CLS]"] + marks["[SEP]"])
    b, length = ids.shape
    itself, before, after = (np.eye(length, k=k, dtype=bool) for k in (0, -1, 1))

    def to(chosen: Array) -> Array:
        """[b,l] -> [b,l,l]"""
        return np.broadcast_to(chosen[:, None, :], (b, length, length)) & ~itself

    found = {
        "previous": to(word) & before,
        "next": to(word) & after,
        "itself": np.broadcast_to(itself, (b, length, length)),
        "same": to(word) & (ids[:, :, None] == ids[:, None, :]),
    } | {kind: to(given & np.isin(ids, of_kind)) for kind, of_kind in marks.items()}
    return np.stack([found[kind] for kind in KINDS]) & word[None, :, :, None]


def tally(attention: Array, target: Array, attention_mask: Array) -> Tally:
    """Sums the attention [b,n,h,l,l] that goes to the targets [k,b,l,l] of each kind."""
    k, (b, n, h) = len(target), attention.shape[:3]
    lengths = attention_mask.sum(axis=1)  # [b]
    flat = target.reshape(k, b, -1).transpose(1, 2, 0).astype(attention.dtype)  # [b,l*l,k]
    shares = attention.reshape(b, n * h, -1) @ flat  # [b,n*h,k]
    return Tally(
        tokens=target.any(axis=-1).sum(axis=-1).T,
        uniform=target.sum(axis=(-2, -1)).T / lengths[:, None],
        shares=shares.transpose(0, 2, 1).reshape(b, k, n, h),
    )


def joined(tallies: Sequence[Tally]) -> Tally:
    """The tally of the texts of all of them."""
    return Tally(
        tokens=np.concatenate([one.tokens for one in tallies]),
        uniform=np.concatenate([one.uniform for one in tallies]),
        shares=np.concatenate([one.shares for one in tallies]),
    )


def kinds(counted: Tally) -> dict[str, Kind]:
    """For each kind the shares of all heads and the head with the largest."""
    return {key: kind(KINDS[key], index, counted) for index, key in enumerate(KINDS)}


def kind(name: str, index: int, counted: Tally) -> Kind:
    tokens = counted.tokens[:, index].astype(np.float64)  # [b]
    total = max(1.0, tokens.sum())  # a text may have no comma
    sums = counted.shares[:, index].astype(np.float64)  # [b,n,h]
    shares, uniform = sums.sum(axis=0) / total, counted.uniform[:, index].sum() / total
    layer, head = (int(i) for i in np.unravel_index(shares.argmax(), shares.shape))
    share = shares[layer, head]
    # Of a ratio of two sums over texts, which are what was drawn.
    error = np.sqrt(np.square(sums[:, layer, head] - share * tokens).sum()) / total
    return Kind(
        name=name,
        tokens=int(tokens.sum()),
        uniform=rounded(uniform),
        shares=[[rounded(one) for one in row] for row in shares],
        standard_error=rounded(error),
        layer=layer,
        head=head,
        share=rounded(share),
        passes=looks_at(share, uniform),
    )


def looks_at(share: float, uniform: float) -> bool:
    """The rule."""
    return bool(share >= LEAST_SHARE and share >= LEAST_TIMES * uniform)


def shown_head(heads: Heads) -> Kind | None:
    """The head with the largest share of a kind it looks at, of a kind of words and marks if there is one."""
    passing = {name: kind for name, kind in heads.kinds.items() if kind.passes}
    of_words = [kind for name, kind in passing.items() if name in MARKS or name in ("previous", "next", "same")]
    return max(of_words or passing.values(), key=lambda kind: kind.share, default=None)


def one_sentence(tokenizer: Tokenizer, text: str) -> tuple[list[str], dict[str, Array]]:
    encoding = tokenizer.encode(text)
    ids = np.array([encoding.ids])
    return encoding.tokens, {"input_ids": ids, "attention_mask": np.ones_like(ids)}


def show(model: numbert.BertForPreTraining, tokenizer: Tokenizer, text: str, heads: Heads) -> Shown:
    """What the best head of each kind gives to the kind in one sentence; None where it has none of it."""
    _, batch = one_sentence(tokenizer, text)
    attention = np.stack(attentions(model, batch), axis=1)
    found = kinds(tally(attention, targets(batch, mark_ids(tokenizer)), batch["attention_mask"]))
    shares: dict[str, float | None] = {}
    for name in IN_SENTENCES:
        best = heads.kinds[name]
        shares[name] = found[name].shares[best.layer][best.head] if found[name].tokens else None
    return Shown(text, shares)


def where_it_looks(
    model: numbert.BertForPreTraining, tokenizer: Tokenizer, text: str, kind: Kind | None
) -> list[list[Any]]:
    """For each token of a sentence the token that the head gives most attention, and how much."""
    if kind is None:
        return []
    tokens, batch = one_sentence(tokenizer, text)
    rows = attentions(model, batch)[kind.layer][0, kind.head, 1:-1]  # [l - 2,l]
    return [
        [token, tokens[row.argmax()], rounded(row.max())] for token, row in zip(tokens[1:-1], rows, strict=True)
    ]


# --- writing -----------------------------------------------------------------------------------------------------


def prose(text: str) -> str:
    """Lines of the pages' width."""
    return textwrap.fill(" ".join(text.split()), 118, break_on_hyphens=False, break_long_words=False)


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def plain(text: str) -> str:
    """A text in which Markdown sees no marks of its own."""
    return re.sub(r"([\\|*_`<~])", r"\\\1", text)


def percent(share: float) -> str:
    return f"{share:.0%}" if share >= 0.0995 else f"{share:.1%}" if share >= 0.00095 else f"{share:.2%}"


def luck(right: int, of: int) -> str:
    """How probably as many or more are right by guessing between two."""
    probability = sum(comb(of, i) for i in range(right, of + 1)) / 2**of
    return f"By guessing, {right} or more of {of} are right with a probability of {percent(probability)}."


def first_among(fills: Sequence[Fill], places: int) -> int:
    """How many have an expected word among the first so many places."""
    return sum(fill.rank is not None and fill.rank <= places for fill in fills)


def page(known: Knowledge) -> str:
    parts = [
        "# What the model knows",
        *beginning(known),
        *fill_part(known.fills),
        *pair_part(known.pairs),
        *next_part(known.next_sentences),
        *nearest_part(known),
        *heads_part(known),
    ]
    return "\n\n".join(parts) + "\n"


def beginning(known: Knowledge) -> list[str]:
    about = known.about
    card = f"[its card](../weights/{about.name}/{CARD})" if about.shipped else "its card"
    score = f"On text that it has not read: {about.score} ({card})." if about.score else "It has no card."
    return [
        prose(
            f"""The model {plain(about.name)} has {about.sizes}. {score} The SHA-256 of its weights begins with
            {about.sha256[:16]}."""
        ),
        prose(
            """Here is what it does with sentences of our own, in the manner of old novels. They were written
            before it was tried, and all are shown, good and bad. So few sentences show what kind of thing a
            model knows, not how well: for that, the score counts thousands of masks."""
            + f" [{DATA}]({DATA}) has the same for programs, with the number of the head for each kind of token."
        ),
        table(("", "right", "by chance"), summary(known)),
        "The page, with every number on it and every sentence about them, is made by this (books by their paths):",
        f"```sh\n{command(known)}\n```",
    ]


def summary(known: Knowledge) -> list[tuple[str, str, str]]:
    fills, pairs, following, nearest = known.fills, known.pairs, known.next_sentences, known.nearest
    passing = sum(kind.passes for kind in known.heads.kinds.values())
    return [
        ("[the expected word comes first](#fill-a-mask)", f"{first_among(fills, 1)} of {len(fills)}", "-"),
        (
            "[of two forms the right one](#of-two-forms-the-right-one)",
            f"{sum(map(right, pairs))} of {len(pairs)}",
            f"{len(pairs) / 2:.0f}",
        ),
        (
            "[whether a sentence follows](#does-it-follow)",
            f"{sum(one.right for one in following)} of {len(following)}",
            f"{len(following) / 2:.0f}",
        ),
        (
            "[the nearest sentence is about the same thing](#the-nearest-sentence)",
            f"{same_things(nearest)} of {len(nearest)}",
            f"{chance(nearest) * len(nearest):.0f}",
        ),
        ("[kinds of token that a head looks at](#what-heads-look-at)", f"{passing} of {len(KINDS)}", "-"),
    ]


def command(known: Knowledge) -> str:
    model = "" if known.about.name == MODEL else f"--model {known.about.name} "
    typed = f"python docs/what_it_knows.py {model}--card --held-out {' '.join(known.heads.books)}"
    lines = textwrap.wrap(typed, 112, subsequent_indent="    ", break_on_hyphens=False, break_long_words=False)
    return " \\\n".join(lines)


def by_kind(fills: Sequence[Fill]) -> dict[str, list[Fill]]:
    return {kind: [fill for fill in fills if fill.kind == kind] for kind in FILLS}


def fill_part(fills: Sequence[Fill]) -> list[str]:
    counts = [
        (f"[{kind}](#{kind.replace(' ', '-')})", *(f"{first_among(of_kind, n)} of {len(of_kind)}" for n in (1, 3)))
        for kind, of_kind in by_kind(fills).items()
    ]
    parts = ["## Fill a mask", prose(about_ranks(fills)), table(("kind", "first", "among three"), counts)]
    for kind, of_kind in by_kind(fills).items():
        rows = [(plain(fill.text), words(fill), guesses(fill), place(fill)) for fill in of_kind]
        parts += [f"### {kind.capitalize()}", table(("sentence", "expected", "most probable", "rank"), rows)]
    return parts


def about_ranks(fills: Sequence[Fill]) -> str:
    facts = by_kind(fills)["facts of the world"]
    known = first_among(facts, 1)
    missing = sum(fill.rank is None for fill in fills)
    text = f"""The rank is the place of the expected word, or of the best of several, among all pieces of the
    vocabulary. What is counted is how often it is first, and how often among the first three. It is first
    for {known or "none"} of {len(facts)} facts of the world."""
    if missing:
        text += f" A dash ({missing} of {len(fills)} sentences): the expected word is no single piece."
    return text


def words(fill: Fill) -> str:
    return fill.expected.replace(" ", ", ")


def guesses(fill: Fill) -> str:
    return " · ".join(guess(piece, probability) for piece, probability in fill.guesses)


def guess(piece: str, probability: float) -> str:
    """A piece without a letter is put in quotes, as it would be taken for the page's own punctuation."""
    return f"{plain(piece) if any(map(str.isalnum, piece)) else repr(plain(piece))} {percent(probability)}"


def place(fill: Fill) -> str:
    if fill.rank is None:
        return "-"
    return "**1**" if fill.rank == 1 else f"{fill.rank:,}"


def right(pair: MinimalPair) -> bool:
    return pair.probabilities[0] > pair.probabilities[1]


def pair_part(pairs: Sequence[MinimalPair]) -> list[str]:
    near, distant = ([pair for pair in pairs if pair.distant is far] for far in (False, True))
    got = sum(map(right, pairs))
    rows = []
    for pair in pairs:
        forms = zip((pair.right, pair.wrong), pair.probabilities, strict=True)
        cells = (f"{form} {percent(probability)}" for form, probability in forms)
        rows.append((plain(pair.text), *cells, "yes" if right(pair) else "**no**"))
    return [
        "### Of two forms the right one",
        prose(
            f"""The right form is more probable than the wrong one in {got} of {len(pairs)} sentences: in
            {sum(map(right, near))} of the first {len(near)}, and in {sum(map(right, distant))} of the other
            {len(distant)}, where another noun stands between the words that agree. Each form is right as often
            as it is wrong, so whoever always prefers the same one is right in half. {luck(got, len(pairs))}"""
        ),
        table(("sentence", "right", "wrong", "the right one"), rows),
    ]


def next_part(pairs: Sequence[NextSentence]) -> list[str]:
    got = sum(one.right for one in pairs)
    following, others = ([one.right for one in pairs if one.follows is follows] for follows in (True, False))
    rows = [
        (
            plain(one.first),
            plain(one.second),
            "yes" if one.follows else "no",
            f"{one.probability:.1%}",
            "yes" if one.right else "**no**",
        )
        for one in pairs
    ]
    return [
        "## Does it follow",
        prose(
            f"""{len(following)} sentences, each once with the one that follows it and once with one that
            follows another, so that neither alone tells. What has a probability above half is taken to follow:
            that is right in {got} of {len(pairs)}, in {sum(following)} of the {len(following)} that follow and
            {sum(others)} of the {len(others)} that do not. {luck(got, len(pairs))}"""
        ),
        table(("first", "second", "follows", "probability", "right"), rows),
    ]


def chance(nearest: Sequence[Nearest]) -> float:
    """How often one of the others, drawn at random, is about the same thing."""
    things = Counter(one.thing for one in nearest)
    return sum((things[one.thing] - 1) / (len(nearest) - 1) for one in nearest) / len(nearest)


def nearest_part(known: Knowledge) -> list[str]:
    nearest, got = known.nearest, same_things(known.nearest)
    all_of = Counter(one.thing for one in nearest)
    same = Counter(one.thing for one in nearest if one.thing == one.nearest_thing)
    ordered = sorted(nearest, key=lambda one: -one.margin)
    rows = [
        (
            f"{plain(one.text)} ({one.thing})",
            f"{plain(one.nearest)} ({one.nearest_thing})",
            f"{one.cosine:.3f}",
            f"{one.margin:+.3f}",
        )
        for one in (*ordered[:SHOWN], *ordered[-SHOWN:])
    ]
    return [
        "## The nearest sentence",
        prose(
            f"""{len(nearest)} sentences about {len(all_of)} things. `numbert.embed` makes a vector of each, and
            the nearest of the others is the one with the largest cosine. It is about the same thing for {got}
            ({got / len(nearest):.0%}); by chance it would be for {chance(nearest):.0%}, and by counts of pieces
            in place of the model's vectors it is for {known.nearest_by_pieces}
            ({known.nearest_by_pieces / len(nearest):.0%})."""
        ),
        table(("about", "so is the nearest"), [(thing, f"{same[thing]} of {all_of[thing]}") for thing in all_of]),
        prose(
            f"""The {SHOWN} best and the {SHOWN} worst by their margin, which is the cosine with the nearest
            about the same thing, less that with the nearest about any other:"""
        ),
        table(("sentence", "nearest", "cosine", "margin"), rows),
    ]


def heads_part(known: Knowledge) -> list[str]:
    heads = known.heads
    error = max(kind.standard_error for kind in heads.kinds.values())
    others = [kind.name for kind in heads.kinds.values() if not kind.passes]
    rows = [
        (
            kind.name,
            f"{kind.tokens:,}",
            percent(kind.uniform),
            percent(kind.share),
            f"{kind.layer}.{kind.head}",
            f"{kind.share / kind.uniform:.1f}" if kind.uniform else "-",
            "**yes**" if kind.passes else "no",
        )
        for kind in heads.kinds.values()
    ]
    return [
        "## What heads look at",
        prose(
            f"""Counted over {heads.sentences:,} sentences of {SHORTEST} to {heads.longest} tokens, drawn at
            random (seed {SEED}) from {len(heads.books)} books that the model has not read. For each of their
            {heads.tokens:,} tokens (without [CLS] and [SEP]) and each head: how much of its attention goes to
            tokens of a kind. The mean is over the tokens whose sentence has one of the kind. A token is not its
            own comma, mark or same piece, and [CLS] and [SEP] are not counted as the token before or after."""
        ),
        prose(
            f"""**The rule**: a head looks at a kind if it gives it at least {LEAST_SHARE:.0%} of its attention,
            and at least {LEAST_TIMES} times what uniform attention gives in the same sentences. There is such a
            head for {len(heads.kinds) - len(others)} of {len(heads.kinds)} kinds."""
            + (f" No head looks at: {', '.join(others)}." if others else "")
        ),
        prose(
            f"""The table has the head with the largest share, by its layer and its number there, both counted
            from 0. The standard error of these shares is at most {ceil(1000 * error) / 10:.1f} points."""
        ),
        table(("kind", "tokens", "uniform", "largest share", "head", "times uniform", "looks at it"), rows),
        *sentences_part(known),
        *example_part(known),
        *all_heads_part(heads),
    ]


def sentences_part(known: Knowledge) -> list[str]:
    best = {name: known.heads.kinds[name] for name in IN_SENTENCES}
    rows = []
    for one in known.shown:
        shares = (one.shares[name] for name in best)
        rows.append((plain(one.text), *("-" if share is None else percent(share) for share in shares)))
    return [
        "### In ten sentences",
        prose(
            """The same heads in sentences of our own: what goes to the kind, from the head that has the largest
            share in the books, whether it passes the rule or not. A dash: there is none of the kind."""
        ),
        table(("sentence", *(f"{SHORT[name]} ({kind.layer}.{kind.head})" for name, kind in best.items())), rows),
    ]


def example_part(known: Knowledge) -> list[str]:
    kind = shown_head(known.heads)
    if kind is None:
        return []
    width = max(len(token) for token, _, _ in known.looks)
    lines = [f"{token:>{width}} -> {seen:<{width}} {percent(share):>5}" for token, seen, share in known.looks]
    parts = [
        prose(
            f"""In the first of them, for each token the one that gets most of the attention of head
            {kind.layer}.{kind.head}, whose kind is: {kind.name}."""
        ),
        "```\n" + "\n".join(lines) + "\n```",
    ]
    if known.about.shipped:
        parts += ["The same in Python, for any sentence:", code(known.about.name, kind)]
    return parts


def code(name: str, kind: Kind) -> str:
    return f"""```python
import numpy as np

import numbert

folder = numbert.shipped_model("{name}")
tokenizer, model = numbert.load_tokenizer(folder), numbert.BertModel.from_pretrained(folder)
tokens = tokenizer.encode("{ATTENDED[0]}")
with numbert.no_grad():
    attentions = model(np.array([tokens.ids]), output_attentions=True).attentions
attention = attentions[{kind.layer}][0, {kind.head}]  # [l,l]
seen = [tokens.tokens[place] for place in attention.argmax(axis=-1)]
```"""


def all_heads_part(heads: Heads) -> list[str]:
    rows = [("uniform", *(f"{kind.uniform:.0%}" for kind in heads.kinds.values()))]
    for layer, head in np.ndindex(np.shape(next(iter(heads.kinds.values())).shares)):
        shares = [(kind.shares[layer][head], kind.uniform) for kind in heads.kinds.values()]
        cells = (f"**{share:.0%}**" if looks_at(share, uniform) else f"{share:.0%}" for share, uniform in shares)
        rows.append((f"{layer}.{head}", *cells))
    return [
        "### All heads",
        "The kinds as above, in the books. Bold is what passes the rule.",
        table(("head", *SHORT.values()), rows),
    ]


def card_section(known: Knowledge) -> str:
    """A summary for the model's card: a heading and a few lines."""
    pairs, following, nearest = known.pairs, known.next_sentences, known.nearest
    ordered = sorted(nearest, key=lambda one: one.margin)
    passing = [kind for kind in known.heads.kinds.values() if kind.passes]
    looks = [f"{kind.name} ({kind.layer}.{kind.head}, {percent(kind.share)})" for kind in passing]
    tried = f"[Sentences of our own](../../docs/{PAGE.name})" if known.about.shipped else "Sentences of our own"
    points = [
        f"The expected word comes first, by kind: {', '.join(kinds_by_success(known.fills))}.",
        *examples(known.fills),
        f"""Of two forms the right one is more probable in {sum(map(right, pairs))} of {len(pairs)}, by chance
        in {len(pairs) / 2:.0f}.""",
        f"""Whether a sentence follows is right in {sum(one.right for one in following)} of {len(following)}, by
        chance in {len(following) / 2:.0f}.""",
        f"""The nearest of {len(nearest)} sentences is about the same thing for {same_things(nearest)}, by
        chance for {chance(nearest) * len(nearest):.0f}, by counts of pieces for {known.nearest_by_pieces}. The
        best and the worst: {neighbours(ordered[-1])}; {neighbours(ordered[0])}.""",
        f"What heads look at, as layer.head with the share: {', '.join(looks) or 'nothing that passes the rule'}.",
    ]
    lines = [f"{tried}, written before it was tried, and all counted:", ""]
    for point in points:
        text = " ".join(f"- {point}".split())
        lines += textwrap.wrap(text, 118, subsequent_indent="  ", break_on_hyphens=False)
    return "\n".join([HEADING, "", *lines]) + "\n"


def kinds_by_success(fills: Sequence[Fill]) -> list[str]:
    """The best kind first."""
    counted = [(first_among(of_kind, 1), kind, len(of_kind)) for kind, of_kind in by_kind(fills).items()]
    return [f"{kind} {first} of {of}" for first, kind, of in sorted(counted, key=lambda one: -one[0])]


def examples(fills: Sequence[Fill]) -> list[str]:
    """The right guess and the wrong one that have the highest probabilities, as lines."""
    lines = []
    for is_right, title in ((True, "Most sure and right"), (False, "Most sure and wrong")):
        some = [fill for fill in fills if (fill.rank == 1) is is_right]
        if not some:
            continue
        fill = max(some, key=lambda one: one.guesses[0][1])
        expected = "" if is_right else f"; expected: {words(fill)}"
        best = guess(*fill.guesses[0])
        lines.append(f"{title}: {plain(fill.text)} ({best}{expected})")
    return lines


def neighbours(one: Nearest) -> str:
    return f'"{plain(one.text)}" beside "{plain(one.nearest)}"'


def with_section(card: str, section: str) -> str:
    """The card with the section in the place of the one of the same heading, or at its end."""
    before, found, rest = card.partition(section.splitlines()[0] + "\n")
    after = re.search(r"^## ", rest, re.MULTILINE) if found else None
    parts = [before.rstrip() + "\n", section] + ([rest[after.start() :]] if after else [])
    return "\n".join(parts)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--model", default=MODEL, help=f"a model that comes with numbert, or a folder ({MODEL})")
    parser.add_argument("--held-out", nargs="+", type=Path, required=True, metavar="BOOK", help="held-out text")
    parser.add_argument("--output", type=Path, default=PAGE, metavar="PAGE.md", help="the page to write")
    parser.add_argument("--card", action="store_true", help=f"put a summary into the model's {CARD}, and print it")
    parser.add_argument("--json", action="store_true", help="print the results as JSON and write nothing")
    options = parser.parse_args(arguments)
    folder = model_folder(options.model)
    known = know(folder, look(options.held_out, folder))
    if options.json:
        print(known.to_json(), end="")
        return
    options.output.write_text(page(known), encoding="utf-8")
    options.output.with_suffix(".json").write_text(known.to_json(), encoding="utf-8")
    if options.card:
        section, card = card_section(known), folder / CARD
        print(section, end="")
        if card.is_file():
            card.write_text(with_section(card.read_text(encoding="utf-8"), section), encoding="utf-8")
        else:
            say(f"{folder} has no {CARD} to put it into")


if __name__ == "__main__":
    try:
        main()
    except InputError as error:
        say(str(error))
        sys.exit(2)
