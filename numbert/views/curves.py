"""A training run as four curves: loss, accuracies, learning rate and gradient norms, in one PNG."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from numbert.errors import InputError
from numbert.files.atomic import replacing
from numbert.nn.array import Array
from numbert.train.metrics import read_metrics
from numbert.views.style import BLUE, GREEN, GREY, ORANGE, PURPLE, import_matplotlib, plain

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

METRICS = "metrics.jsonl"

Style = dict[str, Any]  # keyword arguments of matplotlib's
SMOOTHED: Style = {"linewidth": 1.8}
FAINT: Style = {"linewidth": 0.6, "alpha": 0.3}
HELD_OUT: Style = {"marker": "o", "markersize": 6, "linewidth": 0.8, "markeredgecolor": "white", "zorder": 3}
BASELINE: Style = {"linewidth": 1.0, "linestyle": "--", "color": GREY, "zorder": 1}

# A label: where on the y axis it belongs, its text and its colour.
Label = tuple[float, str, Any]


def plot_run(folder: str | Path, output: str | Path | None = None) -> Path:
    """Draws the metrics.jsonl of a training run, finished or not, and returns the path of the PNG.

    Args:
        folder: the folder of the run.
        output: the PNG to write or to replace; by default curves.png in the folder.

    Raises:
        InputError: the folder or its metrics are missing or broken, or output exists and is not a PNG.
    """
    metrics = _metrics_of(Path(folder))
    path = Path(folder) / "curves.png" if output is None else Path(output)
    _check_output(path)
    figure = draw(metrics)
    with replacing(path.parent) as new:
        figure.savefig(new / path.name, format="png", dpi=150)
    return path


def _metrics_of(folder: Path) -> list[dict[str, Any]]:
    if not folder.is_dir():
        raise InputError(f"{folder} {'is not a folder' if folder.exists() else 'does not exist'}")
    path = folder / METRICS
    if not path.is_file():
        raise InputError(f"{folder} has no {METRICS}, which `numbert pretrain` writes while it trains")
    metrics = read_metrics(path)
    if not metrics:
        raise InputError(f"{path} has no line in it yet")
    return metrics


def draw(metrics: Sequence[dict[str, Any]]) -> Figure:
    """Draws the four panels for the lines of a metrics.jsonl, which are in the order of their steps.

    A value that is missing or no number leaves a gap. Training is drawn twice: every value, faint, and a moving
    mean.
    """
    import_matplotlib()
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine
    from matplotlib.ticker import FuncFormatter, MaxNLocator

    training = [line for line in metrics if "loss" in line]
    held_out = [line for line in metrics if "held_out" in line]
    figure = Figure(figsize=(13, 8), layout=ConstrainedLayoutEngine(w_pad=0.12, h_pad=0.08))
    panels = figure.subplots(2, 2, sharex=True)
    _draw_loss(panels[0, 0], training, held_out)
    _draw_accuracies(panels[0, 1], training, held_out)
    _draw_learning_rate(panels[1, 0], training)
    _draw_gradient_norms(panels[1, 1], training)
    for axes in panels.flat:
        plain(axes)
        axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
        axes.xaxis.set_major_formatter(FuncFormatter(lambda step, _: f"{step:,.0f}"))
    for axes in panels[1]:
        axes.set_xlabel("step")
    steps = [line["step"] for line in metrics]
    # A run of one line has no width; otherwise no step is drawn that has not been.
    panels[0, 0].set_xlim(min(0, *steps), max(1, *steps) * 1.01)
    figure.suptitle(_title(metrics, training), fontsize=11)
    return figure


# --- the panels --------------------------------------------------------------------------------------------------


def _draw_loss(axes: Axes, training: list[dict[str, Any]], held_out: list[dict[str, Any]]) -> None:
    axes.set_title("loss, MLM + NSP", loc="left")
    labels = _draw_training(axes, training, "loss", "training", BLUE)
    labels += _draw_held_out(axes, held_out, "loss", "held-out", ORANGE)
    for baseline in ("frequencies", "bigrams"):
        # They guess tokens only; a coin's NSP loss makes them comparable.
        if math.isfinite(y := _last(_column(held_out, baseline, "mlm_loss")) + math.log(2)):
            labels.append(_draw_baseline(axes, y, f"{baseline} + ln 2"))
    heights = [y for y, _, _ in labels] + _column(held_out, "held_out", "loss").tolist()
    raw = _column(training, "loss")
    if len(raw := raw[np.isfinite(raw)]):  # the beginning is in view, a few spikes after it are not
        heights += [_smoothed(raw)[0].item(), *np.percentile(raw, [0.5, 99.5]).tolist()]
    heights = [y for y in heights if math.isfinite(y)] or [0.0, 1.0]
    margin = 0.06 * (max(heights) - min(heights)) or 0.5
    axes.set_ylim(max(0.0, min(heights) - margin), max(heights) + margin)
    _write_labels(axes, labels)


def _draw_accuracies(axes: Axes, training: list[dict[str, Any]], held_out: list[dict[str, Any]]) -> None:
    from matplotlib.ticker import PercentFormatter

    axes.set_title("accuracy (line: training, points: held-out)", loc="left")
    labels: list[Label] = []
    for name, key, colour in (("MLM", "mlm_accuracy", BLUE), ("NSP", "nsp_accuracy", GREEN)):
        trained = _draw_training(axes, training, key, name, colour)
        tested = _draw_held_out(axes, held_out, key, name, colour)
        labels += trained or tested  # one name in one colour for both
    labels.append(_draw_baseline(axes, 0.5, "NSP by a coin"))
    for baseline in ("frequencies", "bigrams"):
        if math.isfinite(y := _last(_column(held_out, baseline, "mlm_accuracy"))):
            labels.append(_draw_baseline(axes, y, f"MLM by {baseline}"))
    drawn = [0.5] + [y for line in axes.get_lines() for y in np.asarray(line.get_ydata()) if math.isfinite(y)]
    axes.set_ylim(0, min(1.02, max(drawn) * 1.1))
    axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    _write_labels(axes, labels)


def _draw_learning_rate(axes: Axes, training: list[dict[str, Any]]) -> None:
    from matplotlib.ticker import FuncFormatter

    axes.set_title("learning rate", loc="left")
    rates = _column(training, "learning_rate")
    axes.plot(_column(training, "step"), rates, color=PURPLE, label="learning rate", **SMOOTHED, **_dots(rates))
    axes.set_ylim(0, max((float(rate) for rate in rates if 0 < rate < math.inf), default=1.0) * 1.08)
    axes.yaxis.set_major_formatter(FuncFormatter(lambda rate, _: f"{rate:.1e}" if rate else "0"))
    if math.isfinite(latest := _last(rates)):
        _write_labels(axes, [(latest, f"{latest:.1e}" if latest else "0", PURPLE)])


def _draw_gradient_norms(axes: Axes, training: list[dict[str, Any]]) -> None:
    from matplotlib import colormaps

    axes.set_title("gradient norm", loc="left")
    axes.set_yscale("log")
    names = {name for line in training if isinstance(norms := line.get("gradient_norms"), dict) for name in norms}
    layers = sorted((name for name in names if re.fullmatch(r"layer\.\d+", name)), key=lambda name: int(name[6:]))
    # Both ends of the ramp are left out: they are too dark and too pale beside the other colours.
    ramp = colormaps["plasma"](np.linspace(0.15, 0.85, max(1, len(layers))))
    colours: dict[str, Any] = dict(zip(layers, ramp, strict=False))
    titles = {name: name.replace(".", " ") for name in (*layers[:1], *layers[-1:])}
    others = (("embeddings", "embeddings", GREEN), ("pooler", "pooler", BLUE), ("cls", "heads", GREY))
    for name, title, colour in others:
        if name in names:
            colours[name], titles[name] = colour, title
    labels: list[Label] = []
    drawn: list[float] = []
    steps = _column(training, "step")
    for name, colour in colours.items():
        norms = _column(training, "gradient_norms", name)
        # The mean of the logarithms, as one sees it on this scale; a norm of 0 is a gap.
        curve = np.exp(_smoothed(np.log(np.where(norms > 0, norms, math.nan))))
        axes.plot(steps, curve, color=colour, linewidth=1.2, label=name, **_dots(curve))
        if name in titles and math.isfinite(latest := _last(curve)):
            labels.append((latest, titles[name], colour))
        drawn += curve[np.isfinite(curve)].tolist()
    if drawn:
        axes.set_ylim(min(drawn) / 1.3, max(drawn) * 1.3)
    _write_labels(axes, labels)


# --- their parts -------------------------------------------------------------------------------------------------


def _draw_training(axes: Axes, lines: list[dict[str, Any]], key: str, text: str, colour: str) -> list[Label]:
    steps, values = _column(lines, "step"), _column(lines, key)
    smoothed = _smoothed(values)
    axes.plot(steps, values, color=colour, label=f"{text}, each line", **FAINT)
    axes.plot(steps, smoothed, color=colour, label=f"{text}, smoothed", **SMOOTHED, **_dots(smoothed))
    return [(latest, text, colour)] if math.isfinite(latest := _last(smoothed)) else []


def _draw_held_out(axes: Axes, lines: list[dict[str, Any]], key: str, text: str, colour: str) -> list[Label]:
    values = _column(lines, "held_out", key)
    if not any(np.isfinite(values)):
        return []
    axes.plot(_column(lines, "step"), values, color=colour, label=f"{text}, held-out", **HELD_OUT)
    return [(_last(values), text, colour)]


def _draw_baseline(axes: Axes, y: float, text: str) -> Label:
    axes.axhline(y, label=text, **BASELINE)
    return y, text, GREY


def _write_labels(axes: Axes, labels: list[Label]) -> None:
    """Writes each label right of the panel at its height, moved apart where they would overlap.

    The limits of the y axis must be set: a label's place is reckoned from them.
    """
    if not labels:
        return
    to_panel = axes.transData + axes.transAxes.inverted()  # data -> 0 at the foot of the panel to 1 at its head
    wanted = [float(to_panel.transform((0.0, y))[1]) for y, _, _ in labels]
    gap = 0.055  # the height of a line of text
    places: list[float] = []
    order = sorted(range(len(labels)), key=lambda i: wanted[i])
    for i in order:
        place = min(max(wanted[i], 0.02), 0.98)
        places.append(max(place, places[-1] + gap) if places else place)
    for above in range(len(places) - 1, -1, -1):  # what was pushed out at the head is pushed down again
        limit = places[above + 1] - gap if above + 1 < len(places) else 0.98
        places[above] = min(places[above], limit)
    for i, place in zip(order, places, strict=True):
        _, text, colour = labels[i]
        axes.text(1.015, place, text, color=colour, transform=axes.transAxes, va="center", fontsize=9)


def _dots(values: Array) -> Style:
    """A line through fewer than two points shows nothing: then the point is marked."""
    return {"marker": "o", "markersize": 4} if np.isfinite(values).sum() < 2 else {}


def _title(metrics: Sequence[dict[str, Any]], training: list[dict[str, Any]]) -> str:
    parts = [f"{metrics[-1]['step']:,} steps"]
    tokens, seconds = _last(_column(training, "tokens")), _last(_column(training, "seconds"))
    if math.isfinite(tokens):
        parts.append(f"{tokens:,.0f} tokens")
    if math.isfinite(seconds):
        parts.append(f"{timedelta(seconds=round(seconds))} h")
    return ", ".join(parts)


# --- numbers -----------------------------------------------------------------------------------------------------


def _column(lines: Sequence[dict[str, Any]], *keys: str) -> Array:
    """One value of every line, [len(lines)] in float64; NaN where it is missing or no number."""
    values = []
    for line in lines:
        value: Any = line
        for key in keys:
            value = value.get(key) if isinstance(value, dict) else None
        values.append(float(value) if isinstance(value, (int, float)) else math.nan)
    return np.array(values)


def _last(values: Array) -> float:
    """The last finite value; NaN where there is none."""
    finite = values[np.isfinite(values)]
    return float(finite[-1]) if len(finite) else math.nan


def _smoothed(values: Array) -> Array:
    """The mean around each value, over a twentieth of the run; what is not finite does not count.

    At the beginning, where a loss falls fast, the window shrinks on both sides, so that the curve starts where
    the run did; at the end it shrinks on the right only, so that the last point is no single value.
    """
    count = len(values)
    index = np.arange(count)
    half = np.minimum(index, max(1, count // 40))
    start, stop = index - half, np.minimum(index + half + 1, count)
    finite = np.isfinite(values)
    sums = np.concatenate([[0.0], np.cumsum(np.where(finite, values, 0.0))])
    counts = np.concatenate([[0], np.cumsum(finite)])
    number = counts[stop] - counts[start]
    return np.where(number > 0, (sums[stop] - sums[start]) / np.maximum(number, 1), math.nan)


def _check_output(path: Path) -> None:
    """Raises InputError where a file would be lost that is not a PNG."""
    if path.suffix.lower() != ".png":
        raise InputError(f"{path} is to be a PNG; its name must end in .png")
    if not path.exists():
        return
    if not path.is_file():
        raise InputError(f"{path} is not a file; name a PNG to write")
    with path.open("rb") as file:
        if file.read(8) != b"\x89PNG\r\n\x1a\n":
            raise InputError(f"{path} exists and is not a PNG; name another file")
