"""Draws pruning.svg and prints the table of pruning.md: python docs/draw_pruning.py"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

import numbert
from numbert.progress import say
from numbert.text.documentation import documentation

BATCH = 32  # sentences
RANDOM = 6  # orders at random
EVERY = 2  # heads are pruned at a time
TABLE = (24, 20, 16, 12, 8, 4)  # heads left

Batch = dict[str, np.ndarray]
Order = list[tuple[int, int]]  # (layer, head), the first to be pruned first


def masked_sentences(seed: int = 0) -> tuple[list[Batch], list[Batch]]:
    """Two halves of numbert's own docstrings, which the model has not read, with 15% of the tokens masked."""
    tokenizer = numbert.load_tokenizer(numbert.shipped_model("python"))
    sentences = [s for document in documentation([Path(numbert.__file__).parent]) for s in document]
    encoded = [e.ids for e in tokenizer.encode_batch(sentences) if 8 <= len(e.ids) <= 64]
    rng, mask = np.random.default_rng(seed), tokenizer.token_to_id("[MASK]")
    encoded = [encoded[i] for i in rng.permutation(len(encoded))]
    middle = len(encoded) // 2

    def batches(those: list[list[int]]) -> Iterator[Batch]:
        those = sorted(those, key=len)
        for start in range(0, len(those), BATCH):
            part = those[start : start + BATCH]
            lengths = np.array([len(ids) for ids in part])
            input_ids = np.zeros((len(part), lengths.max()), np.int64)  # [b,l]
            for row, ids in zip(input_ids, part, strict=True):
                row[: len(ids)] = ids
            places = np.arange(input_ids.shape[1])
            inner = (places > 0) & (places < lengths[:, None] - 1)  # neither [CLS] nor [SEP] nor [PAD]
            chosen = inner & (rng.random(input_ids.shape) < 0.15)
            yield {
                "input_ids": np.where(chosen, mask, input_ids),
                "attention_mask": (places < lengths[:, None]).astype(np.int64),
                "labels": np.where(chosen, input_ids, -100),
            }

    return list(batches(encoded[:middle])), list(batches(encoded[middle:]))


def accuracy(model: Any, batches: list[Batch]) -> float:
    """How often the most probable piece is the true one."""
    right = []
    for batch in batches:
        model(**batch, return_logits=False)
        labels = batch["labels"][batch["labels"] != -100]  # [m], as in probs [m,v]
        right.append(model.saved.probs.argmax(axis=-1) == labels)
        model.forget()
    return float(np.concatenate(right).mean())


def by_importance(scores: np.ndarray) -> Order:
    """The heads from the lowest score to the highest, without the last of a layer, which has to stay."""
    order = [tuple(map(int, np.unravel_index(i, scores.shape))) for i in np.argsort(scores, axis=None)]
    return prunable(order, *scores.shape)


def at_random(n: int, h: int, seed: int) -> Order:
    """The same in an order at random."""
    heads = np.random.default_rng(seed).permutation(n * h)
    return prunable([(int(head) // h, int(head) % h) for head in heads], n, h)


def prunable(order: Order, n: int, h: int) -> Order:
    """The order without the last head of each layer."""
    kept = {layer: max(i for i, (of, _) in enumerate(order) if of == layer) for layer in range(n)}
    return [head for i, head in enumerate(order) if i not in kept.values()]


def curve(order: Order, batches: list[Batch], every: int = EVERY) -> dict[int, float]:
    """For each number of heads that are left, the accuracy of the model `python` without the others."""
    model = numbert.BertForMaskedLM.from_pretrained(numbert.shipped_model("python"))
    total = model.config.num_hidden_layers * model.config.num_attention_heads
    found = {total: accuracy(model, batches)}
    for start in range(0, len(order), every):
        for layer, head in order[start : start + every]:
            model.prune_heads({layer: [head]})
        found[total - len(order[: start + every])] = accuracy(model, batches)
    return found


def main() -> None:
    from matplotlib.figure import Figure

    first, second = masked_sentences()
    model = numbert.BertForMaskedLM.from_pretrained(numbert.shipped_model("python"))
    scores = numbert.head_importance(model, first)
    order = by_importance(scores)
    lowest_first = curve(order, second)
    highest_first = curve(by_importance(-scores), second)
    random = [curve(at_random(*scores.shape, seed), second) for seed in range(RANDOM)]
    left = list(lowest_first)
    shares = 100 * np.array([[one[heads] for heads in left] for one in random])  # [orders, heads]
    masked = sum(int((batch["labels"] != -100).sum()) for batch in second)
    say(f"{sum(len(batch['labels']) for batch in second)} sentences, {masked} masked tokens")
    print("| heads left | lowest score first | at random: mean (lowest - highest) | highest score first |")
    print("|---|---|---|---|")
    for heads in TABLE:
        column = shares[:, left.index(heads)]
        print(
            f"| {heads} | {lowest_first[heads]:.1%} | {column.mean():.1f}% ({column.min():.1f} - "
            f"{column.max():.1f}) | {highest_first[heads]:.1%} |"
        )
    print(np.round(scores, 2))

    figure = Figure(figsize=(9, 5), layout="constrained")
    axes = figure.subplots()
    axes.fill_between(left, shares.min(axis=0), shares.max(axis=0), color="#999999", alpha=0.25, linewidth=0)
    lines = (
        (lowest_first, "lowest score first", "#0072b2"),
        (dict(zip(left, shares.mean(axis=0) / 100, strict=True)), f"{RANDOM} orders at random", "#666666"),
        (highest_first, "highest score first", "#d55e00"),
    )
    for found, text, colour in lines:
        axes.plot(left, [100 * found[heads] for heads in left], color=colour, marker="o", markersize=3, label=text)
    axes.set(
        xlim=(24.5, 3.5), ylim=(0, None), xlabel="heads left, of 24", ylabel="masked tokens filled rightly, %"
    )
    axes.set_xticks(range(24, 3, -4))
    axes.legend(frameon=False, loc="lower left")
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(Path(__file__).with_name("pruning.svg"))


if __name__ == "__main__":
    main()
