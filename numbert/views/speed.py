"""What `numbert bench` measured as a picture: ratios to the peers as bars, growth as curves on logarithmic axes.

It draws the dict that `numbert bench --json` prints, so that a stored result can be drawn, too.
"""

from __future__ import annotations

import io
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from numbert.errors import InputError, as_real
from numbert.views.style import BLUE, GREEN, GREY, ORANGE, PURPLE, import_matplotlib, plain

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure, SubFigure

FORMATS = ("png", "svg")
DRAWN = ("forward", "train", "table", "texts", "decode", "growth")  # the parts of which there is a picture
PRODUCTS = "products alone"
COLOURS = {"torch": ORANGE, "transformers": ORANGE, "onnxruntime": GREEN, "openvino": PURPLE, PRODUCTS: GREY}
MEANINGS = {"l": "l, tokens of a sequence", "b": "b, sequences", "n": "n, layers", "threads": "threads"}
FURTHEST = 3.0  # a longer bar ends at the edge, beside its number: the others would be too short to be told apart
ON_WHITE: dict[str, Any] = {"facecolor": "white", "edgecolor": "none", "pad": 0.8}
UNITS = {"s": (1e3, "ms"), "bytes": (1e-6, "MB")}  # how a unit is drawn: times how much, called what


@dataclass
class Bars:
    """One workload: for each peer numbert's time over the peer's, the median, the least and the largest."""

    title: str
    ratios: dict[str, tuple[float, float, float]]


@dataclass
class Line:
    """How one cost grows: its medians, least and largest values, and each part of its fit, at each size."""

    title: str
    letter: str
    unit: str
    sizes: list[float]
    medians: list[float]
    least: list[float]
    largest: list[float]
    exponent: float | None
    parts: dict[str, list[float]]


def read_result(path: Path) -> dict[str, Any]:
    """Reads what `numbert bench --json` printed.

    Raises:
        InputError: the file is missing or no JSON object.
    """
    try:
        result = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}") from None
    except (ValueError, RecursionError):  # neither UTF-8 nor JSON
        raise InputError(f"{path} is no JSON; `numbert bench --json > {path.name}` writes it") from None
    if not isinstance(result, dict):
        raise InputError(f"{path} is no result of `numbert bench --json`, which is an object")
    return result


def format_of(path: Path) -> str:
    """Returns the format of a picture by its name, "png" or "svg".

    Raises:
        InputError: the name ends in neither.
    """
    if (suffix := path.suffix.lower().removeprefix(".")) not in FORMATS:
        raise InputError(f"{path} is to be a picture; its name must end in .png or .svg")
    return suffix


def picture(result: dict[str, Any], format: str) -> bytes:
    """Draws a result of `numbert bench` (see `draw`) and returns the bytes of a file.

    Args:
        format: "png" or "svg"; an SVG of the same result has the same bytes, and its texts are texts.
    """
    figure = draw(result)
    import matplotlib

    file = io.BytesIO()
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": "numbert"}):
        figure.savefig(file, format=format, dpi=150, metadata={"Date": None} if format == "svg" else None)
    return file.getvalue()


def draw(result: dict[str, Any]) -> Figure:
    """Draws the races, the table and the growth of a result of `numbert bench`, as far as they are in it.

    Args:
        result: what `BenchResult.to_dict` returns, or a JSON file of it holds.

    Raises:
        InputError: there is none of them in it, or something that is no such result.
    """
    try:
        groups, lines = _groups(result), _lines(result)
        title = _title(result)
    except (LookupError, TypeError, AttributeError, ValueError) as error:
        why = f"it has no {error}" if isinstance(error, KeyError) else error
        raise InputError(f"this is no result of `numbert bench --json`: {why}") from None
    if not groups and not lines:
        raise InputError(f"there is nothing to draw: a picture shows {', '.join(DRAWN)}, raced with a peer")
    import_matplotlib()
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    rows = sum(len(group.ratios) + 1.4 for group in groups)
    heights = ([0.27 * rows + 1.0] if groups else []) + ([7.0] if lines else [])
    figure = Figure(figsize=(13, sum(heights) + 0.5), layout=ConstrainedLayoutEngine(w_pad=0.12, h_pad=0.1))
    figure.suptitle(title, fontsize=11)
    places = figure.subfigures(len(heights), 1, height_ratios=heights, squeeze=False).flat
    if groups:
        _draw_bars(next(places).subplots(), groups)
    if lines:
        _draw_growth(next(places), lines)
    return figure


# --- what is in a result -----------------------------------------------------------------------------------------


def _groups(result: dict[str, Any]) -> list[Bars]:
    groups = [_group(race["name"], race, list(race["contestants"])) for race in result.get("races") or []]
    for row in (result.get("table") or {"rows": []})["rows"]:
        # Of torch, which runs in several forms, the table has the faster one.
        groups.append(_group(row["work"].strip(), row["race"], [row["peer"], "onnxruntime", "openvino"]))
    return [group for group in groups if group.ratios]


def _group(title: str, race: dict[str, Any], names: Sequence[str | None]) -> Bars:
    contestants = race["contestants"]
    measured = {str(name): contestants[name] for name in names if name in contestants}
    if race.get("products"):
        measured[PRODUCTS] = race["products"]
    bars = {}
    for name, one in measured.items():
        if "numbert_by_this" in one:
            ratios = _positive(f"ratios of {name}", one["numbert_by_this_in_each_round"])
            bars[name] = (_positive(f"ratio of {name}", [one["numbert_by_this"]])[0], min(ratios), max(ratios))
    return Bars(str(title), bars)


def _lines(result: dict[str, Any]) -> list[Line]:
    lines = []
    for curve in (result.get("growth") or {"curves": []})["curves"]:
        scale, unit = UNITS[curve["unit"]]
        sizes = _positive("sizes", curve["sizes"])
        costs = [[scale * cost for cost in _numbers("costs", costs)] for costs in curve["costs"]]
        parts = {
            str(name): [scale * cost for cost in _numbers("parts of the fit", values)]
            for name, values in (curve["fitted"] or {}).items()
        }
        if {len(sizes)} != {len(costs), *(len(values) for values in parts.values())} or not all(costs):
            raise ValueError(f"growth with {curve['name']} has not a cost for each size")
        name = str(curve["name"])
        lines.append(
            Line(
                "memory with length" if name == "memory" else f"time with {name}",
                str(curve["letter"]),
                unit,
                sizes,
                np.median(costs, axis=1).tolist(),
                np.min(costs, axis=1).tolist(),
                np.max(costs, axis=1).tolist(),
                None if curve["exponent"] is None else as_real("exponent", curve["exponent"]),
                parts,
            )
        )
    return lines


def _numbers(name: str, values: Any) -> list[float]:
    numbers = [as_real(name, value) for value in values]
    if not all(0 <= number < math.inf for number in numbers):
        raise ValueError(f"{name} must be numbers from 0 on")
    return numbers


def _positive(name: str, values: Any) -> list[float]:
    numbers = _numbers(name, values)
    if not numbers or 0 in numbers:
        raise ValueError(f"{name} must be numbers above 0")
    return numbers


def _title(result: dict[str, Any]) -> str:
    parts = ["numbert beside others"] if result.get("races") or result.get("table") else []
    if "threads" in result:
        parts.append(f"threads: {result['threads']}")
    if "rounds" in result:
        parts.append(f"medians of rounds: {result['rounds']}")
    parts += [f"{name} {version}" for name, version in result.get("versions", {}).items()]
    if result.get("busy"):
        parts.append("beside a busy process")
    return ", ".join(parts)


# --- the panels --------------------------------------------------------------------------------------------------


def _draw_bars(axes: Axes, groups: list[Bars]) -> None:
    axes.set_title(
        "numbert's time / this one's (left of the line numbert is faster; thin: least and largest)", loc="left"
    )
    plain(axes)
    axes.grid(visible=False, axis="y")
    places: list[float] = []
    names: list[str] = []
    y = 0.0
    furthest = min(FURTHEST, max(1.0, *(bar[2] for group in groups for bar in group.ratios.values())))
    for group in groups:
        axes.text(0.006 * furthest, y, group.title, fontsize=10, fontweight="bold", va="center", bbox=ON_WHITE)
        y += 1.0
        for name, (ratio, least, largest) in group.ratios.items():
            colour = COLOURS.get(name.split(",")[0] if name != PRODUCTS else name, BLUE)
            axes.barh(y, ratio, height=0.7, color=colour, alpha=0.85, label=f"{group.title}: {name}")
            axes.plot([least, largest], [y, y], color="black", linewidth=1.0)
            end = min(furthest, max(ratio, largest)) + 0.012 * furthest
            axes.text(end, y, f"{ratio:.2f}", va="center", fontsize=9, bbox=ON_WHITE)
            places.append(y)
            names.append(name)
            y += 1.0
        y += 0.4
    axes.axvline(1.0, color="black", linewidth=1.2, label="as fast")
    axes.set_yticks(places, names, fontsize=9)
    axes.tick_params(axis="y", length=0)
    axes.set_ylim(y - 0.4, -0.8)  # the first on top
    axes.set_xlim(0, 1.1 * furthest)
    axes.set_xlabel("ratio")


def _draw_growth(figure: Figure | SubFigure, lines: list[Line]) -> None:
    columns = min(3, len(lines))
    rows = math.ceil(len(lines) / columns)
    panels = np.atleast_1d(figure.subplots(rows, columns)).flat
    for axes, line in zip(panels, lines, strict=False):
        _draw_line(axes, line)
    for axes in panels[len(lines) :]:
        axes.set_visible(False)


def _draw_line(axes: Axes, line: Line) -> None:
    from matplotlib.ticker import FixedLocator, FuncFormatter, LogLocator, NullFormatter, NullLocator

    axes.set_title(line.title, loc="left")
    plain(axes)
    axes.set_xscale("log")
    axes.set_yscale("log")
    above = [cost for cost in (*line.medians, *line.least, *line.largest) if cost > 0] or [1.0]
    lowest, highest = min(above) / 3, max(above) * 4  # above is room for the legend
    axes.set_ylim(lowest, highest)
    for place, (part, costs) in enumerate(line.parts.items()):
        if max(costs) > lowest:
            axes.plot(line.sizes, costs, linestyle=":", color=(GREY, ORANGE, PURPLE)[place % 3], label=part)
    if line.parts:
        fitted = np.sum(list(line.parts.values()), axis=0)
        axes.plot(line.sizes, fitted, linestyle="--", linewidth=1.0, color=BLUE, label="their sum, the fit")
    slope = "" if line.exponent is None else f", like {line.letter}^{line.exponent:.2f}"
    axes.plot(line.sizes, line.medians, marker="o", linestyle="", color=BLUE, label=f"measured{slope}")
    axes.vlines(line.sizes, line.least, line.largest, color=BLUE, linewidth=1.0)
    axes.set_xlabel(MEANINGS.get(line.letter, line.letter))
    axes.set_ylabel(line.unit)
    axes.xaxis.set_major_locator(FixedLocator(line.sizes))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda size, _: f"{size:,.0f}"))
    axes.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda cost, _: f"{cost:,.4g}"))
    axes.yaxis.set_minor_formatter(NullFormatter())
    axes.legend(fontsize=8, frameon=False, loc="upper left")
