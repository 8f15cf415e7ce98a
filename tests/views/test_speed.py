"""The picture of a measurement: bars of ratios and curves of growth, read from the Figure, and what is refused."""

import copy
import json
import math
import xml.etree.ElementTree as ElementTree

import pytest

from numbert.bench.growth import Curve
from numbert.bench.growth import Growth as Curves
from numbert.bench.race import Race
from numbert.errors import InputError
from numbert.views.speed import PRODUCTS, draw, format_of, picture, read_result

LENGTHS = [32, 64, 128]


def raced(name, seconds, products=()):
    race = Race(name, "about", 1.0, seconds=seconds, products=list(products))
    race.differences = {peer: 0.0 for peer in seconds if peer != "numbert"}
    return race.to_dict()


def grown(name="length", letter="l", power=2, parts=None):
    parts = {"every token": 1, "every pair of tokens": 2} if parts is None else parts
    costs = [[1e-3 * size**power, 1.1e-3 * size**power, 1.2e-3 * size**power] for size in LENGTHS]
    return Curve(name, letter, "about", LENGTHS, costs, parts)


@pytest.fixture
def result():
    """As `BenchResult.to_dict` returns it."""
    seconds = {"numbert": [1.0, 1.2, 1.1], "torch, sdpa": [2.0, 2.0, 2.0], "onnxruntime": [1.0, 1.0, 1.0]}
    race = raced("forward", seconds, products=[0.5, 0.6, 0.5])
    small = raced("train", {"numbert": [1.0], "torch, eager": [4.0], "torch, sdpa": [5.0]})
    return {
        "threads": 2,
        "rounds": 3,
        "versions": {"numpy": "2.4"},
        "races": [race],
        "table": {"about": "", "rows": [{"work": "train 32 x 64", "peer": "torch, eager", "race": small}]},
        "growth": Curves([grown(), grown("memory")]).to_dict(),
    }


def bars(figure):
    """Each bar's group and peer, and the ratio that it shows."""
    return {
        container.get_label(): container.patches[0].get_width()
        for axes in figure.axes
        for container in axes.containers
    }


def panel(figure, title):
    (axes,) = [axes for axes in figure.axes if axes.get_title(loc="left") == title]
    return axes


def lines(axes):
    return {line.get_label(): line.get_xydata() for line in axes.get_lines()}


class TestWhatIsDrawn:
    def test_a_bar_for_each_peer_of_a_race_and_one_for_the_products(self, result):
        assert bars(draw(result)) == pytest.approx(
            {
                "forward: torch, sdpa": 0.55,
                "forward: onnxruntime": 1.1,
                f"forward: {PRODUCTS}": 2.0,
                "train 32 x 64: torch, eager": 0.25,  # of the table's races the form that the table shows
            }
        )

    def test_each_bar_has_its_name_its_number_and_its_spread(self, result):
        axes = draw(result).axes[0]
        names = [label.get_text() for label in axes.get_yticklabels()]
        assert names == ["torch, sdpa", "onnxruntime", PRODUCTS, "torch, eager"]
        texts = {text.get_text() for text in axes.texts}
        assert {"forward", "train 32 x 64", "0.55", "1.10", "2.00", "0.25"} <= texts
        spreads = [line.get_xdata() for line in axes.get_lines()]
        assert spreads[0] == pytest.approx([0.5, 0.6])

    def test_a_line_stands_where_both_are_as_fast(self, result):
        axes = draw(result).axes[0]
        assert lines(axes)["as fast"][:, 0].tolist() == [1, 1]
        assert axes.get_xlim()[0] == 0

    def test_a_bar_that_would_make_the_others_too_short_ends_at_the_edge_beside_its_number(self):
        axes = draw(
            {"races": [raced("cold start", {"numbert": [40.0], "torch": [50.0], "onnxruntime": [1.0]})]}
        ).axes[0]
        assert axes.get_xlim()[1] < 4
        (number,) = [text for text in axes.texts if text.get_text() == "40.00"]
        assert number.get_position()[0] < axes.get_xlim()[1]

    def test_growth_is_drawn_on_logarithmic_axes_with_its_slope_and_its_fit(self, result):
        axes = panel(draw(result), "time with length")
        assert (axes.get_xscale(), axes.get_yscale()) == ("log", "log")
        drawn = lines(axes)
        assert drawn["measured, like l^2.00"].tolist() == [
            pytest.approx([size, 1.1 * size**2]) for size in LENGTHS
        ]  # the medians, in milliseconds
        assert drawn["their sum, the fit"] == pytest.approx(drawn["measured, like l^2.00"])
        assert drawn["every pair of tokens"] == pytest.approx(drawn["measured, like l^2.00"])
        assert "every token" not in drawn  # it takes nothing
        assert (axes.get_xlabel(), axes.get_ylabel()) == ("l, tokens of a sequence", "ms")
        assert [label.get_text() for label in axes.get_xticklabels()] == ["32", "64", "128"]

    def test_memory_is_in_megabytes(self, result):
        axes = panel(draw(result), "memory with length")
        assert axes.get_ylabel() == "MB"
        assert lines(axes)["measured, like l^2.00"][0, 1] == pytest.approx(1.1e-3 * 32**2 * 1e-6)

    def test_a_curve_without_a_fit_or_a_slope_has_its_points(self, result):
        alone = Curve("threads", "threads", "", [1], [[0.5]], {"alone": 0, "shared": -1})
        axes = panel(draw({"growth": Curves([alone]).to_dict()}), "time with threads")
        assert list(lines(axes)) == ["measured"]

    def test_what_all_have_had_is_in_the_title(self, result):
        text = draw(result).get_suptitle()
        assert text == "numbert beside others, threads: 2, medians of rounds: 3, numpy 2.4"

    @pytest.mark.parametrize("part", ["races", "table", "growth"])
    def test_each_part_can_be_drawn_alone(self, result, part):
        figure = draw({part: result[part]})
        assert (part == "growth") != bool(bars(figure))


class TestTheFile:
    def test_png_and_svg(self, result):
        assert picture(result, "png").startswith(b"\x89PNG\r\n\x1a\n")
        root = ElementTree.fromstring(picture(result, "svg"))
        texts = {text for node in root.iter() if (text := (node.text or "").strip())}
        assert {"torch, sdpa", "0.55", "measured, like l^2.00", "time with length"} <= texts

    def test_the_same_result_has_the_same_bytes(self, result):
        assert picture(result, "svg") == picture(copy.deepcopy(result), "svg")

    def test_stored_json_gives_the_same_picture(self, result, tmp_path):
        path = tmp_path / "x.json"
        path.write_text(json.dumps(result))
        assert picture(read_result(path), "svg") == picture(result, "svg")

    def test_the_name_tells_the_format(self, tmp_path):
        assert (format_of(tmp_path / "x.PNG"), format_of(tmp_path / "x.svg")) == ("png", "svg")
        with pytest.raises(InputError, match=r"its name must end in \.png or \.svg"):
            format_of(tmp_path / "x.pdf")


class TestWhatIsRefused:
    @pytest.mark.parametrize("result", [{}, {"races": []}, {"kernels": [1]}, {"races": None, "growth": None}])
    def test_a_result_with_nothing_to_draw(self, result):
        with pytest.raises(InputError, match="nothing to draw: a picture shows forward, train, table"):
            draw(result)

    def test_a_race_without_anyone_beside_numbert(self):
        with pytest.raises(InputError, match="nothing to draw"):
            draw({"races": [raced("forward", {"numbert": [1.0]})]})

    @pytest.mark.parametrize("bad", [None, "x", [], {}, [1], float("nan"), 10**400])
    @pytest.mark.parametrize(
        "place",
        [
            ("races", 0),
            ("races", 0, "contestants"),
            ("races", 0, "contestants", "onnxruntime", "numbert_by_this"),
            ("races", 0, "contestants", "onnxruntime", "numbert_by_this_in_each_round"),
            ("table", "rows", 0),
            ("table", "rows", 0, "race"),
            ("growth", "curves", 0),
            ("growth", "curves", 0, "sizes"),
            ("growth", "curves", 0, "costs"),
            ("growth", "curves", 0, "fitted"),
            ("growth", "curves", 0, "unit"),
        ],
        ids=lambda place: ".".join(map(str, place)),
    )
    def test_another_value_in_its_place_is_drawn_or_refused_in_one_line(self, result, place, bad):
        *way, last = place
        holder = result
        for key in way:
            holder = holder[key]
        holder[last] = bad
        refused = ""
        try:
            draw(result)
        except InputError as error:
            refused = str(error)
        assert "\n" not in refused

    @pytest.mark.parametrize(
        ("part", "changes", "why"),
        [
            (
                "contestants",
                {"onnxruntime": {"numbert_by_this": 0, "numbert_by_this_in_each_round": [1]}},
                "above 0",
            ),
            ("contestants", {"onnxruntime": {"numbert_by_this": 1}}, "it has no 'numbert_by_this_in_each_round'"),
            ("curve", {"costs": [[1.0]]}, "growth with length has not a cost for each size"),
            ("curve", {"costs": [[1.0], [math.inf], [1.0]]}, "costs must be numbers from 0 on"),
            ("curve", {"costs": [[1.0], [-1.0], [1.0]]}, "costs must be numbers from 0 on"),
            ("curve", {"sizes": [0, 1, 2]}, "sizes must be numbers above 0"),
            ("curve", {"unit": "hours"}, "it has no 'hours'"),
        ],
    )
    def test_it_is_said_what_is_wrong(self, result, part, changes, why):
        holder = result["races"][0]["contestants"] if part == "contestants" else result["growth"]["curves"][0]
        holder.update(changes)
        with pytest.raises(InputError, match=rf"^this is no result of `numbert bench --json`: .*{why}"):
            draw(result)

    @pytest.mark.parametrize(
        ("text", "message"),
        [
            (b"{", "is no JSON"),
            (b"\xff", "is no JSON"),
            (b"[" * 100_000, "is no JSON"),
            (b"[]", "which is an object"),
        ],
    )
    def test_a_file_that_holds_something_else(self, text, message, tmp_path):
        path = tmp_path / "x.json"
        path.write_bytes(text)
        with pytest.raises(InputError, match=message):
            read_result(path)

    def test_a_file_that_is_not_there(self, tmp_path):
        with pytest.raises(InputError, match="cannot be read: No such file"):
            read_result(tmp_path / "x.json")
