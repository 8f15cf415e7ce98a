"""`numbert bench --plot` and `--from`: a picture of what is measured, or of what was stored."""

import json

import pytest

from numbert import bench
from numbert.bench import BenchResult
from numbert.bench.race import Race

PNG = b"\x89PNG\r\n\x1a\n"


def measured(parts=(), **options):
    race = Race("forward", "about", 1.0, seconds={"numbert": [1.0], "torch, sdpa": [2.0]})
    race.differences = {"torch, sdpa": 0.0}
    return BenchResult(1, 1, {"numpy": "2.4"}, races=[race])


@pytest.fixture
def without_measuring(monkeypatch):
    monkeypatch.setattr(bench, "bench", measured)


@pytest.fixture
def stored(tmp_path):
    path = tmp_path / "x.json"
    path.write_text(json.dumps(measured().to_dict()))
    return path


def test_what_is_measured_is_printed_and_drawn(run, tmp_path, without_measuring):
    code, out, err = run("bench", "forward", "--plot", tmp_path / "x.png")
    assert (code, err) == (0, "")
    assert "forward: about" in out
    assert (tmp_path / "x.png").read_bytes().startswith(PNG)


def test_the_stored_result_gives_the_same_picture(run, tmp_path, without_measuring):
    code, out, _ = run("bench", "forward", "--json", "--plot", tmp_path / "x.svg")
    assert code == 0
    (tmp_path / "x.json").write_text(out)
    assert run("bench", "--from", tmp_path / "x.json", "--plot", tmp_path / "y.svg") == (0, "", "")
    drawn = (tmp_path / "y.svg").read_text()
    assert drawn == (tmp_path / "x.svg").read_text()
    assert ">torch, sdpa</text>" in drawn


@pytest.mark.parametrize("options", [["forward"], ["--from", "x.json"]], ids=["measured", "stored"])
def test_a_file_that_is_there_is_not_overwritten(run, tmp_path, stored, options, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "x.svg"
    path.write_text("mine")
    code, out, err = run("bench", *options, "--plot", path)
    assert (code, out) == (2, "")
    assert err == f"numbert bench: {path} exists; name a file that does not\n"
    assert path.read_text() == "mine"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["forward", "--plot", "x.pdf"], "x.pdf is to be a picture; its name must end in .png or .svg"),
        (["forward", "--plot", "no/x.svg"], "no/x.svg cannot be made: no is no folder"),
        (
            ["kernels", "memory", "--plot", "y.svg"],
            "--plot draws forward, train, table, texts, decode, growth and",
        ),
        (["--from", "x.json"], "--from measures and prints nothing, it draws"),
        (["--from", "x.json", "--json", "--plot", "y.svg"], "--from measures and prints nothing, it draws"),
        (["forward", "--from", "x.json", "--plot", "y.svg"], "--from measures and prints nothing, it draws"),
        (["--from", "z.json", "--plot", "y.svg"], "z.json cannot be read: No such file"),
        (["--from", "empty.json", "--plot", "y.svg"], "there is nothing to draw"),
    ],
)
def test_what_is_wrong_is_one_line_and_leaves_no_file(run, tmp_path, stored, arguments, message, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty.json").write_text("{}")
    before = sorted(tmp_path.iterdir())
    code, out, err = run("bench", *arguments)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert message in err
    assert sorted(tmp_path.iterdir()) == before
