"""Draws is-my-loss-normal.svg from the runs that is-my-loss-normal.md lists: python docs/draw_losses.py RUNS"""

import math
import sys
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from numbert.train.metrics import read_metrics

RUNS = {
    "normal": ("the default run", "#0072b2"),
    "rate-too-high": ("learning rate 0.03", "#d55e00"),
    "rate-too-low": ("learning rate 0.00005", "#a04e8c"),
    "few-pairs": ("4 pairs in a batch", "#009e73"),
    "long-pairs": ("16 pairs of 128 tokens", "#56b4e9"),
    "little": ("a text of 2,000 lines", "#b8860b"),
}
SMOOTHED = 9  # lines of metrics, of 10 steps each


def main(folder: Path) -> None:
    figure = Figure(figsize=(11, 6.4), layout="constrained")
    axes = figure.subplots()
    ends = []
    for name, (text, colour) in RUNS.items():
        lines = read_metrics(folder / name / "metrics.jsonl")
        steps, losses = np.array([(line["step"], line["loss"]) for line in lines if "loss" in line]).T
        width = np.minimum(SMOOTHED, 2 * np.arange(len(losses)) + 1) // 2
        smooth = [losses[max(0, i - w) : i + w + 1].mean() for i, w in enumerate(width)]
        axes.plot(steps, smooth, color=colour, linewidth=1.8)
        held_out = [(line["step"], line["held_out"]["loss"]) for line in lines if "held_out" in line]
        axes.plot(*zip(*held_out, strict=True), color=colour, marker="o", markersize=3, linewidth=0)
        ends.append([smooth[-1], text, colour])
        if name == "normal":
            for kind, label in (
                ("frequencies", "frequencies"),
                ("bigrams", "the token to the left"),
            ):
                height = lines[-1][kind]["mlm_loss"] + math.log(2)
                axes.axhline(height, color="#888888", linewidth=1, linestyle="--", zorder=0)
                around = {"facecolor": "white", "edgecolor": "none", "pad": 1.0, "alpha": 0.85}
                axes.text(
                    200 if kind == "bigrams" else 1_000,
                    height,
                    label,
                    color="#666666",
                    fontsize=9,
                    va="center",
                    bbox=around,
                )
    ends.sort()
    place = -math.inf
    for loss, text, colour in ends:  # labels keep their distance
        place = max(place + 0.2, loss)
        axes.annotate(text, (1_715, place), color=colour, va="center", fontsize=10, annotation_clip=False)
    axes.set(xlim=(0, 1_700), ylim=(2.3, 9.6), xlabel="step", ylabel="loss: MLM + NSP, nats")
    axes.set_title("training (lines) and held-out documents (points)", loc="left")
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(Path(__file__).with_name("is-my-loss-normal.svg"))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
