"""The picture of a training run: what is in it, read from the Figure, and what a broken run is answered with."""

import itertools
import json
import math
import os
import subprocess
import sys

import numpy as np
import pytest

from numbert.errors import InputError
from numbert.train.metrics import read_metrics
from numbert.views.curves import METRICS, draw, plot_run

PNG = b"\x89PNG\r\n\x1a\n"


def training(step, loss=None, layers=2, **changes):
    loss = 5 + 5 * math.exp(-step / 100) if loss is None else loss
    norms = {"embeddings": 1.2, **{f"layer.{i}": 0.5 / (i + 1) for i in range(layers)}, "pooler": 0.1, "cls": 0.9}
    return {
        "step": step,
        "loss": loss,
        "mlm_loss": loss - 0.7,
        "nsp_loss": 0.7,
        "mlm_accuracy": 0.01 * step / 10,
        "nsp_accuracy": 0.55,
        "learning_rate": 1e-4,
        "gradient_norm": 3.2,
        "gradient_norms": norms,
        "tokens": step * 2048,
        "seconds": step * 0.3,
        "data_seconds": 0.02,
    } | changes


def held_out(step, loss=7.1):
    return {
        "step": step,
        "held_out": {"loss": loss, "mlm_loss": loss - 0.69, "mlm_accuracy": 0.08, "nsp_accuracy": 0.52},
        "frequencies": {"mlm_loss": 6.5, "mlm_accuracy": 0.07},
        "bigrams": {"mlm_loss": 5.1, "mlm_accuracy": 0.2},
    }


def run(lines=20, layers=2, tests=2):
    metrics = [training(10 * i, layers=layers) for i in range(1, lines + 1)]
    return metrics + [held_out(10 * lines + i) for i in range(tests)]


def panel(figure, title):
    (axes,) = [axes for axes in figure.axes if axes.get_title(loc="left").startswith(title)]
    return axes


def curves(axes):
    """Each line's name and its points, [points, 2]."""
    return {line.get_label(): line.get_xydata() for line in axes.get_lines()}


def labels(axes):
    return {text.get_text(): text for text in axes.texts if text.get_text()}


@pytest.fixture
def folder(tmp_path):
    def write(metrics, end=""):
        text = "".join(json.dumps(line) + "\n" for line in metrics)
        (tmp_path / METRICS).write_text(text + end, encoding="utf-8")
        return tmp_path

    return write


class TestWhatIsDrawn:
    def test_the_loss_as_it_is_smoothed_and_held_out(self):
        metrics = run(lines=60, tests=3)
        axes = panel(draw(metrics), "loss")
        drawn = curves(axes)
        expected = [(line["step"], line["loss"]) for line in metrics if "loss" in line]
        np.testing.assert_allclose(drawn["training, each line"], expected)
        np.testing.assert_allclose(drawn["held-out, held-out"], [(600, 7.1), (601, 7.1), (602, 7.1)])
        assert {"training", "held-out"} < set(labels(axes))

    def test_baselines_are_comparable_with_the_loss_of_both_tasks(self):
        drawn = curves(panel(draw(run()), "loss"))
        np.testing.assert_allclose(drawn["frequencies + ln 2"][:, 1], 6.5 + math.log(2))
        np.testing.assert_allclose(drawn["bigrams + ln 2"][:, 1], 5.1 + math.log(2))

    def test_accuracies_of_both_tasks_and_what_chance_and_counting_reach(self):
        axes = panel(draw(run()), "accuracy")
        drawn = curves(axes)
        assert {"MLM, each line", "MLM, held-out", "NSP, each line", "NSP, held-out"} < set(drawn)
        for name, height in (("NSP by a coin", 0.5), ("MLM by frequencies", 0.07), ("MLM by bigrams", 0.2)):
            np.testing.assert_allclose(drawn[name][:, 1], height)
            assert name in labels(axes)

    def test_the_learning_rate(self):
        metrics = [training(step, learning_rate=rate) for step, rate in ((10, 1e-4), (20, 2e-4), (30, 0.0))]
        drawn = curves(panel(draw(metrics), "learning rate"))
        np.testing.assert_allclose(drawn["learning rate"], [(10, 1e-4), (20, 2e-4), (30, 0)])

    @pytest.mark.parametrize("layers", [0, 1, 12, 24])
    def test_a_gradient_norm_for_every_layer_the_first_and_last_named(self, layers):
        axes = panel(draw(run(layers=layers)), "gradient norm")
        assert axes.get_yscale() == "log"
        drawn = curves(axes)
        assert set(drawn) == {"embeddings", "pooler", "cls", *(f"layer.{i}" for i in range(layers))}
        for i in range(layers):
            np.testing.assert_allclose(drawn[f"layer.{i}"][:, 1], 0.5 / (i + 1))
        ends = {f"layer {i}" for i in (0, layers - 1) if layers}
        assert set(labels(axes)) == {"embeddings", "pooler", "heads"} | ends
        colours = {str(line.get_color()) for line in axes.get_lines()}
        assert len(colours) == layers + 3, "every layer has its own colour"

    def test_layers_are_in_the_order_of_their_numbers(self):
        axes = panel(draw(run(layers=12)), "gradient norm")
        names = [line.get_label() for line in axes.get_lines() if line.get_label().startswith("layer")]
        assert names == [f"layer.{i}" for i in range(12)]


class TestSmoothing:
    def test_a_constant_stays_and_noise_goes(self):
        rng = np.random.default_rng(0)
        noise = rng.normal(size=2000)
        metrics = [training(i + 1, loss=7 + float(x)) for i, x in enumerate(noise)]
        smoothed = curves(panel(draw(metrics), "loss"))["training, smoothed"]
        assert smoothed.shape == (2000, 2)
        # The mean of 101 numbers varies by a tenth of what one does.
        assert smoothed[100:, 1].std() < 0.2
        assert abs(smoothed[100:, 1].mean() - 7) < 0.1

    def test_it_starts_where_the_run_did(self):
        metrics = [training(i, loss=11 - i / 100) for i in range(1, 401)]
        smoothed = curves(panel(draw(metrics), "loss"))["training, smoothed"]
        np.testing.assert_allclose(smoothed[:300, 1], 11 - np.arange(1, 301) / 100)  # a mean keeps a straight line

    def test_what_is_no_number_is_a_gap(self):
        metrics = [training(i, loss=math.nan if i > 50 else 7.0) for i in range(1, 101)]
        metrics[9]["loss"] = None
        smoothed = curves(panel(draw(metrics), "loss"))["training, smoothed"][:, 1]
        np.testing.assert_allclose(smoothed[:50], 7.0)
        assert np.isnan(smoothed[60:]).all()


class TestLegibility:
    @pytest.mark.parametrize(
        "metrics",
        [
            run(),
            run(lines=1, tests=0),
            run(lines=3, layers=24, tests=1),
            run(lines=0, tests=1),
            [training(10, learning_rate=0.0, gradient_norms={})],
            [training(10, loss=math.inf)],
            [{"step": 0}],
        ],
        ids=["whole", "one line", "24 layers", "held-out only", "no gradients", "diverged", "no values"],
    )
    def test_no_two_labels_overlap_and_all_are_in_the_picture(self, metrics):
        from matplotlib.backends.backend_agg import FigureCanvasAgg

        figure = draw(metrics)
        canvas = FigureCanvasAgg(figure)
        canvas.draw()
        for axes in figure.axes:
            boxes = [text.get_window_extent() for text in labels(axes).values()]
            assert all(figure.bbox.fully_contains(*box.max) for box in boxes)
            boxes.sort(key=lambda box: box.y0)
            for below, above in itertools.pairwise(boxes):
                assert below.y1 < above.y0 + 1  # pixels

    def test_a_label_is_beside_its_line(self):
        axes = panel(draw(run()), "gradient norm")
        axes.figure.draw_without_rendering()
        for name, height in (("embeddings", 1.2), ("pooler", 0.1), ("layer 0", 0.5)):
            label = labels(axes)[name]
            pixels = label.get_transform().transform(label.get_position())
            assert abs(axes.transData.inverted().transform(pixels)[1] / height - 1) < 0.1

    def test_a_few_spikes_do_not_set_the_scale(self):
        metrics = [training(i, loss=1e9 if i == 700 else 7 + (i % 7) / 10) for i in range(1, 1001)]
        assert panel(draw(metrics), "loss").get_ylim()[1] < 10

    def test_a_single_line_is_a_visible_point(self):
        for title in ("loss", "accuracy", "learning rate", "gradient norm"):
            axes = panel(draw([training(10)]), title)
            assert any(line.get_marker() == "o" for line in axes.get_lines()), title


class TestTheFile:
    def test_curves_png_in_the_folder(self, folder):
        path = folder(run())
        assert plot_run(path) == path / "curves.png"
        assert (path / "curves.png").read_bytes().startswith(PNG)
        assert sorted(file.name for file in path.iterdir()) == ["curves.png", METRICS]

    def test_drawn_again_it_is_replaced(self, folder):
        path = folder(run())
        output = path / "pictures" / "mine.png"
        plot_run(path, output)
        first = output.read_bytes()
        plot_run(folder(run(lines=40)), str(output))
        assert output.read_bytes() != first

    def test_a_line_that_is_being_written_is_left_out(self, folder):
        path = folder(run(lines=3, tests=0), end='{"step": 40, "lo')
        assert [line["step"] for line in read_metrics(path / METRICS)] == [10, 20, 30]
        plot_run(path)

    def test_matplotlib_is_imported_only_to_draw_and_pyplot_never(self, folder):
        code = (
            "import sys, numbert.views.curves as p; assert 'matplotlib' not in sys.modules; "
            f"p.plot_run({str(folder(run(lines=2)))!r}); assert 'matplotlib.pyplot' not in sys.modules"
        )
        subprocess.run([sys.executable, "-c", code], check=True)


class TestMplbackend:
    """It names the backend for windows, which no picture here needs."""

    @pytest.mark.parametrize("backend", ["module://matplotlib_inline.backend_inline", "widget"])
    def test_the_picture_is_drawn_whatever_it_names(self, folder, backend):
        path = folder(run(lines=2))
        command = [sys.executable, "-m", "numbert", "plot", str(path)]
        environment = {name: value for name, value in os.environ.items() if name != "DISPLAY"}
        done = subprocess.run(
            command, env=environment | {"MPLBACKEND": backend}, capture_output=True, text=True, check=False
        )
        assert (done.returncode, done.stdout) == (0, f"{path / 'curves.png'}\n"), done.stderr
        assert (path / "curves.png").read_bytes().startswith(PNG)

    def test_pyplot_has_the_one_that_is_named_and_the_environment_keeps_it(self):
        code = (
            "import os; from numbert.views.curves import draw; draw([{'step': 1}]);"
            "import matplotlib.pyplot as plt;"
            "assert (plt.get_backend(), os.environ['MPLBACKEND']) == ('svg', 'svg')"
        )
        subprocess.run([sys.executable, "-c", code], env=os.environ | {"MPLBACKEND": "svg"}, check=True)

    def test_numbert_is_imported_without_matplotlib(self):
        code = "import sys, numbert; assert 'matplotlib' not in sys.modules"
        subprocess.run([sys.executable, "-c", code], env=os.environ | {"MPLBACKEND": "widget"}, check=True)


class TestWhatTheUserGotWrong:
    def test_no_run_there(self, tmp_path):
        with pytest.raises(InputError, match=r"nowhere does not exist$"):
            plot_run(tmp_path / "nowhere")
        (tmp_path / "file").touch()
        with pytest.raises(InputError, match=r"file is not a folder$"):
            plot_run(tmp_path / "file")
        with pytest.raises(InputError, match=r"has no metrics\.jsonl, which `numbert pretrain` writes"):
            plot_run(tmp_path)

    @pytest.mark.parametrize("end", ["", "\n\n", '{"step": 1'])
    def test_nothing_in_it_yet(self, folder, end):
        with pytest.raises(InputError, match=r"metrics\.jsonl has no line in it yet$"):
            plot_run(folder([], end))

    @pytest.mark.parametrize(
        "line", ['{"step": 5, "lo', "[1, 2]", "7", "{}", '{"step": null}', '{"step": NaN}', "\0"]
    )
    def test_a_broken_line_is_named(self, folder, line):
        path = folder([training(1), training(2)], end=f"\n{line}\n" + json.dumps(training(3)))
        with pytest.raises(InputError, match=r"metrics\.jsonl, line 4 is broken: .+") as caught:
            plot_run(path)
        assert "\n" not in str(caught.value)
        assert not (path / "curves.png").exists()

    def test_nothing_but_a_png_is_replaced(self, folder):
        path = folder(run(lines=2))
        letter = path / "letter.png"
        letter.write_text("precious")
        with pytest.raises(InputError, match=r"letter\.png exists and is not a PNG; name another file"):
            plot_run(path, letter)
        assert letter.read_text() == "precious"
        with pytest.raises(InputError, match=r"must end in \.png"):
            plot_run(path, path / METRICS)
        (path / "folder.png").mkdir()
        with pytest.raises(InputError, match=r"folder\.png is not a file"):
            plot_run(path, path / "folder.png")
